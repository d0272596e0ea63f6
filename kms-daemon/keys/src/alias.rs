//! Aliases: names that point to keys.

use serde::{Deserialize, Serialize};

use kms_base::clock::Timestamp;
use kms_base::identifier::KeyId;

/// Most aliases of one key.
pub const MAX_PER_KEY: usize = 50;

/// What the store keeps under an alias name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasRecord {
    /// The key the alias points to, in the same account and Region.
    pub target: KeyId,
    /// When the alias was created.
    pub created: Timestamp,
    /// When it was last pointed to a key.
    pub updated: Timestamp,
}
