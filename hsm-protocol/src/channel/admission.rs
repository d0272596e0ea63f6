//! Proof that a first handshake message comes from an enrolled host, before it costs anything.
//!
//! Answering a handshake takes a device three scalar multiplications, and refusing one takes two.
//! So that strangers cannot keep a device busy with messages that cost them nothing, a host first
//! proves with a MAC that it has an enrolled key:
//!
//! ```text
//! K   = derived from the static ECDH secret of host key and link key (label KMS-ADMISSION-v1)
//! tag = HMAC-SHA-256(K, challenge [16] || SHA-256(message 1)), first 16 bytes
//! ```
//! The challenge comes from the device, in the clear, and holds for seconds; within them the device
//! takes a tag once. The device keeps K, so that checking a tag takes a handful of hashes.

use core::fmt;

use hmac::Mac;
use p256::SecretKey;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

use super::MESSAGE_1_SIZE;
use crate::curve::{Curve, KeyPair, Portable};
use crate::error::ErrorCode;
use crate::identity::PublicKey;
use crate::static_secret::{derive, mac};

const LABEL: &[u8] = b"KMS-ADMISSION-v1";

/// Length of a challenge in bytes.
pub const CHALLENGE_SIZE: usize = 16;
/// Length of an admission tag in bytes.
pub const ADMISSION_SIZE: usize = 16;
/// Length of the payload of a first handshake frame: message 1 and the tag.
pub const HANDSHAKE_1_SIZE: usize = MESSAGE_1_SIZE + ADMISSION_SIZE;

/// What a device has drawn for hosts to answer.
pub type Challenge = [u8; CHALLENGE_SIZE];
/// The answer for one first message.
pub type AdmissionTag = [u8; ADMISSION_SIZE];

/// The key that one host and one device share for this purpose. Zeroised on drop.
#[derive(ZeroizeOnDrop)]
pub struct AdmissionKey([u8; 32]);

/// A first message, hashed once however many keys are tried.
#[derive(Clone, Copy, Debug)]
pub struct MessageHash([u8; 32]);

impl MessageHash {
    /// The hash of message 1.
    #[must_use]
    pub fn of(message: &[u8; MESSAGE_1_SIZE]) -> Self {
        Self(Sha256::digest(message).into())
    }
}

impl AdmissionKey {
    /// The host's derivation.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if the link key is not a point.
    pub fn of_host(host: &SecretKey, device: &PublicKey) -> Result<Self, ErrorCode> {
        let own = PublicKey::from_point(&host.public_key());
        Self::new(&Portable, host, device, &own, device)
    }

    /// The device's derivation, from its link key.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if the host key is not a point.
    pub fn of_device(
        curve: &impl Curve,
        link: &KeyPair,
        host: &PublicKey,
    ) -> Result<Self, ErrorCode> {
        Self::new(curve, link.secret(), host, host, &link.public())
    }

    fn new(
        curve: &impl Curve,
        own: &SecretKey,
        other: &PublicKey,
        host: &PublicKey,
        device: &PublicKey,
    ) -> Result<Self, ErrorCode> {
        let context: [&[u8]; 2] = [&host.to_bytes(), &device.to_bytes()];
        derive(curve, own, other, LABEL, &context).map(|key| Self(*key))
    }

    /// The tag of a first message.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn tag(
        &self,
        challenge: &Challenge,
        message: &MessageHash,
    ) -> Result<AdmissionTag, ErrorCode> {
        let mut prf = mac(&self.0)?;
        prf.update(challenge);
        prf.update(&message.0);
        let full: [u8; 32] = prf.finalize().into_bytes().into();
        full.first_chunk().copied().ok_or(ErrorCode::INTERNAL)
    }

    /// Whether `tag` is that of the message; compared in constant time.
    #[must_use]
    pub fn admits(&self, challenge: &Challenge, message: &MessageHash, tag: &AdmissionTag) -> bool {
        self.tag(challenge, message).is_ok_and(|right| right.ct_eq(tag).into())
    }
}

impl fmt::Debug for AdmissionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdmissionKey([32 bytes])")
    }
}
