//! The device's own keys: signing, link, and join (SP 800-57 part 1, 5.2: one key, one use).

use core::fmt;

use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::{DeviceId, ErrorCode};
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::Generate;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::record;
use crate::platform::{Platform, RecordId};

/// Layout version of the stored record.
const VERSION: u8 = 1;
/// Bytes of the stored record: version, three private keys, the document's signature.
const STORED: usize = 1 + 3 * 32 + Signature::SIZE;

/// The device's identity. The private keys zeroise themselves on drop.
pub struct Identity {
    signing: SigningKey,
    link: SecretKey,
    join: SecretKey,
    document: IdentityDocument,
}

impl Identity {
    /// Loads the identity; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorCode::STORAGE_FAILED`] if it is damaged; storage errors.
    pub fn load<P: Platform>(platform: &mut P) -> Result<Option<Self>, ErrorCode> {
        let mut buffer = record::buffer();
        match record::read(platform, RecordId::IDENTITY, &mut buffer)? {
            Some(stored) => Self::parse(stored).map(Some).ok_or(ErrorCode::STORAGE_FAILED),
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
        let mut rng = rng;
        let identity = Self::new(
            SecretKey::generate_from_rng(&mut rng),
            SecretKey::generate_from_rng(&mut rng),
            SecretKey::generate_from_rng(&mut rng),
            None,
        )?;
        let stored = identity.stored();
        record::write(platform, rng, RecordId::IDENTITY, &*stored)?;
        Ok(identity)
    }

    fn new(
        signing: SecretKey,
        link: SecretKey,
        join: SecretKey,
        signature: Option<Signature>,
    ) -> Result<Self, ErrorCode> {
        let public = [&signing, &link, &join].map(|key| PublicKey::from_point(&key.public_key()));
        let [signing_public, link_public, join_public] = public;
        let signing = SigningKey::from(&signing);
        let signature = match signature {
            Some(signature) => signature,
            None => {
                let message =
                    IdentityDocument::message(&signing_public, &link_public, &join_public);
                sign(&signing, &message)?
            }
        };
        let document = IdentityDocument {
            signing: signing_public,
            link: link_public,
            join: join_public,
            signature,
        };
        // The pair-wise test of a new signing key, the integrity test of a stored one.
        document.verify()?;
        Ok(Self { signing, link, join, document })
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

    /// Signs SHA-256 of a message with the identity key (FIPS 186-5, RFC 6979).
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, ErrorCode> {
        sign(&self.signing, message)
    }

    /// Signs a SHA-256 value.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub(crate) fn sign_digest(&self, digest: &[u8; 32]) -> Result<Signature, ErrorCode> {
        sign_digest(&self.signing, digest)
    }

    /// The static key of the channel. Never leaves the device.
    pub(crate) const fn link(&self) -> &SecretKey {
        &self.link
    }

    /// The key that domain tokens are wrapped to. Never leaves the device.
    pub(crate) const fn join(&self) -> &SecretKey {
        &self.join
    }

    fn stored(&self) -> Zeroizing<[u8; STORED]> {
        let mut out = Zeroizing::new([0; STORED]);
        let keys = [self.signing.to_bytes(), self.link.to_bytes(), self.join.to_bytes()]
            .map(Zeroizing::new);
        let [signing, link, join] = &keys;
        let parts: [&[u8]; 5] =
            [&[VERSION], signing, link, join, &self.document.signature.to_bytes()];
        hsm_protocol::bytes::concat(&mut *out, &parts);
        out
    }

    fn parse(stored: &[u8]) -> Option<Self> {
        let (version, rest) = stored.split_first()?;
        let (keys, signature) = rest.split_last_chunk::<{ Signature::SIZE }>()?;
        let ([VERSION], 96) = ([*version], keys.len()) else { return None };
        let mut keys = keys.chunks_exact(32).map(SecretKey::from_slice);
        let mut next = || keys.next()?.ok();
        let signature = Signature::from_bytes(signature);
        Self::new(next()?, next()?, next()?, Some(signature)).ok()
    }
}

fn sign(key: &SigningKey, message: &[u8]) -> Result<Signature, ErrorCode> {
    sign_digest(key, &Sha256::digest(message).into())
}

fn sign_digest(key: &SigningKey, digest: &[u8; 32]) -> Result<Signature, ErrorCode> {
    let signature: p256::ecdsa::Signature =
        key.sign_prehash(digest).map_err(|_| ErrorCode::INTERNAL)?;
    Ok(Signature::from_bytes(&signature.to_bytes().into()))
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.device_id())
    }
}
