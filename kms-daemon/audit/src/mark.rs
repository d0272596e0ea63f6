//! What the audit log says of the store beside it.
//!
//! A line may carry the member `store`: before the line was written, the store of this id had this
//! revision, durably. So a store of the same id with a lower revision is an older copy, and lines that
//! follow tell of changes that it does not know (ADR 19). It is written when it has changed, and with
//! the first line of each file.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use kms_base::hex;

/// Names a store, for as long as its history is one: a store that was accepted although it does not fit
/// gets another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

/// A store at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreMark {
    /// The store.
    pub id: StoreId,
    /// A revision that it has, durably.
    pub revision: u64,
}

/// Says what the store has now, from any thread.
#[derive(Clone)]
pub struct StoreNow(pub Arc<dyn Fn() -> StoreMark + Send + Sync>);

impl fmt::Debug for StoreNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0())
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for StoreId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoreId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = hex::decode(&String::deserialize(deserializer)?).map(Self);
        id.ok_or_else(|| serde::de::Error::custom("not 32 hexadecimal digits"))
    }
}
