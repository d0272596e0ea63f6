//! The device's own keys: signing, link, and join (SP 800-57 part 1, 5.2: one key, one use), and the curve
//! that computes with them.

use core::fmt;

use hsm_protocol::curve::{Curve, KeyPair};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::{DeviceId, ErrorCode};
use p256::SecretKey;
use p256::elliptic_curve::Generate;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::record;
use crate::curve::BoardCurve;
use crate::platform::{Platform, RecordId};

/// Layout version of the stored record.
const VERSION: u8 = 1;
/// Bytes of the stored record: version, three private keys, the document's signature.
const STORED: usize = 1 + 3 * 32 + Signature::SIZE;

/// The device's identity. The private keys zeroise themselves on drop.
pub struct Identity {
    signing: SecretKey,
    link: KeyPair,
    join: SecretKey,
    document: IdentityDocument,
    curve: BoardCurve,
}

impl Identity {
    /// Loads the identity; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorCode::STORAGE_FAILED`] if it is damaged; storage errors.
    pub fn load<P: Platform>(platform: &mut P) -> Result<Option<Self>, ErrorCode> {
        let curve = BoardCurve::of(platform.algorithms())?;
        let mut buffer = record::buffer();
        match record::read(platform, RecordId::IDENTITY, &mut buffer)? {
            Some(stored) => Self::parse(curve, stored).map(Some).ok_or(ErrorCode::STORAGE_FAILED),
            None => Ok(None),
        }
    }

    /// Makes and stores the identity of a new device.
    ///
    /// # Errors
    /// Storage errors.
    pub fn create<P: Platform>(
        platform: &mut P,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, ErrorCode> {
        let curve = BoardCurve::of(platform.algorithms())?;
        let keys = [(); 3].map(|()| SecretKey::generate_from_rng(rng));
        let identity =
            Self::new(curve, keys, |signing, message| curve.sign(signing, message, rng))?;
        let stored = identity.stored();
        record::write(platform, rng, RecordId::IDENTITY, &*stored)?;
        Ok(identity)
    }

    /// `sign` gives the document's signature, by the signing key.
    fn new(
        curve: BoardCurve,
        [signing, link, join]: [SecretKey; 3],
        sign: impl FnOnce(&SecretKey, &[u8]) -> Result<Signature, ErrorCode>,
    ) -> Result<Self, ErrorCode> {
        let link = KeyPair::new(&curve, link)?;
        let public = |key| curve.public(key).map(|point| PublicKey::from_point(&point));
        let (signing_public, join_public) = (public(&signing)?, public(&join)?);
        let message = IdentityDocument::message(&signing_public, &link.public(), &join_public);
        let document = IdentityDocument {
            signing: signing_public,
            link: link.public(),
            join: join_public,
            signature: sign(&signing, &message)?,
        };
        // The pair-wise test of a new signing key, the integrity test of a stored one.
        document.verify_with(&curve)?;
        Ok(Self { signing, link, join, document, curve })
    }

    /// The public half, self-signed.
    #[must_use]
    pub const fn document(&self) -> &IdentityDocument {
        &self.document
    }

    /// The device's id.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.document.device_id()
    }

    /// Signs SHA-256 of a message with the identity key (FIPS 186-5 6.4.1).
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn sign(&self, message: &[u8], rng: &mut dyn CryptoRng) -> Result<Signature, ErrorCode> {
        self.curve.sign(&self.signing, message, rng)
    }

    /// Signs a SHA-256 value.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub(crate) fn sign_digest(
        &self,
        digest: &[u8; 32],
        rng: &mut dyn CryptoRng,
    ) -> Result<Signature, ErrorCode> {
        self.curve.sign_digest(&self.signing, digest, rng)
    }

    /// What computes with these keys, and with those of others.
    pub(crate) const fn curve(&self) -> &BoardCurve {
        &self.curve
    }

    /// The static key of the channel. Its secret half never leaves the device.
    pub(crate) const fn link(&self) -> &KeyPair {
        &self.link
    }

    /// The key that domain tokens are wrapped to. Never leaves the device.
    pub(crate) const fn join(&self) -> &SecretKey {
        &self.join
    }

    fn stored(&self) -> Zeroizing<[u8; STORED]> {
        let mut out = Zeroizing::new([0; STORED]);
        let keys = [&self.signing, self.link.secret(), &self.join]
            .map(|key| Zeroizing::new(key.to_bytes()));
        let [signing, link, join] = &keys;
        let parts: [&[u8]; 5] =
            [&[VERSION], signing, link, join, &self.document.signature.to_bytes()];
        hsm_protocol::bytes::concat(&mut *out, &parts);
        out
    }

    fn parse(curve: BoardCurve, stored: &[u8]) -> Option<Self> {
        let (version, rest) = stored.split_first()?;
        let (keys, signature) = rest.split_last_chunk::<{ Signature::SIZE }>()?;
        let ([VERSION], 96) = ([*version], keys.len()) else { return None };
        let mut keys = keys.chunks_exact(32).map(SecretKey::from_slice);
        let mut next = || keys.next()?.ok();
        let keys = [next()?, next()?, next()?];
        Self::new(curve, keys, |_, _| Ok(Signature::from_bytes(signature))).ok()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.device_id())
    }
}
