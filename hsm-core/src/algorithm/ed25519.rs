//! ECC_NIST_EDWARDS25519: Ed25519 and Ed25519ph (RFC 8032, FIPS 186-5 7).
//!
//! ED25519_SHA_512 signs messages only. ED25519_PH_SHA_512 takes a digest only, 64 bytes, and
//! treats it as the message: Ed25519ph hashes it again, as AWS KMS does. Secrets are seeds
//! (RFC 8032 5.1.5), or what [`Algorithm::expand`] makes of them; signatures are deterministic.

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use hex_literal::hex;
use hsm_protocol::ErrorCode;
use hsm_protocol::bytes::concat;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::{Algorithm, Message, PublicKeyBuf};
use crate::fault::{self, Kat};
use crate::secret::SecretBuf;

mod expanded;

use expanded::Expanded;

const SEED_SIZE: usize = 32;
const SIGNATURE_SIZE: usize = 64;
const DIGEST_SIZE: usize = 64;
/// id-Ed25519 (RFC 8410 3).
const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// `SubjectPublicKeyInfo` up to the key (RFC 8410 4).
const SPKI_PREFIX: [u8; 12] = hex!("302a 300506032b6570 032100");
/// `OneAsymmetricKey` version 1 up to the seed (RFC 8410 7), which all software reads.
const PKCS8_PREFIX: [u8; 16] = hex!("302e020100 300506032b6570 04220420");

/// The portable implementation.
#[derive(Clone, Copy, Debug)]
pub struct EccNistEdwards25519;

impl Algorithm for EccNistEdwards25519 {
    fn spec(&self) -> KeySpec {
        KeySpec::ECC_NIST_EDWARDS25519
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        KAT.run(Variant::Pure)
            .and_then(|()| PH_KAT.run(Variant::Prehash))
            .map_err(|_| ErrorCode::SELF_TEST_FAILED)
    }

    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        rng.fill_bytes(out.resize(SEED_SIZE)?);
        Ok(())
    }

    fn pairwise_test(&self, secret: &SecretBuf, _: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        let mut message = *b"pair-wise consistency";
        let key = Expanded::read(secret)?;
        let signature = key.sign(Variant::Pure, &message);
        fault::tamper(Kat::Pairwise, &mut message);
        VerifyingKey::from_bytes(key.public())
            .map_err(|_| ErrorCode::PAIRWISE_FAILED)
            .and_then(|public| Variant::Pure.verify(&public, &message, &signature))
            .map_err(|_| ErrorCode::PAIRWISE_FAILED)
    }

    fn public_key(&self, secret: &SecretBuf, out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
        out.set(&[&SPKI_PREFIX, Expanded::read(secret)?.public()])
    }

    fn expand(&self, secret: &mut SecretBuf) -> Result<(), ErrorCode> {
        Expanded::read(secret)?.write(secret)
    }

    fn private_key(&self, secret: &SecretBuf, out: &mut [u8]) -> Result<usize, ErrorCode> {
        let seed = secret.expose_exact::<SEED_SIZE>()?;
        concat(out, &[&PKCS8_PREFIX, seed]).map(|der| der.len()).ok_or(ErrorCode::TOO_LARGE)
    }

    fn import(&self, material: &[u8], out: &mut SecretBuf) -> Result<(), ErrorCode> {
        let seed = decode_private(material).ok_or(ErrorCode::KEY_MATERIAL_INVALID)?;
        out.resize(SEED_SIZE)?.copy_from_slice(seed);
        Ok(())
    }

    fn sign(
        &self,
        secret: &SecretBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        _: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let (variant, message) = Variant::of(algorithm, message)?;
        let out = out.first_chunk_mut().ok_or(ErrorCode::TOO_LARGE)?;
        *out = Expanded::read(secret)?.sign(variant, message);
        Ok(SIGNATURE_SIZE)
    }

    fn verify(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        let (variant, message) = Variant::of(algorithm, message)?;
        let key = public.as_bytes().strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok());
        let key = VerifyingKey::from_bytes(key.ok_or(ErrorCode::SPEC_DENIED)?);
        let key = key.map_err(|_| ErrorCode::SPEC_DENIED)?;
        let signature = signature.try_into().map_err(|_| ErrorCode::SIGNATURE_INVALID)?;
        variant.verify(&key, message, signature)
    }
}

