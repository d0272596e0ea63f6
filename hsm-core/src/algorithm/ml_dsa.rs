//! ML_DSA_44, ML_DSA_65, ML_DSA_87 (FIPS 204), hedged, with an empty context.
//!
//! Two implementations: [`lean`] for all but representatives made elsewhere (EXTERNAL_MU).
//!
//! A secret is the seed xi; the expanded key is computed for each use. Public keys and imported
//! private keys are those of RFC 9881, private keys in seed form only.

use core::marker::PhantomData;

use hex_literal::hex;
use hsm_protocol::ErrorCode;
use hsm_protocol::bytes::concat;
use hsm_protocol::key_spec::{KeySpec, MAX_PUBLIC_KEY, MAX_SIGNATURE, SigningAlgorithm};
use ml_dsa::{EncodedVerifyingKey, MlDsaParams, Signature, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use sha2::digest::Update;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Algorithm, Message, PublicKeyBuf};
use crate::fault::{self, Kat};
use crate::secret::{Secret, SecretBuf};

mod lean;

use lean::Lean;

const SEED_SIZE: usize = 32;
/// Length of the message representative mu in bytes (FIPS 204 6.2).
const MU_SIZE: usize = 64;
const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ML_DSA_SHAKE_256;
/// `AlgorithmIdentifier` except for the last byte of the OID (2.16.840.1.101.3.4.3).
const ALGORITHM_PREFIX: [u8; 12] = hex!("300b060960864801650304 03");

/// The portable implementation of parameter set `P`.
#[derive(Clone, Copy, Debug)]
pub struct MlDsa<P>(PhantomData<fn() -> P>);

/// ML-DSA-44.
pub static ML_DSA_44: MlDsa<ml_dsa::MlDsa44> = MlDsa(PhantomData);
/// ML-DSA-65.
pub static ML_DSA_65: MlDsa<ml_dsa::MlDsa65> = MlDsa(PhantomData);
/// ML-DSA-87.
pub static ML_DSA_87: MlDsa<ml_dsa::MlDsa87> = MlDsa(PhantomData);

/// A parameter set and its known answers.
pub trait Set: MlDsaParams + Lean {
    /// The key spec.
    const SPEC: KeySpec;
    /// The last byte of the OID (RFC 9881 2).
    const OID: u8;
    /// SHA-256 of the public key of [`KAT_SEED`].
    const PUBLIC_KAT: [u8; 32];
    /// SHA-256 of the deterministic signature over [`KAT_MESSAGE`].
    const SIGNATURE_KAT: [u8; 32];
}

// Wycheproof, files mldsa_*_sign_seed, test case 1; keys and signatures are long, so what is
// kept of them is a hash.
pub(super) const KAT_SEED: [u8; SEED_SIZE] = [0x2a; SEED_SIZE];
pub(super) const KAT_MESSAGE: &[u8] = b"Hello world";

impl Set for ml_dsa::MlDsa44 {
    const SPEC: KeySpec = KeySpec::ML_DSA_44;
    const OID: u8 = 0x11;
    const PUBLIC_KAT: [u8; 32] =
        hex!("d87f8ca136ac1aa55e2d6c4521680efb3a378cbb9bc0bfb446e9c60893931ea3");
    const SIGNATURE_KAT: [u8; 32] =
        hex!("8cd6fc03daa72e87210a4e721523e84c14f27733789075e65736744d4787fdd5");
}

impl Set for ml_dsa::MlDsa65 {
    const SPEC: KeySpec = KeySpec::ML_DSA_65;
    const OID: u8 = 0x12;
    const PUBLIC_KAT: [u8; 32] =
        hex!("b7acce2ddb11f8cc1aa46e2bafac6eacfa2b732ef192bd636ad8d3a56d649c66");
    const SIGNATURE_KAT: [u8; 32] =
        hex!("39fbbb0d97a52c79844213b325af823a7f16a174e00a5b3daeb3e6e6d1c89681");
}

impl Set for ml_dsa::MlDsa87 {
    const SPEC: KeySpec = KeySpec::ML_DSA_87;
    const OID: u8 = 0x13;
    const PUBLIC_KAT: [u8; 32] =
        hex!("d43128fa8a8c785c1d44c9e7db538dbf9dd88fe6c8ad911a344bcec1017c6d54");
    const SIGNATURE_KAT: [u8; 32] =
        hex!("1ad45bd0419e694375bd38ec11d8e0c228ab9ffac2fce4adbe6218d9c949e293");
}

