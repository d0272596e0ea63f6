//! Durable state behind the daemon, in the shape of etcd: ordered byte keys, guarded multi-key
//! commits, range reads and watches by revision.
//!
//! Guarantees of every engine, checked by one conformance suite:
//!
//! - A commit is atomic. When [`Store::commit`] answers [`Commit::Applied`], it is durable and
//!   every later read sees it.
//! - Every applied change has its own [`Revision`], higher than all before it. An entry carries
//!   the revision of its last change, which is what guards compare.
//! - Reads see one consistent snapshot each, and say which.
//! - A watch reports every change after its starting revision, once and in order, or says that it
//!   cannot.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod etcd;
mod follow;
mod history;
pub mod import;
mod lease;
mod memory;
mod redb;
mod scan;

#[cfg(test)]
mod conformance;

pub use self::etcd::EtcdStore;
pub use self::follow::{Follower, current_revision, follow};
pub use self::lease::{Lease, SCHEDULED_WORK, TERM};
pub use self::memory::MemoryStore;
pub use self::redb::{Facts, RedbStore, StoreSnapshot};
pub use self::scan::Scan;

/// Most guards, and most writes, in one transaction. etcd's default limit.
pub const MAX_OPERATIONS: usize = 128;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 1024;
/// Longest value, in bytes. Below etcd's request limit of 1.5 MiB.
pub const MAX_VALUE: usize = 1 << 20;

/// A boxed future, so that [`Store`] and [`Watch`] can be used as trait objects.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place in the history of a store. Grows with every applied change: by one in the engines of one
/// process, by more in one that others use as well.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The next revision. The next change has this one or a later one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Arc<[u8]>,
    /// Revision of the last change of this key.
    pub revision: Revision,
}

/// What a read saw, and the revision of the store it saw it at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<T> {
    /// Revision of the store.
    pub revision: Revision,
    /// What was there.
    pub value: T,
}

/// A range read: the keys that start with `prefix`, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Common start of the keys.
    pub prefix: Vec<u8>,
    /// Only keys after this one; it need not exist.
    pub after: Option<Vec<u8>>,
    /// Most entries to return; at least 1.
    pub limit: usize,
}

/// The answer to a range read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Entries in the order of their keys.
    pub entries: Vec<Entry>,
    /// Whether the range holds entries after the last one returned.
    pub more: bool,
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The key does not exist.
    Absent(Vec<u8>),
    /// The key exists and was last changed at this revision.
    Unchanged(Vec<u8>, Revision),
}

/// A change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a value.
    Put(Vec<u8>, Arc<[u8]>),
    /// Removes a key; nothing happens if it is absent.
    Delete(Vec<u8>),
}

impl Write {
    fn key(&self) -> &[u8] {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Guards and writes that are applied together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    guards: Vec<Guard>,
    writes: Vec<Write>,
}

impl Transaction {
    /// A transaction without guards and writes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it writes.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Requires that `key` does not exist.
    #[must_use]
    pub fn absent(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.guards.push(Guard::Absent(key.into()));
        self
    }

    /// Requires that `key` was last changed at `revision`.
    #[must_use]
    pub fn unchanged(mut self, key: impl Into<Vec<u8>>, revision: Revision) -> Self {
        self.guards.push(Guard::Unchanged(key.into(), revision));
        self
    }

    /// Sets `key` to `value`.
    #[must_use]
    pub fn put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Arc<[u8]>>) -> Self {
        self.writes.push(Write::Put(key.into(), value.into()));
        self
    }

    /// Removes `key`.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }

    /// The revision that `key` must have been last changed at, if there is such a condition.
    #[must_use]
    pub fn guarded(&self, key: &[u8]) -> Option<Revision> {
        self.guards.iter().find_map(|guard| match guard {
            Guard::Unchanged(of, revision) if of == key => Some(*revision),
            _ => None,
        })
    }

    /// Every key the transaction depends on or writes; some more than once.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let guarded = self.guards.iter().map(|guard| match guard {
            Guard::Absent(key) | Guard::Unchanged(key, _) => key.as_slice(),
        });
        guarded.chain(self.writes.iter().map(Write::key))
    }

    /// Checks the limits every engine shares.
    fn check(&self) -> Result<(), StoreError> {
        if self.guards.len() > MAX_OPERATIONS || self.writes.len() > MAX_OPERATIONS {
            return Err(StoreError::Invalid("too many operations in one transaction"));
        }
        let mut keys: Vec<&[u8]> = self.writes.iter().map(Write::key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(StoreError::Invalid("a key is written twice in one transaction"));
        }
        if keys.iter().any(|key| key.is_empty() || key.len() > MAX_KEY) {
            return Err(StoreError::Invalid("a key is empty or too long"));
        }
        let oversize = |write: &Write| matches!(write, Write::Put(_, v) if v.len() > MAX_VALUE);
        if self.writes.iter().any(oversize) {
            return Err(StoreError::Invalid("a value is too long"));
        }
        Ok(())
    }
}

/// The outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Commit {
    /// Durable. `revision` is that of the change, or of the store if nothing changed. The store's can
    /// be later than any change of its own.
    Applied {
        /// Revision of the change.
        revision: Revision,
    },
    /// A guard did not hold; nothing was written.
    Conflict,
}

/// What one commit did to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key has a new value.
    Put(Entry),
    /// The key was removed.
    Delete(Vec<u8>),
}

