//! The firmware signers whose keys are built into a second stage, and the verification of their
//! signatures.

use subtle::ConstantTimeEq;

use crate::manifest::{Manifest, Signature};
use crate::reason::Reason;

/// Most keys of a signer set.
pub const MAX_SIGNERS: usize = 8;

/// The P-256 public key of a firmware signer: the coordinates of the point, big-endian (SEC 1,
/// 2.3.3). It is kept uncompressed, so that no square root is taken at boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignerKey {
    /// The x-coordinate.
    pub x: [u8; 32],
    /// The y-coordinate.
    pub y: [u8; 32],
}

/// Verifies ECDSA signatures over P-256 (FIPS 186-5, 6.4.2). Boards may bring their own for speed.
pub trait Verify {
    /// Whether the signature over the SHA-256 value `digest` is by the holder of `key`. It is false
    /// for a key that is not a point on the curve, and for r or s outside of 1 to n − 1.
    fn verify(&self, key: &SignerKey, digest: &[u8; 32], signature: &Signature) -> bool;
}

/// [`Verify`] in portable Rust.
#[cfg(feature = "p256")]
#[derive(Clone, Copy, Debug, Default)]
pub struct P256;

#[cfg(feature = "p256")]
impl Verify for P256 {
    fn verify(&self, key: &SignerKey, digest: &[u8; 32], signature: &Signature) -> bool {
        use p256::ecdsa::signature::hazmat::PrehashVerifier;
        use p256::ecdsa::{self, VerifyingKey};

        let mut point = [4; 65];
        let mut at = crate::bytes::Writer(point.get_mut(1..).unwrap_or_default());
        at.put(&key.x);
        at.put(&key.y);
        let Ok(key) = VerifyingKey::from_sec1_bytes(&point) else { return false };
        ecdsa::Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
    }
}

/// The keys of n firmware signers, of whom m have to sign an image.
#[derive(Clone, Copy, Debug)]
pub struct SignerSet<'k> {
    keys: &'k [SignerKey],
    threshold: usize,
}

impl<'k> SignerSet<'k> {
    /// Returns the set, or `None` unless 1 ≤ m ≤ n ≤ [`MAX_SIGNERS`] and no key is there twice.
    #[must_use]
    pub fn new(keys: &'k [SignerKey], threshold: u8) -> Option<Self> {
        let threshold = usize::from(threshold);
        let distinct =
            keys.iter().enumerate().all(|(n, key)| !keys.iter().take(n).any(|k| k == key));
        let sized = keys.len() <= MAX_SIGNERS && (1..=keys.len()).contains(&threshold);
        (sized && distinct).then_some(Self { keys, threshold })
    }

    /// Checks that enough distinct signers have signed the manifest.
    ///
    /// Every signature has to be valid and by a known signer, also those beyond the threshold: a
    /// manifest with others was not written for this set, and that should show before it is
    /// accepted anywhere. Several signatures by one signer count once.
    ///
    /// # Errors
    /// [`Reason::UnknownSigner`], [`Reason::Signature`] or [`Reason::TooFewSigners`].
    pub fn check(&self, manifest: &Manifest<'_>, verifier: &impl Verify) -> Result<(), Reason> {
        let digest = manifest.body.digest();
        let mut signed = [false; MAX_SIGNERS];
        for (index, signature) in manifest.signatures() {
            let index = usize::from(index);
            let (Some(key), Some(signed)) = (self.keys.get(index), signed.get_mut(index)) else {
                return Err(Reason::UnknownSigner);
            };
            if !verifier.verify(key, &digest, signature) {
                return Err(Reason::Signature);
            }
            *signed = true;
        }
        if signed.iter().filter(|signed| **signed).count() < self.threshold {
            return Err(Reason::TooFewSigners);
        }
        Ok(())
    }
}

/// Whether two digests are equal, in time that does not depend on them.
pub(crate) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.as_slice().ct_eq(b.as_slice()).into()
}