#[derive(Clone, Copy)]
enum Variant {
    /// Ed25519.
    Pure,
    /// Ed25519ph with an empty context.
    Prehash,
}

impl Variant {
    /// The variant of an algorithm, and the message as that variant takes it.
    fn of(algorithm: SigningAlgorithm, message: Message<'_>) -> Result<(Self, &[u8]), ErrorCode> {
        match (algorithm, message) {
            (SigningAlgorithm::ED25519_SHA_512, Message::Raw(message)) => Ok((Self::Pure, message)),
            (SigningAlgorithm::ED25519_PH_SHA_512, Message::Digest(digest)) => {
                if digest.len() != DIGEST_SIZE {
                    return Err(ErrorCode::MESSAGE_LENGTH);
                }
                Ok((Self::Prehash, digest))
            }
            _ => Err(ErrorCode::SPEC_DENIED),
        }
    }

    fn verify(
        self,
        key: &VerifyingKey,
        message: &[u8],
        signature: &[u8; SIGNATURE_SIZE],
    ) -> Result<(), ErrorCode> {
        let signature = Signature::from_bytes(signature);
        match self {
            Self::Pure => key.verify(message, &signature),
            Self::Prehash => {
                key.verify_prehashed(Sha512::new_with_prefix(message), None, &signature)
            }
        }
        .map_err(|_| ErrorCode::SIGNATURE_INVALID)
    }
}

/// Reads PKCS#8 of either version. A public key inside must be the seed's.
fn decode_private(pkcs8: &[u8]) -> Option<&[u8; SEED_SIZE]> {
    let info = PrivateKeyInfoRef::try_from(pkcs8).ok()?;
    if info.algorithm.oid != ID_ED25519 || info.algorithm.parameters.is_some() {
        return None;
    }
    let [0x04, 0x20, seed @ ..] = info.private_key.as_bytes() else { return None };
    let seed = seed.try_into().ok()?;
    let is_true = |claim: &[u8]| Expanded::from_seed(seed).public() == claim;
    info.public_key.is_none_or(|claim| is_true(claim.raw_bytes())).then_some(seed)
}

/// A known answer of one variant.
struct KnownAnswer {
    sign: Kat,
    verify: Kat,
    message: &'static [u8],
    seed: [u8; SEED_SIZE],
    public: [u8; 32],
    signature: [u8; SIGNATURE_SIZE],
}

impl KnownAnswer {
    fn run(&self, variant: Variant) -> Result<(), ErrorCode> {
        let mut signature = Expanded::from_seed(&self.seed).sign(variant, self.message);
        fault::tamper(self.sign, &mut signature);
        if !bool::from(signature.ct_eq(&self.signature)) {
            return Err(ErrorCode::SELF_TEST_FAILED);
        }
        let mut signature = self.signature;
        fault::tamper(self.verify, &mut signature);
        let public = VerifyingKey::from_bytes(&self.public);
        let public = public.map_err(|_| ErrorCode::SELF_TEST_FAILED)?;
        variant.verify(&public, self.message, &signature)
    }
}

/// RFC 8032 7.1, test 3.
const KAT: KnownAnswer = KnownAnswer {
    sign: Kat::Ed25519Sign,
    verify: Kat::Ed25519Verify,
    message: &hex!("af82"),
    seed: hex!("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"),
    public: hex!("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
    signature: hex!(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    ),
};

/// RFC 8032 7.3.
const PH_KAT: KnownAnswer = KnownAnswer {
    sign: Kat::Ed25519phSign,
    verify: Kat::Ed25519phVerify,
    message: b"abc",
    seed: hex!("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"),
    public: hex!("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf"),
    signature: hex!(
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
        "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
    ),
};

#[cfg(test)]
mod tests;
