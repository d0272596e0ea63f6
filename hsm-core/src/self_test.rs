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
use crate::algorithm::ecdsa_p256::EccNistP256;
use crate::algorithm::hmac::{Hmac256, hmac};
use crate::fault::{self, Kat};
use crate::keystore::import;
use crate::{aead, drbg, kbkdf, shamir};

/// Length of the integrity value at the end of the firmware image, in bytes.
pub const IMAGE_MAC_SIZE: usize = 32;

/// The key of the integrity test. Not secret: the test finds damage; authenticity is the
/// loader's business (ISO/IEC 19790 7.5).
const IMAGE_KEY: &[u8] = b"strongroom-image-integrity-v1";

/// Runs the power-up tests of everything but the noise; returns how many. `image` is the
/// firmware image with its integrity value, or empty if the loader has checked it.
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`], [`ErrorCode::INTEGRITY_FAILED`]: the module goes to the
/// error state.
pub fn power_up(image: &[u8]) -> Result<u16, ErrorCode> {
    let mut tests = 0u16;
    for test in MODULE_TESTS {
        test()?;
        tests = tests.saturating_add(1);
    }
    if !image.is_empty() {
        integrity_test(image)?;
        tests = tests.saturating_add(1);
    }
    Ok(tests)
}

/// The integrity value that follows a firmware image: HMAC-SHA-256 under a public key.
///
/// # Errors
/// None: HMAC takes keys of any length.
pub fn image_mac(image: &[u8]) -> Result<[u8; IMAGE_MAC_SIZE], ErrorCode> {
    hmac(IMAGE_KEY, &[image])
}

/// What a firmware image is known by: SHA-256 over all of it, its integrity value included. The integrity
/// test, which comes first, finds damage of the hash function too: HMAC is made of it.
#[must_use]
pub fn measure(image: &[u8]) -> Measurement {
    Measurement(Sha256::digest(image).into())
}

/// Tests of what the module itself uses, HMAC first because the image is checked with it.
const MODULE_TESTS: &[fn() -> Result<(), ErrorCode>] = &[
    || Hmac256.self_test(),
    drbg::self_test,
    kbkdf::self_test,
    aead::self_test,
    || EccNistP256.self_test(),
    import::self_test,
    #[cfg(feature = "rsa")]
    crate::envelope::self_test,
    shamir::self_test,
];

fn integrity_test(image: &[u8]) -> Result<(), ErrorCode> {
    let (image, expected) =
        image.split_last_chunk::<IMAGE_MAC_SIZE>().ok_or(ErrorCode::INTEGRITY_FAILED)?;
    let mut mac = image_mac(image)?;
    fault::tamper(Kat::Integrity, &mut mac);
    if bool::from(mac.ct_eq(expected)) { Ok(()) } else { Err(ErrorCode::INTEGRITY_FAILED) }
}

#[cfg(test)]
mod tests;
