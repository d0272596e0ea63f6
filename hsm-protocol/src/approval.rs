//! How a provisioner of one domain approves another one for the exchange of multi-Region keys.
//!
//! An approval is a MAC under the static ECDH secret (SP 800-56A 6.3.2, C(0e, 2s)) of the
//! provisioner's host key and the domain's replication key, so only a provisioner or the domain
//! itself can make it, and any device of the domain can check it. Nothing is stored: it holds as
//! long as the provisioner is enrolled and the domain keys are the same.

use p256::SecretKey;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::command::replica::DomainKeyInfo;
use crate::error::ErrorCode;
use crate::identity::PublicKey;
use crate::static_secret::derive;

/// Label of the derivation (SP 800-108).
const LABEL: &[u8] = b"KMS-APPROVAL-v1";

/// One domain's consent to exchange multi-Region keys with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The domain key of the approving domain.
    pub domain_key: u32,
    /// The approved domain and its replication key.
    pub peer: DomainKeyInfo,
    /// The provisioner's host key.
    pub provisioner: PublicKey,
    /// HMAC-SHA-256.
    pub tag: [u8; 32],
}

impl Approval {
    /// Approves `peer` for the domain `own`, in the name of a provisioner of `own`.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if the replication key of `own` is no point.
    pub fn make(
        provisioner: &SecretKey,
        own: &DomainKeyInfo,
        peer: &DomainKeyInfo,
    ) -> Result<Self, ErrorCode> {
        let tag = tag(provisioner, &own.public, own, peer)?;
        let provisioner = PublicKey::from_point(&provisioner.public_key());
        Ok(Self { domain_key: own.domain_key, peer: *peer, provisioner, tag })
    }

    /// Checks the approval with the private replication key of `own`. Whether the provisioner is
    /// one is left to the caller.
    ///
    /// # Errors
    /// [`ErrorCode::PEER_DENIED`].
    pub fn check(&self, replication: &SecretKey, own: &DomainKeyInfo) -> Result<(), ErrorCode> {
        let expected = tag(replication, &self.provisioner, own, &self.peer);
        let expected = expected.map_err(|_| ErrorCode::PEER_DENIED)?;
        match bool::from(expected.ct_eq(&self.tag)) && self.domain_key == own.domain_key {
            true => Ok(()),
            false => Err(ErrorCode::PEER_DENIED),
        }
    }
}

/// ```text
/// HMAC-SHA-256(HMAC-SHA-256(0^64, Z), 00000001 | label | 00
///   | own domain [16] | own domain key u32 LE
///   | peer domain [16] | peer domain key u32 LE | peer replication key [33] | 00000100)
/// ```
fn tag(
    own_half: &SecretKey,
    other_half: &PublicKey,
    own: &DomainKeyInfo,
    peer: &DomainKeyInfo,
) -> Result<[u8; 32], ErrorCode> {
    let context: [&[u8]; 5] = [
        own.domain.as_bytes(),
        &own.domain_key.to_le_bytes(),
        peer.domain.as_bytes(),
        &peer.domain_key.to_le_bytes(),
        &peer.public.to_bytes(),
    ];
    derive(own_half, other_half, LABEL, &context).map(|tag| *tag)
}
