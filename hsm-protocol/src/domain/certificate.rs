//! The word of a device CA: what a device is, said by whom its owner trusts.
//!
//! ```text
//! signed message    "strongroom-device-cert-v1" | device identity [32] | kind u8
//! device identity   SHA-256 of the identity document's signed message
//! ```

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bytes::concat;
use crate::error::ErrorCode;
use crate::identity::{IdentityDocument, PublicKey, Signature};

const LABEL: &[u8; 25] = b"strongroom-device-cert-v1";

/// What keeps a device's secrets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum DeviceKind {
    /// A microcontroller of its own.
    Hardware = 1,
    /// An emulated machine: whoever owns its host can read its memory and its flash.
    Emulated = 2,
    /// A part of the daemon: whoever owns its host can read its memory and its flash.
    InProcess = 3,
}

/// A device CA's statement about a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// What the device is.
    pub kind: DeviceKind,
    /// By the device CA over [`Certificate::message`].
    pub signature: Signature,
}

impl Certificate {
    /// The message that a device CA signs.
    #[must_use]
    pub fn message(identity: &IdentityDocument, kind: DeviceKind) -> [u8; 58] {
        let IdentityDocument { signing, link, join, .. } = identity;
        let identity = Sha256::digest(IdentityDocument::message(signing, link, join));
        let mut out = [0; 58];
        concat(&mut out, &[LABEL, &identity, &[kind as u8]]);
        out
    }

    /// Checks the certificate of a device.
    ///
    /// # Errors
    /// [`ErrorCode::CERTIFICATE_INVALID`].
    pub fn verify(&self, ca: &PublicKey, identity: &IdentityDocument) -> Result<(), ErrorCode> {
        let message = Self::message(identity, self.kind);
        self.signature.verify(ca, &message).map_err(|_| ErrorCode::CERTIFICATE_INVALID)
    }
}
