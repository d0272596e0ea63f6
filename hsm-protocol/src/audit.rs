//! The device's audit chain: entry layout and hash rule.
//!
//! Every audited command adds one entry, whether it succeeded or not:
//!
//! ```text
//! head[0]   = SHA-256("strongroom-audit-genesis-v1" || device id || epoch)
//! head[n+1] = SHA-256("strongroom-audit-v1" || head[n] || entry[n])
//! ```
//!
//! The epoch counts boots, so each boot has a chain of its own. A host that keeps entries and
//! heads can show them to a third party, who recomputes the chain with this module and checks
//! the signed head with the device's identity key.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bytes::{concat, take};
use crate::error::ErrorCode;
use crate::id::{AuditTag, DeviceId, HostId, MaterialId};
use crate::identity::{PublicKey, Signature};
use crate::opcode::Opcode;

/// A head of the chain: a SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Head(pub [u8; 32]);

/// What the device records of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Position in this boot's chain, from 0.
    pub index: u64,
    /// The command.
    pub opcode: Opcode,
    /// Its result; `None` for success.
    pub result: Option<ErrorCode>,
    /// The host key of the session.
    pub host: HostId,
    /// The key material used, see [`Entry::subject_of_two`]; zeros if none was reached.
    pub subject: MaterialId,
    /// The tag that the host sent with the command.
    pub tag: AuditTag,
}

impl Entry {
    /// Length of the canonical form in bytes.
    pub const SIZE: usize = 8 + 2 + 2 + HostId::SIZE + MaterialId::SIZE + AuditTag::SIZE;

    /// The canonical form: the fields in order, numbers little-endian, result 0 for success.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let result = self.result.map_or(0, ErrorCode::to_u16);
        let parts: [&[u8]; 6] = [
            &self.index.to_le_bytes(),
            &self.opcode.0.to_le_bytes(),
            &result.to_le_bytes(),
            self.host.as_bytes(),
            self.subject.as_bytes(),
            self.tag.as_bytes(),
        ];
        concat(&mut out, &parts);
        out
    }

    /// Reads the canonical form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut rest: &[u8] = bytes;
        Some(Self {
            index: u64::from_le_bytes(*take(&mut rest)?),
            opcode: Opcode(u16::from_le_bytes(*take(&mut rest)?)),
            result: ErrorCode::from_u16(u16::from_le_bytes(*take(&mut rest)?)),
            host: HostId(*take(&mut rest)?),
            subject: MaterialId(*take(&mut rest)?),
            tag: AuditTag(*take(&mut rest)?),
        })
    }

    /// The subject of a command that uses two keys: SHA-256 over both material ids, in the
    /// order source, destination.
    #[must_use]
    pub fn subject_of_two(source: &MaterialId, destination: &MaterialId) -> MaterialId {
        let mut hash = Sha256::new();
        hash.update(source.as_bytes());
        hash.update(destination.as_bytes());
        MaterialId(hash.finalize().into())
    }
}

impl Head {
    /// The head of an empty chain.
    #[must_use]
    pub fn genesis(device: &DeviceId, epoch: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"strongroom-audit-genesis-v1");
        hash.update(device.as_bytes());
        hash.update(epoch.to_le_bytes());
        Self(hash.finalize().into())
    }

    /// The head after one more entry.
    #[must_use]
    pub fn extend(&self, entry: &Entry) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"strongroom-audit-v1");
        hash.update(self.0);
        hash.update(entry.to_bytes());
        Self(hash.finalize().into())
    }
}

/// The chain's position after a command, sent with its response.
///
/// With the opcode, result, host and tag, which the host knows, it gives the whole [`Entry`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The boot.
    pub epoch: u64,
    /// The entry's index.
    pub index: u64,
    /// The entry's subject.
    pub subject: MaterialId,
    /// The head after the entry.
    pub head: Head,
}

/// Length of [`signed_head_message`] in bytes.
pub const SIGNED_HEAD_SIZE: usize = 18 + DeviceId::SIZE + 8 + 8 + 32 + 16;

