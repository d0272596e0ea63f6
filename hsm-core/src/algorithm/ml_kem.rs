//! ML_KEM_512, ML_KEM_768, ML_KEM_1024 (FIPS 203).
//!
//! A secret is the seed d || z; the expanded key is computed for each use. Public and private keys
//! are those of RFC 9935, private keys in seed form only.

use core::marker::PhantomData;

use hex_literal::hex;
use hsm_protocol::ErrorCode;
use hsm_protocol::bytes::concat;
use hsm_protocol::key_spec::KeySpec;
use ml_kem::{Decapsulate, KeyExport};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{Algorithm, PublicKeyBuf};
use crate::fault::{self, Kat};
use crate::secret::{Secret, SecretBuf};

const SEED_SIZE: usize = 64;
/// Length of the longest ciphertext in bytes.
const MAX_CIPHERTEXT: usize = 1568;
/// `AlgorithmIdentifier` except for the last byte of the OID (2.16.840.1.101.3.4.4).
const ALGORITHM_PREFIX: [u8; 12] = hex!("300b060960864801650304 04");
/// `OneAsymmetricKey` up to the algorithm (RFC 5958).
const PRIVATE_PREFIX: [u8; 5] = hex!("3054020100");
/// What stands between algorithm and seed: OCTET STRING, \[0\] IMPLICIT OCTET STRING.
const SEED_PREFIX: [u8; 4] = hex!("04428040");

/// The portable implementation of parameter set `P`.
#[derive(Clone, Copy, Debug)]
pub struct MlKem<P>(PhantomData<fn() -> P>);

/// ML-KEM-512.
pub static ML_KEM_512: MlKem<ml_kem::MlKem512> = MlKem(PhantomData);
/// ML-KEM-768.
pub static ML_KEM_768: MlKem<ml_kem::MlKem768> = MlKem(PhantomData);
/// ML-KEM-1024.
pub static ML_KEM_1024: MlKem<ml_kem::MlKem1024> = MlKem(PhantomData);

/// A parameter set and its known answers.
pub trait Set {
    /// The key spec.
    const SPEC: KeySpec;
    /// The last byte of the OID (RFC 9935 3).
    const OID: u8;
    /// Known answers.
    const KAT: KnownAnswers;

    /// ML-KEM.KeyGen_internal (FIPS 203 6.1): the encapsulation key, after `prefix`.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`], which no parameter set causes.
    fn public(
        seed: &[u8; SEED_SIZE],
        prefix: &[u8],
        out: &mut PublicKeyBuf,
    ) -> Result<(), ErrorCode>;

