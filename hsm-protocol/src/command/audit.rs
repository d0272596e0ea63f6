//! The device's audit chain.

use serde::{Deserialize, Serialize};

pub use crate::audit::SignedCheckpoint;

use crate::audit::{Head, LogPosition};
use crate::bytes::Bytes;
use crate::id::{DeviceId, HostId};
use crate::identity::Signature;

/// Asks for the head of the chain, signed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AuditHead {
    /// Chosen by the host, signed along: shows that the answer is fresh.
    pub nonce: [u8; 16],
}

/// The head of the chain, signed with the device's identity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// The device.
    pub device: DeviceId,
    /// This boot.
    pub epoch: u64,
    /// Entries so far.
    pub entries: u64,
    /// The chain's head after them.
    pub head: Head,
    /// ECDSA P-256 over [`crate::audit::signed_head_message`].
    pub signature: Signature,
}

/// Asks for entries the host has missed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AuditEntries {
    /// The first index wanted, in this boot's chain.
    pub from: u64,
}

/// Entries in order, as many as fit an answer; fewer than asked means: ask on from the next.
///
/// The device keeps only its latest entries: `first` may be later than asked, and what lies
/// between is lost to this host.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AuditPage<'o> {
    /// This boot.
    pub epoch: u64,
    /// Index of the first entry returned.
    pub first: u64,
    /// Head before the first entry returned.
    pub before: Head,
    /// Canonical entries, [`crate::audit::Entry::SIZE`] bytes each.
    #[serde(borrow)]
    pub entries: Bytes<'o>,
}

/// Asks the device to vouch for the host's log: to make, keep and sign the next checkpoint.
///
/// Its number and signature are durable before the answer leaves. If the answer is lost,
/// [`LastCheckpoint`] gives it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MakeCheckpoint {
    /// The end of the log that is vouched for.
    pub log: LogPosition,
    /// Whether the host stops after this one.
    pub closing: bool,
}

/// Asks for the last checkpoint that the device made for a host, in this boot or an earlier one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LastCheckpoint {
    /// The host; `None`: the one that asks.
    pub host: Option<HostId>,
}

/// The answer to [`LastCheckpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastMade {
    /// The checkpoint, signed again; `None` if the device has made none for this host.
    pub last: Option<SignedCheckpoint>,
}
