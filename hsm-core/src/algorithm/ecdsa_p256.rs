//! ECC_NIST_P256: ECDSA on P-256 with SHA-256 (FIPS 186-5, SP 800-186).
//!
//! Nonces are deterministic (RFC 6979) and hedged: 32 fresh random bytes go in as additional
//! data (3.6), so that neither a weak generator nor a fault in the computation gives the key
//! away. S is not normalised. Public keys are uncompressed DER `SubjectPublicKeyInfo`.

use ecdsa::hazmat;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use p256::ecdsa::Signature;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{NistP256, NonZeroScalar, PublicKey, SecretKey};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Algorithm, Message, PublicKeyBuf};
use crate::fault::{self, Kat};
use crate::secret::SecretBuf;

mod der;

const SCALAR_SIZE: usize = 32;
const DIGEST_SIZE: usize = 32;
/// `SubjectPublicKeyInfo` up to the point: id-ecPublicKey, prime256v1, BIT STRING (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The portable implementation.
#[derive(Clone, Copy, Debug)]
pub struct EccNistP256;

impl Algorithm for EccNistP256 {
    fn spec(&self) -> KeySpec {
        KeySpec::ECC_NIST_P256
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        let digest: [u8; DIGEST_SIZE] = Sha256::digest(KAT_MESSAGE).into();
        // Without the hedge the signature is a known answer.
        let mut signature: [u8; 64] = sign_digest(&KAT_SECRET, &digest, &[])?.to_bytes().into();
        fault::tamper(Kat::EcdsaSign, &mut signature);
        if !bool::from(signature.ct_eq(&KAT_SIGNATURE)) {
            return Err(ErrorCode::SELF_TEST_FAILED);
        }
        let mut digest = digest;
        fault::tamper(Kat::EcdsaVerify, &mut digest);
        let public = PublicKey::from_sec1_bytes(&KAT_PUBLIC).ok();
        let signature = Signature::from_slice(&KAT_SIGNATURE).ok();
        match (public, signature) {
            (Some(public), Some(signature)) => verify_digest(&public, &digest, &signature),
            _ => Err(ErrorCode::SELF_TEST_FAILED),
        }
        .map_err(|_| ErrorCode::SELF_TEST_FAILED)
    }

    /// FIPS 186-5 A.2.2, rejection sampling.
    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        let secret = SecretKey::generate_from_rng(rng);
        let bytes = Zeroizing::new(secret.to_bytes());
        out.resize(SCALAR_SIZE)?.copy_from_slice(&bytes);
        Ok(())
    }

    fn pairwise_test(&self, secret: &SecretBuf, rng: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ECDSA_SHA_256;
        let mut digest = [0x5a; DIGEST_SIZE];
        let mut signature = [0; der::MAX_SIZE];
        let mut public = PublicKeyBuf::new();
        let length = self.sign(secret, ALGORITHM, Message::Digest(&digest), rng, &mut signature)?;
        self.public_key(secret, &mut public)?;
        fault::tamper(Kat::Pairwise, &mut digest);
        let signature = signature.get(..length).unwrap_or_default();
        self.verify(&public, ALGORITHM, Message::Digest(&digest), signature)
            .map_err(|_| ErrorCode::PAIRWISE_FAILED)
    }

    fn public_key(&self, secret: &SecretBuf, out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
        let secret = parse_secret(secret.expose_exact()?)?;
        let point = PublicKey::from_secret_scalar(&secret).to_sec1_point(false);
        out.set(&[&SPKI_PREFIX, point.as_bytes()])
    }

    fn sign(
        &self,
        secret: &SecretBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let digest = digest(algorithm, message)?;
        let mut hedge = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *hedge);
        let signature = sign_digest(secret.expose_exact()?, &digest, &*hedge)?;
        let (r, s) = signature.split_bytes();
        der::encode(r.as_ref(), s.as_ref(), out)
    }

    fn verify(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        let digest = digest(algorithm, message)?;
        let point = public.as_bytes().strip_prefix(&SPKI_PREFIX).ok_or(ErrorCode::SPEC_DENIED)?;
        let public = PublicKey::from_sec1_bytes(point).map_err(|_| ErrorCode::SPEC_DENIED)?;
        let (r, s) = der::decode(signature).ok_or(ErrorCode::SIGNATURE_INVALID)?;
        let signature = Signature::from_scalars(r, s).map_err(|_| ErrorCode::SIGNATURE_INVALID)?;
        verify_digest(&public, &digest, &signature)
    }
}