    /// ML-KEM.Encaps_internal (FIPS 203 6.2) with the key check of 7.2; returns the length of the
    /// ciphertext in `out`.
    ///
    /// # Errors
    /// [`ErrorCode::SPEC_DENIED`] for a bad key; [`ErrorCode::TOO_LARGE`].
    fn encapsulate(
        public: &[u8],
        message: &[u8; 32],
        shared: &mut Secret<32>,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode>;

    /// ML-KEM.Decaps_internal (FIPS 203 6.3).
    ///
    /// # Errors
    /// [`ErrorCode::CIPHERTEXT_INVALID`] for a ciphertext of wrong length.
    fn decapsulate(
        seed: &[u8; SEED_SIZE],
        ciphertext: &[u8],
        shared: &mut Secret<32>,
    ) -> Result<(), ErrorCode>;
}

/// What a parameter set makes of a seed.
#[derive(Debug)]
pub struct KnownAnswers {
    /// d || z; Wycheproof, files mlkem_*_keygen_seed, test case 1.
    seed: [u8; SEED_SIZE],
    /// SHA-256 of the encapsulation key.
    public: [u8; 32],
    /// SHA-256 of the ciphertext of 32 bytes 0x42.
    ciphertext: [u8; 32],
    /// The shared secret of that ciphertext. This and what follows were computed by kyber-py, an
    /// independent implementation.
    shared: [u8; 32],
    /// The shared secret of that ciphertext with the lowest bit of its first byte flipped.
    rejected: [u8; 32],
}

macro_rules! parameter_set {
    ($set:ident, $module:ident, $spec:ident, $oid:literal, $kat:expr) => {
        impl Set for ml_kem::$set {
            const SPEC: KeySpec = KeySpec::$spec;
            const OID: u8 = $oid;
            const KAT: KnownAnswers = $kat;

            fn public(
                seed: &[u8; SEED_SIZE],
                prefix: &[u8],
                out: &mut PublicKeyBuf,
            ) -> Result<(), ErrorCode> {
                let key = ml_kem::$module::DecapsulationKey::from_seed((*seed).into());
                out.set(&[prefix, &key.encapsulation_key().to_bytes()])
            }

            fn encapsulate(
                public: &[u8],
                message: &[u8; 32],
                shared: &mut Secret<32>,
                out: &mut [u8],
            ) -> Result<usize, ErrorCode> {
                let key = public.try_into().map_err(|_| ErrorCode::SPEC_DENIED)?;
                let key = ml_kem::$module::EncapsulationKey::new(key);
                let key = key.map_err(|_| ErrorCode::SPEC_DENIED)?;
                let (ciphertext, mut secret) = key.encapsulate_deterministic(&(*message).into());
                shared.expose_mut().copy_from_slice(&secret);
                secret.zeroize();
                let out = out.get_mut(..ciphertext.len()).ok_or(ErrorCode::TOO_LARGE)?;
                out.copy_from_slice(&ciphertext);
                Ok(ciphertext.len())
            }

            fn decapsulate(
                seed: &[u8; SEED_SIZE],
                ciphertext: &[u8],
                shared: &mut Secret<32>,
            ) -> Result<(), ErrorCode> {
                let ciphertext: &ml_kem::$module::Ciphertext =
                    ciphertext.try_into().map_err(|_| ErrorCode::CIPHERTEXT_INVALID)?;
                let key = ml_kem::$module::DecapsulationKey::from_seed((*seed).into());
                let mut secret = key.decapsulate(ciphertext);
                shared.expose_mut().copy_from_slice(&secret);
                secret.zeroize();
                Ok(())
            }
        }
    };
}

parameter_set! {
    MlKem512, ml_kem_512, ML_KEM_512, 0x01,
    KnownAnswers {
        seed: hex!(
            "7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d"
            "8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f"
        ),
        public: hex!("852523749efd2b78d1074e5de629060312cd9397933a19ddb7482cfda5e92614"),
        ciphertext: hex!("cf3470309a9533a3c09512db6a6d5ff111827e64ead493a143f145b817789dcb"),
        shared: hex!("d9f35c135d39ec08fbe850f75670da567c9313f36548de5a204d05de8083c808"),
        rejected: hex!("775c9afdff777ad8caa4198cfd0c586d16780ef693e3d3a77f67891ebe3e0c2c"),
    }
}

parameter_set! {
    MlKem768, ml_kem_768, ML_KEM_768, 0x02,
    KnownAnswers {
        seed: hex!(
            "7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d"
            "8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f"
        ),
        public: hex!("86adbca81f4fee893e2fb58fb98aa2fe188f501fed268d7f4056f8c05c4e53c4"),
        ciphertext: hex!("dd59785eefa884f6a9e677c0018df5eb69819b0dbc7a73ce27284a962bc5042c"),
        shared: hex!("f41365d1f383cd6ec5df0dd6200ebc63b36998384e07722a5814676364fd2ca6"),
        rejected: hex!("05b353c1a74a93513f14670e1db2e2a970d4b6aa401561032896ad971272de09"),
    }
}

parameter_set! {
    MlKem1024, ml_kem_1024, ML_KEM_1024, 0x03,
    KnownAnswers {
        seed: hex!(
            "7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d"
            "8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f"
        ),
        public: hex!("61b95ec8c32ae85ad7a17ae5b9c2dfb083e05f767da3ba9a0a8092ea6b4cbf7a"),
        ciphertext: hex!("f1f9d38c762aae200a8f1c38c779b85e0009de37c09e8086a012f6e8c662f306"),
        shared: hex!("3dfe144d032de305e6db80e63303da19db277aabe62cff364eb082eaaaaa99a8"),
        rejected: hex!("2a4a77ac30e205e580069e153d7a1d8c3df3ca6d4c2a4b7367df93b2320e740f"),
    }
}

impl<P: Set> Algorithm for MlKem<P> {
    fn spec(&self) -> KeySpec {
        P::SPEC
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        let kat = P::KAT;
        let check = |kat, mut answer: [u8; 32], known: &[u8; 32]| {
            fault::tamper(kat, &mut answer);
            match bool::from(answer.ct_eq(known)) {
                true => Ok(()),
                false => Err(ErrorCode::SELF_TEST_FAILED),
            }
        };
        let mut public = PublicKeyBuf::new();
        P::public(&kat.seed, &[], &mut public)?;
        check(Kat::MlKemKeyGen, Sha256::digest(public.as_bytes()).into(), &kat.public)?;

        let (mut shared, mut out) = (Secret::zeroed(), [0; MAX_CIPHERTEXT]);
        let length = P::encapsulate(public.as_bytes(), &[0x42; 32], &mut shared, &mut out)?;
        let ciphertext = out.get_mut(..length).ok_or(ErrorCode::INTERNAL)?;
        check(Kat::MlKemEncapsulate, Sha256::digest(&*ciphertext).into(), &kat.ciphertext)?;
        check(Kat::MlKemEncapsulate, *shared.expose(), &kat.shared)?;
        P::decapsulate(&kat.seed, ciphertext, &mut shared)?;
        check(Kat::MlKemDecapsulate, *shared.expose(), &kat.shared)?;
        if let Some(byte) = ciphertext.first_mut() {
            *byte ^= 1;
        }
        P::decapsulate(&kat.seed, ciphertext, &mut shared)?;
        check(Kat::MlKemReject, *shared.expose(), &kat.rejected)
    }

    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        rng.fill_bytes(out.resize(SEED_SIZE)?);
        Ok(())
    }

