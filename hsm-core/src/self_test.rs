//! Self-tests (ISO/IEC 19790 7.10, FIPS 140-3 IG 10.3.A).
//!
//! | when | what |
//! |---|---|
//! | power-up | HMAC, and with it the firmware image; DRBG, KBKDF, AES-GCM, AES-KWP, AES-CBC, ECDSA, ECDH, secret sharing; the noise |
//! | before first use | known answers of each algorithm of the registry |
//! | continuously | health tests of the noise; pair-wise consistency of each new key pair |
//! | on demand | all of power-up, and every algorithm of the registry |
//!
//! Power-up covers what the module itself uses: channel, tokens, storage, identity. The first
//! failure is the module's error state.

use hsm_protocol::ErrorCode;
use hsm_protocol::attestation::Measurement;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::algorithm::Algorithm;
use crate::algorithm::hmac::{Hmac256, hmac};
use crate::curve::BoardCurve;
use crate::fault::{self, Kat};
use crate::keystore::import;
use crate::{aead, drbg, kbkdf, shamir};

/// Length of the integrity value at the end of the firmware image, in bytes.
pub const IMAGE_MAC_SIZE: usize = 32;

/// The key of the integrity test. Not secret: the test finds damage; authenticity is the
/// loader's business (ISO/IEC 19790 7.5).
const IMAGE_KEY: &[u8] = b"strongroom-image-integrity-v1";

/// What the power-up tests have found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Number of tests run, all passed.
    pub tests: u16,
    /// What the firmware image is known by: SHA-256 over all of it, its integrity value included. `None` if
    /// there is no image.
    pub measurement: Option<Measurement>,
}

/// Runs the power-up tests of everything but the noise; of the registry, of what computes with the module's own
/// keys. `image` is the firmware image with its integrity value, or empty if the loader has checked it; it is
/// read once.
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`], also if the registry lacks P-256; [`ErrorCode::INTEGRITY_FAILED`]: the
/// module goes to the error state.
pub fn power_up(
    image: &[u8],
    registry: &'static [&'static dyn Algorithm],
) -> Result<Passed, ErrorCode> {
    let mut tests = 0u16;
    for test in MODULE_TESTS {
        test()?;
        tests = tests.saturating_add(1);
    }
    BoardCurve::of(registry).map_err(|_| ErrorCode::SELF_TEST_FAILED)?.self_test()?;
    tests = tests.saturating_add(1);
    let mut measurement = None;
    if !image.is_empty() {
        measurement = Some(integrity_test(image)?);
        tests = tests.saturating_add(1);
    }
    Ok(Passed { tests, measurement })
}

/// The integrity value that follows a firmware image: HMAC-SHA-256 under a public key, over the image's
/// SHA-256. The hash of the image is what a measurement begins with, so one pass gives both.
///
/// # Errors
/// None: HMAC takes keys of any length.
pub fn image_mac(image: &[u8]) -> Result<[u8; IMAGE_MAC_SIZE], ErrorCode> {
    mac_of(Sha256::new_with_prefix(image))
}

/// The integrity value of what was hashed.
fn mac_of(covered: Sha256) -> Result<[u8; IMAGE_MAC_SIZE], ErrorCode> {
    hmac(IMAGE_KEY, &[&covered.finalize()])
}

/// Tests of what the module itself uses, HMAC first because the image is checked with it.
const MODULE_TESTS: &[fn() -> Result<(), ErrorCode>] = &[
    || Hmac256.self_test(),
    drbg::self_test,
    kbkdf::self_test,
    aead::self_test,
    import::self_test,
    #[cfg(feature = "rsa")]
    crate::envelope::self_test,
    shamir::self_test,
];

/// Checks the image against its integrity value, and measures it in the same pass. The tests before it have
/// found damage of the hash function: HMAC is made of it.
fn integrity_test(image: &[u8]) -> Result<Measurement, ErrorCode> {
    let (covered, expected) =
        image.split_last_chunk::<IMAGE_MAC_SIZE>().ok_or(ErrorCode::INTEGRITY_FAILED)?;
    let hash = Sha256::new_with_prefix(covered);
    let mut mac = mac_of(hash.clone())?;
    fault::tamper(Kat::Integrity, &mut mac);
    match bool::from(mac.ct_eq(expected)) {
        true => Ok(Measurement(hash.chain_update(expected).finalize().into())),
        false => Err(ErrorCode::INTEGRITY_FAILED),
    }
}

#[cfg(test)]
mod tests;
