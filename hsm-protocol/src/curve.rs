//! P-256 for the channel, identities and tokens, whoever computes it.
//!
//! A device computes with its algorithm registry, which knows what its processor is fast at; a host
//! computes with [`Portable`]. Both get the same results. Nothing here signs: devices and operators
//! do that with keys of their own.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{self, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::{PublicKey, SecretKey};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::ErrorCode;
use crate::identity::{self, Signature};

/// Who computes with points of P-256 (SP 800-186 3.2.1.3), in constant time as far as secrets go.
pub trait Curve {
    /// The public key of a secret scalar.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    fn public(&self, secret: &SecretKey) -> Result<PublicKey, ErrorCode>;

    /// The shared secret Z, 32 bytes: the x-coordinate, big-endian (SP 800-56A r3, 5.7.1.2).
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    fn agree(&self, secret: &SecretKey, peer: &PublicKey)
    -> Result<Zeroizing<[u8; 32]>, ErrorCode>;

    /// Verifies an ECDSA signature over a SHA-256 value (FIPS 186-5 6.4.2).
    ///
    /// # Errors
    /// [`ErrorCode::SIGNATURE_INVALID`], or [`ErrorCode::IDENTITY_INVALID`] for a bad key.
    fn verify_digest(
        &self,
        key: &identity::PublicKey,
        digest: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), ErrorCode>;

    /// Verifies an ECDSA signature over SHA-256 of a message.
    ///
    /// # Errors
    /// Those of [`Curve::verify_digest`].
    fn verify(
        &self,
        key: &identity::PublicKey,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), ErrorCode> {
        self.verify_digest(key, &Sha256::digest(message).into(), signature)
    }
}

/// The curve's own crate, which runs everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Curve for Portable {
    fn public(&self, secret: &SecretKey) -> Result<PublicKey, ErrorCode> {
        Ok(secret.public_key())
    }

    fn agree(
        &self,
        secret: &SecretKey,
        peer: &PublicKey,
    ) -> Result<Zeroizing<[u8; 32]>, ErrorCode> {
        let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), peer.as_affine());
        Ok(Zeroizing::new((*shared.raw_secret_bytes()).into()))
    }

    fn verify_digest(
        &self,
        key: &identity::PublicKey,
        digest: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), ErrorCode> {
        let key = VerifyingKey::from(key.to_point()?);
        let signature = ecdsa::Signature::from_scalars(signature.r, signature.s)
            .map_err(|_| ErrorCode::SIGNATURE_INVALID)?;
        key.verify_prehash(digest, &signature).map_err(|_| ErrorCode::SIGNATURE_INVALID)
    }
}

/// A secret key with its public half, which is computed once. The secret zeroises itself on drop.
#[derive(Debug)]
pub struct KeyPair {
    secret: SecretKey,
    public: PublicKey,
}

impl KeyPair {
    /// The pair of a secret key.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn new(curve: &impl Curve, secret: SecretKey) -> Result<Self, ErrorCode> {
        let public = curve.public(&secret)?;
        Ok(Self { secret, public })
    }

    /// A fresh pair, by rejection sampling (FIPS 186-5 A.2.2).
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn generate<R: CryptoRng + ?Sized>(
        curve: &impl Curve,
        rng: &mut R,
    ) -> Result<Self, ErrorCode> {
        Self::new(curve, SecretKey::generate_from_rng(rng))
    }

    /// The secret half.
    #[must_use]
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The public half.
    #[must_use]
    pub const fn point(&self) -> &PublicKey {
        &self.public
    }

    /// The public half in compressed form.
    #[must_use]
    pub fn public(&self) -> identity::PublicKey {
        identity::PublicKey::from_point(&self.public)
    }
}
