//! Self-tests (ISO/IEC 19790 7.10, FIPS 140-3 IG 10.3.A).
//!
//! | when | what |
//! |---|---|
//! | power-up | HMAC, and with it the firmware image; DRBG, KBKDF, AES-GCM, ECDSA, ECDH; the noise |
//! | before first use | known answers of each algorithm of the registry |
//! | continuously | health tests of the noise; pair-wise consistency of each new key pair |
//! | on demand | all of power-up, and every algorithm of the registry |
//!
//! Power-up covers what the module itself uses: channel, tokens, storage, identity. The first
//! failure is the module's error state.

use hsm_protocol::ErrorCode;
use p256::{PublicKey, SecretKey};
use subtle::ConstantTimeEq;

use crate::algorithm::Algorithm;
use crate::algorithm::ecdsa_p256::EccNistP256;
use crate::algorithm::hmac::{Hmac256, hmac};
use crate::fault::{self, Kat};
use crate::{aead, drbg, kbkdf};

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

/// Tests of what the module itself uses, HMAC first because the image is checked with it.
const MODULE_TESTS: [fn() -> Result<(), ErrorCode>; 6] = [
    || Hmac256.self_test(),
    drbg::self_test,
    kbkdf::self_test,
    aead::self_test,
    || EccNistP256.self_test(),
    ecdh_test,
];

fn integrity_test(image: &[u8]) -> Result<(), ErrorCode> {
    let (image, expected) =
        image.split_last_chunk::<IMAGE_MAC_SIZE>().ok_or(ErrorCode::INTEGRITY_FAILED)?;
    let mut mac = image_mac(image)?;
    fault::tamper(Kat::Integrity, &mut mac);
    if bool::from(mac.ct_eq(expected)) { Ok(()) } else { Err(ErrorCode::INTEGRITY_FAILED) }
}

/// Known answer of ECDH on P-256 (SP 800-56A 5.7.1.2): the shared secret Z.
fn ecdh_test() -> Result<(), ErrorCode> {
    let failed = |_| ErrorCode::SELF_TEST_FAILED;
    let secret = SecretKey::from_slice(&ECDH_SECRET).map_err(failed)?;
    let public = PublicKey::from_sec1_bytes(&ECDH_PUBLIC).map_err(failed)?;
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
    let mut z: [u8; 32] = (*shared.raw_secret_bytes()).into();
    fault::tamper(Kat::Ecdh, &mut z);
    if bool::from(z.ct_eq(&ECDH_SHARED)) { Ok(()) } else { Err(ErrorCode::SELF_TEST_FAILED) }
}

// NIST CAVP ECDH primitive test vectors (SP 800-56A 5.7.1.2), P-256, count 0.
const ECDH_SECRET: [u8; 32] = [
    0x7d, 0x7d, 0xc5, 0xf7, 0x1e, 0xb2, 0x9d, 0xda, 0xf8, 0x0d, 0x62, 0x14, 0x63, 0x2e, 0xea, 0xe0,
    0x3d, 0x90, 0x58, 0xaf, 0x1f, 0xb6, 0xd2, 0x2e, 0xd8, 0x0b, 0xad, 0xb6, 0x2b, 0xc1, 0xa5, 0x34,
];
const ECDH_PUBLIC: [u8; 65] = [
    0x04, 0x70, 0x0c, 0x48, 0xf7, 0x7f, 0x56, 0x58, 0x4c, 0x5c, 0xc6, 0x32, 0xca, 0x65, 0x64, 0x0d,
    0xb9, 0x1b, 0x6b, 0xac, 0xce, 0x3a, 0x4d, 0xf6, 0xb4, 0x2c, 0xe7, 0xcc, 0x83, 0x88, 0x33, 0xd2,
    0x87, 0xdb, 0x71, 0xe5, 0x09, 0xe3, 0xfd, 0x9b, 0x06, 0x0d, 0xdb, 0x20, 0xba, 0x5c, 0x51, 0xdc,
    0xc5, 0x94, 0x8d, 0x46, 0xfb, 0xf6, 0x40, 0xdf, 0xe0, 0x44, 0x17, 0x82, 0xca, 0xb8, 0x5f, 0xa4,
    0xac,
];
const ECDH_SHARED: [u8; 32] = [
    0x46, 0xfc, 0x62, 0x10, 0x64, 0x20, 0xff, 0x01, 0x2e, 0x54, 0xa4, 0x34, 0xfb, 0xdd, 0x2d, 0x25,
    0xcc, 0xc5, 0x85, 0x20, 0x60, 0x56, 0x1e, 0x68, 0x04, 0x0d, 0xd7, 0x77, 0x89, 0x97, 0xbd, 0x7b,
];

#[cfg(test)]
mod tests;
