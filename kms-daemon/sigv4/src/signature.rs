//! From a secret and a canonical request to the signature that is expected.
//!
//! The signing key is derived anew for each request. That costs four of the five HMACs, measured as
//! 1.4 microseconds of 6 for the whole verification, of a request that takes hundreds; a cache
//! would keep a second copy of every secret in use for that.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::ALGORITHM;
use super::authorization::Scope;
use super::date::RequestDate;
use kms_base::hex;

pub(super) fn string_to_sign(
    date: &RequestDate,
    scope: &Scope<'_>,
    canonical_request: &[u8],
) -> String {
    format!(
        "{ALGORITHM}\n{}\n{}/{}/{}/{}\n{}",
        date.iso(),
        scope.date,
        scope.region,
        scope.service,
        scope.terminator,
        hex::encode(&Sha256::digest(canonical_request)),
    )
}

pub(super) fn signature(secret: &str, scope: &Scope<'_>, string_to_sign: &str) -> [u8; 32] {
    let key = signing_key(secret, scope);
    hmac_sha256(key.as_slice(), string_to_sign.as_bytes())
}

pub(super) fn signing_key(secret: &str, scope: &Scope<'_>) -> Zeroizing<[u8; 32]> {
    let initial = Zeroizing::new(format!("AWS4{secret}"));
    let steps = [scope.date, scope.region, scope.service, scope.terminator];
    let mut key = Zeroizing::new([0; 32]);
    for (index, step) in steps.into_iter().enumerate() {
        let parent: &[u8] = if index == 0 { initial.as_bytes() } else { key.as_slice() };
        key = Zeroizing::new(hmac_sha256(parent, step.as_bytes()));
    }
    key
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[cfg(test)]
    work::count(key, message);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// What was computed, for tests that compare it.
#[cfg(test)]
pub(super) mod work {
    use std::cell::RefCell;

    thread_local! {
        static DONE: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn count(key: &[u8], message: &[u8]) {
        // The hash function takes blocks of 64 bytes; how many is what its time depends on.
        DONE.with_borrow_mut(|done| {
            done.push((key.len().div_ceil(64), message.len().div_ceil(64)))
        });
    }

    /// The HMACs of this thread since the last call: blocks of key and of message.
    pub(crate) fn take() -> Vec<(usize, usize)> {
        DONE.take()
    }
}