/// The message that a device signs to vouch for its chain's head.
#[must_use]
pub fn signed_head_message(
    device: &DeviceId,
    epoch: u64,
    entries: u64,
    head: &Head,
    nonce: &[u8; 16],
) -> [u8; SIGNED_HEAD_SIZE] {
    let mut out = [0; SIGNED_HEAD_SIZE];
    let parts: [&[u8]; 6] = [
        b"strongroom-head-v1",
        device.as_bytes(),
        &epoch.to_le_bytes(),
        &entries.to_le_bytes(),
        &head.0,
        nonce,
    ];
    concat(&mut out, &parts);
    out
}

/// A place in the log that a host keeps of its requests, as the host names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogPosition {
    /// Number of a record, from 1; 0 for an empty log.
    pub sequence: u64,
    /// Hash of that record, which stands for all before it too.
    pub hash: [u8; 32],
}

/// What a device vouches for, and keeps through power loss: where the host's log was, and where its
/// own chain. Checkpoints are numbered and chained, so that one that was left out shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The device.
    pub device: DeviceId,
    /// The host that keeps the log. Each has checkpoints of its own.
    pub host: HostId,
    /// Number of the checkpoint, from 1 over all boots.
    pub number: u64,
    /// [`Checkpoint::hash`] of the host's one before; zeros for the first.
    pub previous: [u8; 32],
    /// Boot of the device.
    pub epoch: u64,
    /// Entries of this boot's chain so far.
    pub entries: u64,
    /// The chain's head after them.
    pub head: Head,
    /// Whether the host said that it stops after this one.
    pub closing: bool,
    /// The end of the host's log, as the host said.
    pub log: LogPosition,
}

impl Checkpoint {
    const LABEL: &[u8] = b"strongroom-checkpoint-v1";
    /// Length of [`Checkpoint::to_bytes`].
    pub const SIZE: usize =
        Self::LABEL.len() + DeviceId::SIZE + HostId::SIZE + 8 + 32 + 8 + 8 + 32 + 1 + 8 + 32;

    /// The message that the device signs: a label, then the fields in order, numbers little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let parts: [&[u8]; 11] = [
            Self::LABEL,
            self.device.as_bytes(),
            self.host.as_bytes(),
            &self.number.to_le_bytes(),
            &self.previous,
            &self.epoch.to_le_bytes(),
            &self.entries.to_le_bytes(),
            &self.head.0,
            &[u8::from(self.closing)],
            &self.log.sequence.to_le_bytes(),
            &self.log.hash,
        ];
        concat(&mut out, &parts);
        out
    }

    /// Reads [`Checkpoint::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(Self::LABEL)?;
        Some(Self {
            device: DeviceId(*take(&mut rest)?),
            host: HostId(*take(&mut rest)?),
            number: u64::from_le_bytes(*take(&mut rest)?),
            previous: *take(&mut rest)?,
            epoch: u64::from_le_bytes(*take(&mut rest)?),
            entries: u64::from_le_bytes(*take(&mut rest)?),
            head: Head(*take(&mut rest)?),
            closing: match *take(&mut rest)? {
                [0] => false,
                [1] => true,
                [_] => return None,
            },
            log: LogPosition {
                sequence: u64::from_le_bytes(*take(&mut rest)?),
                hash: *take(&mut rest)?,
            },
        })
    }

    /// SHA-256 of the message: what the next checkpoint carries as `previous`.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }
}

/// A checkpoint with the signature of the device that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedCheckpoint {
    /// What is vouched for.
    pub checkpoint: Checkpoint,
    /// ECDSA P-256 over [`Checkpoint::to_bytes`], by the device's identity key.
    pub signature: Signature,
}

impl SignedCheckpoint {
    /// Checks the signature, and that the checkpoint is of the device whose key this is.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if it is another device's; [`ErrorCode::SIGNATURE_INVALID`].
    pub fn verify(&self, signing: &PublicKey) -> Result<(), ErrorCode> {
        if self.checkpoint.device != signing.device_id() {
            return Err(ErrorCode::IDENTITY_INVALID);
        }
        self.signature.verify(signing, &self.checkpoint.to_bytes())
    }
}
