//! Backups that a number of operators restore together ([`crate::token::recovery`]).

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::key::KeyRef;
use crate::domain::StateHash;
use crate::id::{DomainId, MaterialId};

/// Makes a backup of state and domain keys, and shares of its key for the holders that the operators have
/// named in the state. Whoever asks reads neither. Each backup has shares of its own.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MakeRecovery;

/// A backup and its shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverySet<'o> {
    /// The backup ([`crate::token::recovery::Backup`]).
    #[serde(borrow)]
    pub backup: Bytes<'o>,
    /// A share for each holder, in the order of the state, [`crate::token::recovery::Share::SIZE`]
    /// bytes each.
    #[serde(borrow)]
    pub shares: Bytes<'o>,
}

/// Brings a domain back in a fresh device: by as many holders' shares as the backup takes, which they
/// have wrapped to this device, and by a change of the state in the backup that makes this device a
/// member, signed by the quorum.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RestoreDomain<'a> {
    /// The backup.
    #[serde(borrow)]
    pub backup: Bytes<'a>,
    /// [`crate::token::recovery::Handover`]s, one after another.
    #[serde(borrow)]
    pub shares: Bytes<'a>,
    /// A postcard [`crate::domain::Ballot`].
    #[serde(borrow)]
    pub ballot: Bytes<'a>,
}

/// Opens a backup and one key token in a fresh device, which stays fresh: shows that the backup and the
/// shares are good for something.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DrillRecovery<'a> {
    /// The backup.
    #[serde(borrow)]
    pub backup: Bytes<'a>,
    /// [`crate::token::recovery::Handover`]s, one after another.
    #[serde(borrow)]
    pub shares: Bytes<'a>,
    /// A key of the domain.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
}

/// What was found in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    /// The domain.
    pub domain: DomainId,
    /// Version of its state.
    pub version: u32,
    /// Hash of its state.
    pub state: StateHash,
    /// The material of the key, which was opened.
    pub material: MaterialId,
}