impl Event {
    /// The key the event is about.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete(key) => key,
        }
    }
}

/// Everything one commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Revision of the commit.
    pub revision: Revision,
    /// One event per key, in the order of the transaction.
    pub events: Vec<Event>,
}

/// Why the store could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The transaction breaks a limit. A fault of the caller.
    #[error("invalid transaction: {0}")]
    Invalid(&'static str),
    /// The engine failed; whether a commit was applied is unknown.
    #[error("store engine: {0}")]
    Engine(String),
    /// The data was written by a newer release.
    #[error("the store has format {found}, this release reads format {supported}")]
    Format {
        /// Format of the stored data.
        found: u64,
        /// Format this release reads and writes.
        supported: u64,
    },
    /// The file has no records: they are at that place.
    #[error(
        "the records of this installation are in {0}, and not in its data directory; start kmsd with \
         --store, and use commands that ask the running daemon"
    )]
    Elsewhere(String),
    /// The records are in the file, and are to be somewhere else.
    #[error(
        "the data directory has an installation of its own in store.redb; give --store a fresh data \
         directory (--data DIR), or leave --store out"
    )]
    HasRecords,
    /// An import did not come to its end.
    #[error(
        "the store was imported in part: {records} records are in it, and kmsctl store import did not \
         come to its end; run it again with the same file, whose SHA-256 is {file}"
    )]
    HalfImported {
        /// SHA-256 of the file, hexadecimal.
        file: String,
        /// Records that are there.
        records: u64,
    },
    /// It would store a key token under a domain key that is being removed.
    #[error(
        "A device has wrapped key material under a domain key that is being removed, or was; nothing was changed. \
         Try again: the device has yet to make the last change of its domain."
    )]
    Barred,
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Changes between the last one reported and `oldest` are no longer known: read everything
    /// again, then watch from the revision of that read.
    #[error("history before revision {oldest} is gone")]
    Compacted {
        /// The oldest change that is still known.
        oldest: Revision,
    },
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
}

/// A running watch.
pub trait Watch: Send {
    /// Waits for the next change. Safe to drop and call again.
    fn next(&mut self) -> StoreFuture<'_, Result<Arc<Change>, WatchError>>;
}

/// A store engine. See the [module documentation](self) for what it guarantees.
pub trait Store: Send + Sync + 'static {
    /// Reads one key.
    fn get<'a>(
        &'a self,
        key: &'a [u8],
    ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>>;

    /// Reads a range.
    fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>>;

    /// Applies a transaction if all its guards hold. Dropping the future does not undo it: the
    /// transaction may still be applied, but never in part.
    fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>>;

    /// Watches all changes after `after`.
    fn watch(&self, after: Revision) -> Box<dyn Watch>;

    /// Whether other processes can have the store open at the same time.
    fn is_shared(&self) -> bool;

    /// How long ago it was last known that the watches had dealt with every change that was
    /// acknowledged by then, to whichever process. What a cache says can be older by no more than
    /// that. Zero if no other process can change anything.
    fn lag(&self) -> Duration;
}

/// Reads for threads outside of the async runtime, such as those of devices.
pub trait BlockingReads: Send + Sync {
    /// As [`Store::get`].
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    fn get_blocking(&self, key: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// As [`Store::range`].
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    fn range_blocking(&self, range: &Range) -> Result<Page, StoreError>;
}

/// Any store, for threads outside of the async runtime, while that runs.
#[derive(Clone)]
pub struct Blocking {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The runtime of the store.
    pub runtime: tokio::runtime::Handle,
}

impl Blocking {
    /// As [`Store::commit`].
    ///
    /// # Errors
    /// As for that.
    pub fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        self.runtime.block_on(self.store.commit(transaction))
    }
}

impl BlockingReads for Blocking {
    fn get_blocking(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.runtime.block_on(self.store.get(key))?.value)
    }

    fn range_blocking(&self, range: &Range) -> Result<Page, StoreError> {
        Ok(self.runtime.block_on(self.store.range(range.clone()))?.value)
    }
}

/// The rules of a transaction, over whatever table an engine has. Returns the events of the
/// change at `revision`, or `None` on conflict.
fn apply<T: Table>(
    transaction: Transaction,
    revision: Revision,
    table: &mut T,
) -> Result<Option<Vec<Event>>, T::Error> {
    for guard in &transaction.guards {
        let holds = match guard {
            Guard::Absent(key) => table.revision(key)?.is_none(),
            Guard::Unchanged(key, expected) => table.revision(key)? == Some(*expected),
        };
        if !holds {
            return Ok(None);
        }
    }
    let mut events = Vec::with_capacity(transaction.writes.len());
    for write in transaction.writes {
        match write {
            Write::Put(key, value) => {
                table.put(&key, revision, &value)?;
                events.push(Event::Put(Entry { key, value, revision }));
            }
            Write::Delete(key) => {
                if table.delete(&key)? {
                    events.push(Event::Delete(key));
                }
            }
        }
    }
    Ok(Some(events))
}

/// What [`apply`] needs of an engine.
trait Table {
    type Error;
    fn revision(&self, key: &[u8]) -> Result<Option<Revision>, Self::Error>;
    fn put(&mut self, key: &[u8], revision: Revision, value: &Arc<[u8]>)
    -> Result<(), Self::Error>;
    fn delete(&mut self, key: &[u8]) -> Result<bool, Self::Error>;
}