impl<P: Set> Algorithm for MlDsa<P> {
    fn spec(&self) -> KeySpec {
        P::SPEC
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        lean_test::<P>()?;
        mu_test::<P>()
    }

    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        rng.fill_bytes(out.resize(SEED_SIZE)?);
        Ok(())
    }

    fn pairwise_test(&self, secret: &SecretBuf, rng: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        let mut text = *b"pair-wise consistency";
        let mut signature = [0; MAX_SIGNATURE];
        let mut public = PublicKeyBuf::new();
        let length = self.sign(secret, ALGORITHM, Message::Raw(&text), rng, &mut signature)?;
        self.public_key(secret, &mut public)?;
        fault::tamper(Kat::Pairwise, &mut text);
        let signature = signature.get(..length).unwrap_or_default();
        self.verify(&public, ALGORITHM, Message::Raw(&text), signature)
            .map_err(|_| ErrorCode::PAIRWISE_FAILED)
    }

    fn public_key(&self, secret: &SecretBuf, out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
        let mut key = [0; MAX_PUBLIC_KEY];
        let length = P::public(secret.expose_exact()?, &mut key)?;
        out.set(&[&spki_prefix::<P>()?, key.get(..length).unwrap_or_default()])
    }

    fn import(&self, material: &[u8], out: &mut SecretBuf) -> Result<(), ErrorCode> {
        let seed = material
            .strip_prefix(&hex!("3034020100"))
            .and_then(|rest| rest.strip_prefix(&ALGORITHM_PREFIX))
            .and_then(|rest| rest.strip_prefix(&[P::OID]))
            .and_then(|rest| rest.strip_prefix(&hex!("04228020")))
            .and_then(|seed| <&[u8; SEED_SIZE]>::try_from(seed).ok())
            .ok_or(ErrorCode::KEY_MATERIAL_INVALID)?;
        out.resize(SEED_SIZE)?.copy_from_slice(seed);
        Ok(())
    }

    fn sign(
        &self,
        secret: &SecretBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        check(algorithm)?;
        match message {
            Message::Raw(message) => {
                let mut random = Secret::zeroed();
                rng.fill_bytes(random.expose_mut());
                P::sign(secret.expose_exact()?, message, random.expose(), out)
            }
            Message::ExternalMu(mu) => {
                let mu = mu.try_into().map_err(|_| ErrorCode::MESSAGE_LENGTH)?;
                sign_mu::<P>(secret, mu, Some(rng), out)
            }
            Message::Digest(_) => Err(ErrorCode::SPEC_DENIED),
        }
    }

    fn verify(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        check(algorithm)?;
        let key = public.as_bytes().strip_prefix(&spki_prefix::<P>()?);
        let key = key.ok_or(ErrorCode::SPEC_DENIED)?;
        let valid = match message {
            Message::Raw(message) => P::verify(key, message, signature),
            Message::ExternalMu(mu) => {
                let mu = mu.try_into().map_err(|_| ErrorCode::MESSAGE_LENGTH)?;
                verify_mu::<P>(key, mu, signature)?
            }
            Message::Digest(_) => return Err(ErrorCode::SPEC_DENIED),
        };
        if valid { Ok(()) } else { Err(ErrorCode::SIGNATURE_INVALID) }
    }
}

/// Key generation, signature generation and verification of messages.
#[inline(never)]
fn lean_test<P: Set>() -> Result<(), ErrorCode> {
    let mut buffer = [0; MAX_SIGNATURE];
    let length = P::public(&KAT_SEED, &mut buffer)?;
    let mut public = [0; MAX_PUBLIC_KEY];
    let public = concat(&mut public, &[buffer.get(..length).unwrap_or_default()]);
    let public = &*public.ok_or(ErrorCode::SELF_TEST_FAILED)?;
    let mut answer: [u8; 32] = Sha256::digest(public).into();
    fault::tamper(Kat::MlDsaKeyGen, &mut answer);
    let generated = answer.ct_eq(&P::PUBLIC_KAT);

    let length = P::sign(&KAT_SEED, KAT_MESSAGE, &[0; 32], &mut buffer)?;
    let signature = buffer.get(..length).unwrap_or_default();
    let mut answer: [u8; 32] = Sha256::digest(signature).into();
    fault::tamper(Kat::MlDsaSign, &mut answer);
    let signed = answer.ct_eq(&P::SIGNATURE_KAT);

    let mut message = [0; KAT_MESSAGE.len()];
    message.copy_from_slice(KAT_MESSAGE);
    fault::tamper(Kat::MlDsaVerify, &mut message);
    match bool::from(generated & signed) && P::verify(public, &message, signature) {
        true => Ok(()),
        false => Err(ErrorCode::SELF_TEST_FAILED),
    }
}