    fn pairwise_test(&self, secret: &SecretBuf, rng: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        let (mut ours, mut theirs) = (Secret::zeroed(), Secret::zeroed());
        let (mut public, mut out) = (PublicKeyBuf::new(), [0; MAX_CIPHERTEXT]);
        self.public_key(secret, &mut public)?;
        let length = self.encapsulate(&public, rng, &mut theirs, &mut out)?;
        self.decapsulate(secret, out.get(..length).unwrap_or_default(), &mut ours)?;
        fault::tamper(Kat::Pairwise, ours.expose_mut());
        match bool::from(ours.expose().ct_eq(theirs.expose())) {
            true => Ok(()),
            false => Err(ErrorCode::PAIRWISE_FAILED),
        }
    }

    fn public_key(&self, secret: &SecretBuf, out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
        P::public(secret.expose_exact()?, &spki_prefix::<P>()?, out)
    }

    fn private_key(&self, secret: &SecretBuf, out: &mut [u8]) -> Result<usize, ErrorCode> {
        let seed = secret.expose_exact::<SEED_SIZE>()?;
        let parts: [&[u8]; 5] = [&PRIVATE_PREFIX, &ALGORITHM_PREFIX, &[P::OID], &SEED_PREFIX, seed];
        concat(out, &parts).map(|der| der.len()).ok_or(ErrorCode::TOO_LARGE)
    }

    fn import(&self, material: &[u8], out: &mut SecretBuf) -> Result<(), ErrorCode> {
        let seed = material
            .strip_prefix(&PRIVATE_PREFIX)
            .and_then(|rest| rest.strip_prefix(&ALGORITHM_PREFIX))
            .and_then(|rest| rest.strip_prefix(&[P::OID]))
            .and_then(|rest| rest.strip_prefix(&SEED_PREFIX))
            .and_then(|seed| <&[u8; SEED_SIZE]>::try_from(seed).ok())
            .ok_or(ErrorCode::KEY_MATERIAL_INVALID)?;
        out.resize(SEED_SIZE)?.copy_from_slice(seed);
        Ok(())
    }

    fn encapsulate(
        &self,
        public: &PublicKeyBuf,
        rng: &mut dyn CryptoRng,
        shared: &mut Secret<32>,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let key = public.as_bytes().strip_prefix(&spki_prefix::<P>()?);
        let mut message = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *message);
        P::encapsulate(key.ok_or(ErrorCode::SPEC_DENIED)?, &message, shared, out)
    }

    fn decapsulate(
        &self,
        secret: &SecretBuf,
        ciphertext: &[u8],
        shared: &mut Secret<32>,
    ) -> Result<(), ErrorCode> {
        P::decapsulate(secret.expose_exact()?, ciphertext, shared)
    }
}

/// `SubjectPublicKeyInfo` up to the key.
fn spki_prefix<P: Set>() -> Result<[u8; 22], ErrorCode> {
    let row = P::SPEC.row().ok_or(ErrorCode::INTERNAL)?;
    super::long_spki_prefix(&ALGORITHM_PREFIX, P::OID, row.public_size)
}

#[cfg(test)]
mod tests;