/// Signs a digest; `hedge` is RFC 6979's additional data.
///
/// # Errors
/// [`ErrorCode::SPEC_DENIED`] if the secret is not a scalar of the curve.
pub(crate) fn sign_digest(
    secret: &[u8; SCALAR_SIZE],
    digest: &[u8; DIGEST_SIZE],
    hedge: &[u8],
) -> Result<Signature, ErrorCode> {
    let secret = parse_secret(secret)?;
    let (signature, _) = hazmat::sign_prehashed_rfc6979::<NistP256, Sha256>(&secret, digest, hedge);
    Ok(signature)
}

fn verify_digest(
    public: &PublicKey,
    digest: &[u8; DIGEST_SIZE],
    signature: &Signature,
) -> Result<(), ErrorCode> {
    hazmat::verify_prehashed::<NistP256>(&public.to_projective(), digest, signature)
        .map_err(|_| ErrorCode::SIGNATURE_INVALID)
}

fn parse_secret(secret: &[u8; SCALAR_SIZE]) -> Result<Zeroizing<NonZeroScalar>, ErrorCode> {
    let scalar: Option<NonZeroScalar> = NonZeroScalar::from_repr((*secret).into()).into();
    scalar.map(Zeroizing::new).ok_or(ErrorCode::SPEC_DENIED)
}

fn digest(
    algorithm: SigningAlgorithm,
    message: Message<'_>,
) -> Result<[u8; DIGEST_SIZE], ErrorCode> {
    if algorithm != SigningAlgorithm::ECDSA_SHA_256 {
        return Err(ErrorCode::SPEC_DENIED);
    }
    match message {
        Message::Raw(message) => Ok(Sha256::digest(message).into()),
        Message::Digest(digest) => digest.try_into().map_err(|_| ErrorCode::MESSAGE_LENGTH),
        Message::ExternalMu(_) => Err(ErrorCode::SPEC_DENIED),
    }
}

// RFC 6979 A.2.5: P-256, SHA-256, message "sample".
const KAT_MESSAGE: &[u8] = b"sample";
const KAT_SECRET: [u8; 32] = [
    0xc9, 0xaf, 0xa9, 0xd8, 0x45, 0xba, 0x75, 0x16, 0x6b, 0x5c, 0x21, 0x57, 0x67, 0xb1, 0xd6, 0x93,
    0x4e, 0x50, 0xc3, 0xdb, 0x36, 0xe8, 0x9b, 0x12, 0x7b, 0x8a, 0x62, 0x2b, 0x12, 0x0f, 0x67, 0x21,
];
const KAT_PUBLIC: [u8; 65] = [
    0x04, 0x60, 0xfe, 0xd4, 0xba, 0x25, 0x5a, 0x9d, 0x31, 0xc9, 0x61, 0xeb, 0x74, 0xc6, 0x35, 0x6d,
    0x68, 0xc0, 0x49, 0xb8, 0x92, 0x3b, 0x61, 0xfa, 0x6c, 0xe6, 0x69, 0x62, 0x2e, 0x60, 0xf2, 0x9f,
    0xb6, 0x79, 0x03, 0xfe, 0x10, 0x08, 0xb8, 0xbc, 0x99, 0xa4, 0x1a, 0xe9, 0xe9, 0x56, 0x28, 0xbc,
    0x64, 0xf2, 0xf1, 0xb2, 0x0c, 0x2d, 0x7e, 0x9f, 0x51, 0x77, 0xa3, 0xc2, 0x94, 0xd4, 0x46, 0x22,
    0x99,
];
const KAT_SIGNATURE: [u8; 64] = [
    0xef, 0xd4, 0x8b, 0x2a, 0xac, 0xb6, 0xa8, 0xfd, 0x11, 0x40, 0xdd, 0x9c, 0xd4, 0x5e, 0x81, 0xd6,
    0x9d, 0x2c, 0x87, 0x7b, 0x56, 0xaa, 0xf9, 0x91, 0xc3, 0x4d, 0x0e, 0xa8, 0x4e, 0xaf, 0x37, 0x16,
    0xf7, 0xcb, 0x1c, 0x94, 0x2d, 0x65, 0x7c, 0x41, 0xd4, 0x36, 0xc7, 0xa1, 0xb6, 0xe2, 0x9f, 0x65,
    0xf3, 0xe9, 0x00, 0xdb, 0xb9, 0xaf, 0xf4, 0x06, 0x4d, 0xc4, 0xab, 0x2f, 0x84, 0x3a, 0xcd, 0xa8,
];

#[cfg(test)]
mod tests;