/// The same signature, by the other implementation out of the message's representative. One step after the
/// other, each of which a command needs as well: the test takes no more stack than the largest of them.
#[inline(never)]
fn mu_test<P: Set>() -> Result<(), ErrorCode> {
    let mut public = [0; MAX_PUBLIC_KEY];
    let length = P::public(&KAT_SEED, &mut public)?;
    let public = public.get(..length).unwrap_or_default();
    let mut mu = representative::<P>(public, KAT_MESSAGE)?;

    let secret = SecretBuf::copy_from(&KAT_SEED)?;
    let mut signature = [0; MAX_SIGNATURE];
    let length = sign_mu::<P>(&secret, &mu, None, &mut signature)?;
    let signature = signature.get(..length).unwrap_or_default();
    let mut answer: [u8; 32] = Sha256::digest(signature).into();
    fault::tamper(Kat::MlDsaMuSign, &mut answer);
    fault::tamper(Kat::MlDsaMuVerify, &mut mu);
    match bool::from(answer.ct_eq(&P::SIGNATURE_KAT)) && verify_mu::<P>(public, &mu, signature)? {
        true => Ok(()),
        false => Err(ErrorCode::SELF_TEST_FAILED),
    }
}

/// The representative of a message for an encoded public key (FIPS 204 6.2), with an empty context.
#[inline(never)] // large in stack, and beside what is not
fn representative<P: Set>(public: &[u8], message: &[u8]) -> Result<[u8; MU_SIZE], ErrorCode> {
    let key = EncodedVerifyingKey::<P>::try_from(public).map_err(|_| ErrorCode::SPEC_DENIED)?;
    let hash = |hash: &mut _| {
        Update::update(hash, message);
        Ok(())
    };
    let mu = VerifyingKey::<P>::decode(&key).compute_mu(hash, &[]);
    mu.map(Into::into).map_err(|_| ErrorCode::INTERNAL)
}

/// Signs a representative; without `rng`, deterministically, for known answers.
#[inline(never)] // large in stack, and beside what is not
fn sign_mu<P: Set>(
    secret: &SecretBuf,
    mu: &[u8; MU_SIZE],
    rng: Option<&mut dyn CryptoRng>,
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    let key = SigningKey::<P>::from_seed(secret.expose_exact::<SEED_SIZE>()?.into());
    let (key, mu) = (key.expanded_key(), (*mu).into());
    let signature = match rng {
        Some(rng) => key.sign_mu_randomized(&mu, rng).map_err(|_| ErrorCode::INTERNAL)?,
        None => key.sign_mu_deterministic(&mu),
    };
    let signature = signature.encode();
    out.get_mut(..signature.len()).ok_or(ErrorCode::TOO_LARGE)?.copy_from_slice(&signature);
    Ok(signature.len())
}

/// Whether a signature is valid for an encoded public key.
#[inline(never)] // large in stack, and beside what is not
fn verify_mu<P: Set>(
    public: &[u8],
    mu: &[u8; MU_SIZE],
    signature: &[u8],
) -> Result<bool, ErrorCode> {
    let key = EncodedVerifyingKey::<P>::try_from(public).map_err(|_| ErrorCode::SPEC_DENIED)?;
    let key = VerifyingKey::<P>::decode(&key);
    let signature = Signature::try_from(signature);
    Ok(signature.is_ok_and(|signature| key.verify_mu(&(*mu).into(), &signature)))
}

fn check(algorithm: SigningAlgorithm) -> Result<(), ErrorCode> {
    if algorithm == ALGORITHM { Ok(()) } else { Err(ErrorCode::SPEC_DENIED) }
}

/// `SubjectPublicKeyInfo` up to the key.
fn spki_prefix<P: Set>() -> Result<[u8; 22], ErrorCode> {
    let row = P::SPEC.row().ok_or(ErrorCode::INTERNAL)?;
    super::long_spki_prefix(&ALGORITHM_PREFIX, P::OID, row.public_size)
}

#[cfg(test)]
mod tests;
