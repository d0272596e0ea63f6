//! Keys of several Regions: their material moves from one domain to another, wrapped on the way.
//!
//! A domain has a replication key pair, which every device of it derives from the domain key. Operators
//! of a domain approve another one by that key ([`crate::domain::Change::AddPeer`]); any device of the
//! first exports multi-Region keys to the second then, and imports from it.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::key::KeyRef;
use crate::id::{DomainId, KeyId};
use crate::identity::PublicKey;

/// Asks for the domain's public replication key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReplicationKey;

/// What other domains know a domain by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainKeyInfo {
    /// The domain.
    pub domain: DomainId,
    /// The domain key that the pair is derived from.
    pub domain_key: u32,
    /// The public half.
    pub public: PublicKey,
}

/// Wraps a multi-Region key for an approved domain.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ExportReplica<'a> {
    /// The key. A key of one Region is refused.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The domain that is to have it.
    pub peer: DomainKeyInfo,
}

/// A key on its way to another domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedReplica<'o> {
    /// The replica token ([`crate::token::replica::ReplicaToken`]).
    #[serde(borrow)]
    pub token: Bytes<'o>,
}

/// Takes a key from an approved domain and wraps it under the own domain key. The answer is that
/// of [`super::key::GenerateKey`], with the material id that the key has in the other domain.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ImportReplica<'a> {
    /// The key; the token must be of the same.
    pub id: KeyId,
    /// The domain that it comes from.
    pub peer: DomainKeyInfo,
    /// What [`ExportReplica`] answered.
    #[serde(borrow)]
    pub token: Bytes<'a>,
}
