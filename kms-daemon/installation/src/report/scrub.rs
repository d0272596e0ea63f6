//! How far a check of all records of the store is, and what it has found: a record of the store, which `kmsctl store
//! scrub` shows.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use kms_audit::event_time;
use kms_base::record::{Record, Version, from_base64, to_base64};
use kms_store::{Commit, Store, StoreError, Transaction};

/// The key of the record.
pub const KEY: &[u8] = b"service/scrub";
/// Faults that are named; the others are counted.
pub const NAMED: usize = 500;
/// Tokens and secrets a second, if nothing else is asked for.
pub const DEFAULT_RATE: u32 = 20;
/// The highest rate.
pub const MAX_RATE: u32 = 10_000;

/// Whether it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is under way, or goes on once a daemon runs.
    UnderWay,
    /// All records were read.
    Complete,
}

/// A check of all records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scrub {
    /// Version of the record.
    pub version: Version,
    /// Names it: 32 hexadecimal digits.
    pub id: String,
    /// Whether it is done.
    pub state: State,
    /// Most tokens and secrets that are given to devices in a second.
    pub rate: u32,
    /// When it was asked for, ISO 8601.
    pub started: String,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// The last key that was read; empty before the first.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub after: Vec<u8>,
    /// Records that were read.
    pub records: u64,
    /// Tokens and secrets that a device has opened.
    pub opened: u64,
    /// Tokens and secrets of Regions that the daemon does not serve: nobody has checked them.
    pub skipped: u64,
    /// Faults that were found, and are still there.
    pub faults: u64,
    /// The first [`NAMED`] of them.
    pub named: Vec<Fault>,
    /// Damaged records that were repaired from a copy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repaired: u64,
    /// The first [`NAMED`] of them, with what was wrong and which copy had it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<Fault>,
}

/// A record that cannot be read, or has a token or secret that no device opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The ARN of the key, or the key of the record.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Record for Scrub {
    fn key(&self) -> Vec<u8> {
        KEY.to_vec()
    }
}

impl Scrub {
    /// One that is about to begin.
    #[must_use]
    pub fn new(id: String, rate: u32, started: String) -> Self {
        Self {
            version: Version,
            id,
            state: State::UnderWay,
            rate,
            started,
            finished: None,
            after: Vec::new(),
            records: 0,
            opened: 0,
            skipped: 0,
            faults: 0,
            named: Vec::new(),
            repaired: 0,
            repairs: Vec::new(),
        }
    }

    /// Asks for a check, unless one is under way; returns the one that is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask(store: &dyn Store, rate: u32) -> Result<Self, StoreError> {
        loop {
            let found = store.get(KEY).await?.value;
            let known = found.as_ref().and_then(|entry| Self::decode(&entry.value).ok());
            if let Some(known) = known.filter(|known| known.state == State::UnderWay) {
                return Ok(known);
            }
            // A report that cannot be read is replaced: it stands in the way of every further check.
            let transaction = match found {
                None => Transaction::new().absent(KEY),
                Some(entry) => Transaction::new().unchanged(KEY, entry.revision),
            };
            let id = Uuid::new_v4().simple().to_string();
            let new = Self::new(id, rate, event_time(SystemTime::now()));
            let value = new.encode().map_err(|error| StoreError::Engine(error.to_string()))?;
            if let Commit::Applied { .. } = store.commit(transaction.put(KEY, value)).await? {
                return Ok(new);
            }
        }
    }

    /// Returns the last check that was asked for.
    ///
    /// # Errors
    /// [`StoreError`], also if its record cannot be read.
    pub async fn last(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        let entry = store.get(KEY).await?.value;
        let read = entry.map(|entry| Self::decode(&entry.value)).transpose();
        read.map_err(|error| StoreError::Engine(error.to_string()))
    }

    /// Notes a record that was repaired.
    pub fn note_repair(&mut self, name: String, reason: String) {
        self.repaired += 1;
        if self.repairs.len() < NAMED {
            self.repairs.push(Fault { name, reason });
        }
    }

    /// Notes a fault.
    pub fn note(&mut self, name: String, reason: String) {
        self.faults += 1;
        if self.named.len() < NAMED {
            self.named.push(Fault { name, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_store::MemoryStore;

    #[tokio::test]
    async fn one_is_under_way_at_a_time() {
        let store = MemoryStore::new();
        assert_eq!(Scrub::last(&store).await.unwrap(), None);
        let mut first = Scrub::ask(&store, 7).await.unwrap();
        assert_eq!(Scrub::ask(&store, 9).await.unwrap(), first);
        first.state = State::Complete;
        let done = Transaction::new().put(KEY, first.encode().unwrap());
        let _ = store.commit(done).await.unwrap();
        let second = Scrub::ask(&store, 9).await.unwrap();
        assert!(second.id != first.id && second.rate == 9);
        assert_eq!(Scrub::last(&store).await.unwrap(), Some(second));
        // What cannot be read is told, and is not in the way.
        let _ = store.commit(Transaction::new().put(KEY, *b"{}")).await.unwrap();
        assert!(Scrub::last(&store).await.is_err());
        assert_eq!(Scrub::ask(&store, 3).await.unwrap().rate, 3);
    }

    #[test]
    fn version_1() {
        let mut scrub = Scrub::new("ab".repeat(16), 20, "2026-11-30T00:00:00Z".to_owned());
        for n in 0..=NAMED {
            scrub.note(n.to_string(), "why".to_owned());
        }
        assert_eq!((scrub.faults, scrub.named.len()), (NAMED as u64 + 1, NAMED));
        scrub.named.truncate(1);
        let golden = r#"{"version":1,"id":"abababababababababababababababab","state":"under-way","rate":20,"started":"2026-11-30T00:00:00Z","after":"","records":0,"opened":0,"skipped":0,"faults":501,"named":[{"name":"0","reason":"why"}]}"#;
        assert_eq!(String::from_utf8(scrub.encode().unwrap()).unwrap(), golden);
        assert_eq!(Scrub::decode(golden.as_bytes()).unwrap(), scrub);
        scrub.note_repair("1".to_owned(), "how".to_owned());
        let golden = golden.strip_suffix('}').unwrap().to_owned()
            + r#","repaired":1,"repairs":[{"name":"1","reason":"how"}]}"#;
        assert_eq!(String::from_utf8(scrub.encode().unwrap()).unwrap(), golden);
        assert_eq!(Scrub::decode(golden.as_bytes()).unwrap(), scrub);
    }
}
