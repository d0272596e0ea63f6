//! Public keys, signatures, and the identity document of a device.
//!
//! A device has three P-256 keys, one for each purpose (SP 800-57 part 1, 5.2): it signs with
//! the first, is the channel's responder with the second, and receives domain tokens with the
//! third. The document binds them together under the first; its fingerprint is the device id.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::curve::{Curve, Portable};
use crate::error::ErrorCode;
use crate::id::{DeviceId, HostId, OperatorId};

/// A P-256 public key in compressed SEC 1 form, 33 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PublicKey {
    /// 2 or 3: the parity of y.
    pub tag: u8,
    /// The x-coordinate, big-endian.
    pub x: [u8; 32],
}

impl PublicKey {
    /// Length of the compressed form in bytes.
    pub const SIZE: usize = 33;

    /// The compressed SEC 1 form.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        if let Some((tag, x)) = out.split_first_mut() {
            *tag = self.tag;
            x.copy_from_slice(&self.x);
        }
        out
    }

    /// The compressed form of a point on the curve.
    #[must_use]
    pub fn from_point(key: &p256::PublicKey) -> Self {
        use p256::elliptic_curve::sec1::ToSec1Point;

        let point = key.to_sec1_point(true);
        let mut out = Self { tag: 0, x: [0; 32] };
        if let Some((tag, x)) = point.as_bytes().split_first() {
            out.tag = *tag;
            if let Ok(x) = x.try_into() {
                out.x = x;
            }
        }
        out
    }

    /// Decompresses and validates the point (SP 800-56A 5.6.2.3).
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if it is not a point on the curve, or the identity.
    pub fn to_point(&self) -> Result<p256::PublicKey, ErrorCode> {
        p256::PublicKey::from_sec1_bytes(&self.to_bytes()).map_err(|_| ErrorCode::IDENTITY_INVALID)
    }

    /// The uncompressed SEC 1 form, which other tools ask for.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if it is not a point on the curve.
    pub fn to_uncompressed(&self) -> Result<[u8; 65], ErrorCode> {
        use p256::elliptic_curve::sec1::ToSec1Point;

        let point = self.to_point()?.to_sec1_point(false);
        point.as_bytes().try_into().map_err(|_| ErrorCode::IDENTITY_INVALID)
    }

    fn fingerprint(&self) -> [u8; 16] {
        let mut out = [0; 16];
        let hash = Sha256::digest(self.to_bytes());
        if let Some(head) = hash.first_chunk() {
            out = *head;
        }
        out
    }

    /// The host id of a host's static channel key.
    #[must_use]
    pub fn host_id(&self) -> HostId {
        HostId(self.fingerprint())
    }

    /// The operator id of an operator's signing key.
    #[must_use]
    pub fn operator_id(&self) -> OperatorId {
        OperatorId(self.fingerprint())
    }

    /// The device id of a device's identity signing key.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        DeviceId(self.fingerprint())
    }
}

/// An ECDSA P-256 signature: r and s, big-endian (FIPS 186-5 6.4), 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signature {
    /// r.
    pub r: [u8; 32],
    /// s.
    pub s: [u8; 32],
}

impl Signature {
    /// Length in bytes.
    pub const SIZE: usize = 64;

    /// r followed by s.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let (r, s) = out.split_at_mut(32);
        r.copy_from_slice(&self.r);
        s.copy_from_slice(&self.s);
        out
    }

    /// Reads r and s.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut out = Self { r: [0; 32], s: [0; 32] };
        let (r, s) = bytes.split_at(32);
        out.r.copy_from_slice(r);
        out.s.copy_from_slice(s);
        out
    }

    /// Verifies the signature over SHA-256 of `message`, as hosts do.
    ///
    /// # Errors
    /// [`ErrorCode::SIGNATURE_INVALID`], or [`ErrorCode::IDENTITY_INVALID`] for a bad key.
    pub fn verify(&self, key: &PublicKey, message: &[u8]) -> Result<(), ErrorCode> {
        Portable.verify(key, message, self)
    }

    /// Verifies the signature over a SHA-256 value, as hosts do.
    ///
    /// # Errors
    /// [`ErrorCode::SIGNATURE_INVALID`], or [`ErrorCode::IDENTITY_INVALID`] for a bad key.
    pub fn verify_digest(&self, key: &PublicKey, digest: &[u8; 32]) -> Result<(), ErrorCode> {
        Portable.verify_digest(key, digest, self)
    }
}

/// The public identity of a device: its keys, self-signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdentityDocument {
    /// Signs audit heads and domain tokens. Its fingerprint is the device id.
    pub signing: PublicKey,
    /// The static key of the channel's responder.
    pub link: PublicKey,
    /// Receives domain tokens (one-pass ECDH, SP 800-56A 6.2.2.2).
    pub join: PublicKey,
    /// By `signing` over [`IdentityDocument::message`].
    pub signature: Signature,
}

const IDENTITY_LABEL: &[u8; 16] = b"strongroom-id-v1";

impl IdentityDocument {
    /// Length of the signed message in bytes.
    pub const MESSAGE_SIZE: usize = 16 + 3 * PublicKey::SIZE;

    /// The message that the identity key signs: a label and the three keys.
    #[must_use]
    pub fn message(
        signing: &PublicKey,
        link: &PublicKey,
        join: &PublicKey,
    ) -> [u8; Self::MESSAGE_SIZE] {
        let mut out = [0; Self::MESSAGE_SIZE];
        let parts: [&[u8]; 4] =
            [IDENTITY_LABEL, &signing.to_bytes(), &link.to_bytes(), &join.to_bytes()];
        crate::bytes::concat(&mut out, &parts);
        out
    }

    /// The device.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.signing.device_id()
    }

    /// Checks that the keys are points on the curve and that the identity key signed them, as hosts do.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`].
    pub fn verify(&self) -> Result<(), ErrorCode> {
        self.verify_with(&Portable)
    }

    /// The same, computed by `curve`.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`].
    pub fn verify_with(&self, curve: &impl Curve) -> Result<(), ErrorCode> {
        self.link.to_point()?;
        self.join.to_point()?;
        let message = Self::message(&self.signing, &self.link, &self.join);
        curve
            .verify(&self.signing, &message, &self.signature)
            .map_err(|_| ErrorCode::IDENTITY_INVALID)
    }
}
