//! The device's audit chain: entry layout and hash rule.
//!
//! Every audited command adds one entry, whether it succeeded or not:
//!
//! ```text
//! head[0]   = SHA-256("strongroom-audit-genesis-v1" || device id || epoch)
//! head[n+1] = SHA-256("strongroom-audit-v2" || head[n] || entry[n])
//! ```
//!
//! Earlier firmware had entries without [`Details`], and the label of version 1.
//!
//! The epoch counts boots, so each boot has a chain of its own. A host that keeps entries and
//! heads can show them to a third party, who recomputes the chain with this module and checks
//! the signed head with the device's identity key.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bytes::{concat, take};
use crate::error::ErrorCode;
use crate::id::{AuditTag, DeviceId, HostId, MaterialId};
use crate::opcode::Opcode;
use crate::reset::{ResetReason, ResetReport};

mod checkpoint;

pub use checkpoint::{Checkpoint, CheckpointBytes, LogPosition, Maker, SignedCheckpoint};

/// The canonical form of an [`Entry`].
pub type EntryBytes = heapless::Vec<u8, { Entry::SIZE }>;

/// SHA-256 over what a host asked for, without the caller's own data: see [`request_digest`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestDigest(pub [u8; 32]);

impl core::fmt::Debug for RequestDigest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        crate::hex::write(&self.0, f)
    }
}

/// The digest of a request: SHA-256 over `"strongroom-request-v1"`, the command's number (little-endian)
/// and its encoded body without the last `hidden` bytes ([`Command::hidden`](crate::Command::hidden)).
///
/// Plaintexts and messages are left out, because whoever reads the log could find a short one by trying;
/// key token, algorithm and context stay.
#[must_use]
pub fn request_digest(opcode: Opcode, body: &[u8], hidden: usize) -> RequestDigest {
    let told = body.get(..body.len().saturating_sub(hidden)).unwrap_or_default();
    let hash = Sha256::new()
        .chain_update(b"strongroom-request-v1")
        .chain_update(opcode.0.to_le_bytes())
        .chain_update(told);
    RequestDigest(hash.finalize().into())
}

/// What a host says with each audited command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Note {
    /// Goes into the entry.
    pub tag: AuditTag,
    /// The host's time, in milliseconds since 1970-01-01 UTC: goes into the entry. Devices have no clock.
    pub time_ms: u64,
    /// Entries of this boot's chain that the host has: all before this index. More than there are counts
    /// for nothing: they are another boot's.
    pub taken: u64,
}

impl Note {
    /// Length in bytes.
    pub const SIZE: usize = AuditTag::SIZE + 8 + 8;

    /// The wire form: the fields in order, numbers little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let (time, taken) = (self.time_ms.to_le_bytes(), self.taken.to_le_bytes());
        concat(&mut out, &[self.tag.as_bytes(), &time, &taken]);
        out
    }

    /// Reads the wire form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut rest: &[u8] = bytes;
        Some(Self {
            tag: AuditTag(*take(&mut rest)?),
            time_ms: u64::from_le_bytes(*take(&mut rest)?),
            taken: u64::from_le_bytes(*take(&mut rest)?),
        })
    }
}

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
    /// What entries of earlier firmware do not have.
    pub details: Option<Details>,
}

/// What else an entry records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Details {
    /// The host's time, in milliseconds since 1970-01-01 UTC, as the host said it.
    pub time_ms: u64,
    /// What was asked for.
    pub request: RequestDigest,
}

impl Entry {
    /// Length of the canonical form in bytes, without [`Details`].
    pub const SIZE_V1: usize = 8 + 2 + 2 + HostId::SIZE + MaterialId::SIZE + AuditTag::SIZE;
    /// Length of the canonical form in bytes.
    pub const SIZE: usize = Self::SIZE_V1 + 8 + 32;

    /// The canonical form: the fields in order, numbers little-endian, result 0 for success.
    #[must_use]
    pub fn to_bytes(&self) -> EntryBytes {
        let mut out = [0; Self::SIZE];
        let Details { time_ms, request } =
            self.details.unwrap_or(Details { time_ms: 0, request: RequestDigest::default() });
        let result = self.result.map_or(0, ErrorCode::to_u16);
        let parts: [&[u8]; 8] = [
            &self.index.to_le_bytes(),
            &self.opcode.0.to_le_bytes(),
            &result.to_le_bytes(),
            self.host.as_bytes(),
            self.subject.as_bytes(),
            self.tag.as_bytes(),
            &time_ms.to_le_bytes(),
            &request.0,
        ];
        concat(&mut out, &parts);
        let size = if self.details.is_some() { Self::SIZE } else { Self::SIZE_V1 };
        EntryBytes::from_slice(out.get(..size).unwrap_or_default()).unwrap_or_default()
    }

    /// Reads the canonical form, with or without [`Details`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if ![Self::SIZE, Self::SIZE_V1].contains(&bytes.len()) {
            return None;
        }
        let mut rest = bytes;
        Some(Self {
            index: u64::from_le_bytes(*take(&mut rest)?),
            opcode: Opcode(u16::from_le_bytes(*take(&mut rest)?)),
            result: ErrorCode::from_u16(u16::from_le_bytes(*take(&mut rest)?)),
            host: HostId(*take(&mut rest)?),
            subject: MaterialId(*take(&mut rest)?),
            tag: AuditTag(*take(&mut rest)?),
            details: match rest {
                [] => None,
                _ => Some(Details {
                    time_ms: u64::from_le_bytes(*take(&mut rest)?),
                    request: RequestDigest(*take(&mut rest)?),
                }),
            },
        })
    }

    /// The tag of the entry with which a device itself begins the chain of a boot that follows a failure:
    ///
    /// ```text
    /// reason u8 | failures in a row u32 | zeros 11
    /// ```
    ///
    /// Its opcode is that of [`LastReset`](crate::command::system::LastReset), which is never audited as a
    /// command; host, subject and time are zeros.
    #[must_use]
    pub fn tag_of_reset(report: ResetReport) -> AuditTag {
        let mut tag = [0; AuditTag::SIZE];
        concat(&mut tag, &[&[report.reason.0], &report.failures.to_le_bytes()]);
        AuditTag(tag)
    }

    /// Why the device was reset before this boot, if the entry says that.
    #[must_use]
    pub fn last_reset(&self) -> Option<ResetReport> {
        if self.opcode != Opcode::LastReset {
            return None;
        }
        let mut rest: &[u8] = self.tag.as_bytes();
        let [reason] = *take(&mut rest)?;
        let failures = u32::from_le_bytes(*take(&mut rest)?);
        Some(ResetReport { reason: ResetReason(reason), failures })
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
        hash.update(match entry.details {
            Some(_) => b"strongroom-audit-v2",
            None => b"strongroom-audit-v1",
        });
        hash.update(self.0);
        hash.update(entry.to_bytes());
        Self(hash.finalize().into())
    }
}

/// The chain's position after a command, sent with its response.
///
/// With what the host has said itself, and the result, it gives the whole [`Entry`].
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
