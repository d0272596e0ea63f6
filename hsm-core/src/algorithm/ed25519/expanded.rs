//! Signing with an expanded key (RFC 8032 5.1.6): expanding a seed costs as much as a signature.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::clamp_integer;
use curve25519_dalek::{EdwardsPoint, Scalar};
use hsm_protocol::ErrorCode;
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{SEED_SIZE, SIGNATURE_SIZE, Variant};
use crate::secret::SecretBuf;

/// Length of the written form in bytes: scalar, prefix, public key, 32 each.
const SIZE: usize = 96;
/// dom2(1, "") (RFC 8032 2).
const DOM2: &[u8] = b"SigEd25519 no Ed25519 collisions\x01\x00";

/// A private key ready for use.
#[derive(ZeroizeOnDrop)]
pub(super) struct Expanded {
    scalar: Scalar,
    prefix: [u8; 32],
    #[zeroize(skip)]
    public: CompressedEdwardsY,
}

impl Expanded {
    /// Out of a seed, or out of what [`Expanded::write`] wrote.
    ///
    /// # Errors
    /// [`ErrorCode::SPEC_DENIED`] for any other length.
    pub(super) fn read(secret: &SecretBuf) -> Result<Self, ErrorCode> {
        match secret.expose().try_into() {
            Ok(seed) => Ok(Self::from_seed(seed)),
            Err(_) => Self::from_written(secret.expose_exact()?).ok_or(ErrorCode::INTERNAL),
        }
    }

    /// RFC 8032 5.1.5.
    pub(super) fn from_seed(seed: &[u8; SEED_SIZE]) -> Self {
        let mut hash: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(seed).into());
        let mut expanded =
            Self { scalar: Scalar::ZERO, prefix: [0; 32], public: CompressedEdwardsY([0; 32]) };
        let (low, high) = hash.split_at_mut(32);
        expanded.prefix.copy_from_slice(high);
        high.copy_from_slice(low);
        if let Some(low) = hash.first_chunk() {
            let clamped = Zeroizing::new(clamp_integer(*low));
            expanded.scalar = Scalar::from_bytes_mod_order(*clamped);
        }
        expanded.public = EdwardsPoint::mul_base(&expanded.scalar).compress();
        expanded
    }

    fn from_written(written: &[u8; SIZE]) -> Option<Self> {
        let (scalar, rest) = written.split_first_chunk()?;
        let (prefix, public) = rest.split_first_chunk()?;
        // It is below the order, as `write` wrote it; asking would be a branch on it.
        let scalar = Scalar::from_bytes_mod_order(*scalar);
        Some(Self { scalar, prefix: *prefix, public: CompressedEdwardsY(public.try_into().ok()?) })
    }

    /// Writes what [`Expanded::read`] reads.
    pub(super) fn write(&self, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        let parts = [self.scalar.as_bytes(), &self.prefix, self.public.as_bytes()];
        for (out, part) in out.resize(SIZE)?.chunks_mut(32).zip(parts) {
            out.copy_from_slice(part);
        }
        Ok(())
    }

    /// The public key.
    pub(super) const fn public(&self) -> &[u8; 32] {
        self.public.as_bytes()
    }

    /// RFC 8032 5.1.6.
    pub(super) fn sign(&self, variant: Variant, message: &[u8]) -> [u8; SIGNATURE_SIZE] {
        let prehash;
        let (domain, message): (&[u8], &[u8]) = match variant {
            Variant::Pure => (&[], message),
            Variant::Prehash => {
                prehash = Sha512::digest(message);
                (DOM2, &prehash)
            }
        };
        let hash = |parts: [&[u8]; 2]| {
            let hash = Sha512::new_with_prefix(domain);
            let hash = parts.into_iter().fold(hash, Digest::chain_update);
            Scalar::from_hash(hash.chain_update(message))
        };
        let mut r = hash([&self.prefix, &[]]);
        let commitment = EdwardsPoint::mul_base(&r).compress();
        let challenge = hash([commitment.as_bytes(), self.public.as_bytes()]);
        #[allow(clippy::arithmetic_side_effects)] // modulo the order
        let s = challenge * self.scalar + r;
        r.zeroize();
        let mut signature = [0; SIGNATURE_SIZE];
        for (out, part) in signature.chunks_mut(32).zip([commitment.as_bytes(), s.as_bytes()]) {
            out.copy_from_slice(part);
        }
        signature
    }
}
