//! The catalogue: keys, aliases and grants in the store, with a cache for the hot path.
//!
//! Reads of single keys, aliases and grants come from the cache when they can. A change drops the cached
//! entry before it is acknowledged, and a watch on the store drops what other processes change.
//! Every update is guarded by the revision that was read, so a stale cache can delay an update
//! but never lose one.

use kms_base::record::RecordError;
use std::sync::Arc;

use super::cache::Cache;
pub use super::cache::Versioned;
use super::counts::{self, Counted, Counts};
use super::custom_store::CustomKeyStores;
use super::grant::GrantRecord;
use super::{AliasRecord, KeyRecord, layout};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::{KeyId, Scope};
use kms_store::{
    Change, Commit, Entry, Follower, MAX_OPERATIONS, Range, Revision, Store, StoreError,
    Transaction, current_revision, follow,
};

mod aliases;
mod check;
mod custom_stores;
mod foreign;
mod form;
mod grants;
mod related;
mod tagged;
mod usage;

pub use self::aliases::{AliasIndex, Aliases};
pub use self::check::check;
pub use self::foreign::Foreign;
use self::grants::MAX_HOLDERS;
pub use self::grants::{FoundGrant, GrantCount, Grants, HeldGrants};
pub(crate) use self::related::tell;
pub use self::related::{FoundOutboxEntry, OutboxEntry, What, elsewhere};
pub use self::usage::LastUses;

/// A shared record with the revision it was read at.
pub type Stored<T> = Arc<Versioned<T>>;

/// Why the catalogue could not answer.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds a record that cannot be read.
    #[error("{key}: {error}")]
    Record {
        /// Where it is.
        key: String,
        /// What is wrong with it.
        error: RecordError,
    },
}

impl From<CatalogError> for KmsError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Store(StoreError::Barred) => {
                tracing::warn!("a key token is not stored: {}", StoreError::Barred);
                Self::new(Exception::DependencyTimeout, StoreError::Barred.to_string())
            }
            error => Self::internal(error),
        }
    }
}

/// Whether a guarded update was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Update {
    /// Durable.
    Applied,
    /// Something it depends on has changed: read again and decide anew.
    Conflict,
}

/// Part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// In the order of the store.
    pub items: Vec<T>,
    /// Whether there are items after these.
    pub more: bool,
}

/// Keys, aliases and grants of all accounts and Regions of a store.
pub struct Catalog {
    pub(super) store: Arc<dyn Store>,
    keys: Cache<KeyRecord>,
    aliases: Cache<AliasRecord>,
    grants: Cache<GrantRecord>,
    held: Cache<HeldGrants>,
    stores: Cache<CustomKeyStores>,
    pub(super) counts: Counts,
}

impl Catalog {
    /// A catalogue over `store`. Needs a Tokio runtime, for the task that follows the store.
    ///
    /// # Errors
    /// [`CatalogError::Store`] if the store does not answer.
    pub async fn open(store: Arc<dyn Store>) -> Result<Arc<Self>, CatalogError> {
        let revision = current_revision(&*store).await?;
        let catalog = Arc::new(Self {
            store,
            keys: Cache::default(),
            aliases: Cache::default(),
            grants: Cache::default(),
            held: Cache::of(MAX_HOLDERS),
            stores: Cache::default(),
            counts: Counts::default(),
        });
        catalog.foreign().index_owners().await?;
        catalog.grants().index().await?;
        tokio::spawn(follow(Arc::downgrade(&catalog), revision));
        Ok(catalog)
    }

    /// A key, if it exists.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn key(
        &self,
        scope: &Scope,
        id: KeyId,
    ) -> Result<Option<Stored<KeyRecord>>, CatalogError> {
        self.read(&self.keys, layout::key(scope, id), KeyRecord::decode).await
    }

    /// Adds a new key. Durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn insert_key(&self, record: &KeyRecord) -> Result<Update, CatalogError> {
        self.change_keys(&[], Some(record)).await
    }

    /// Replaces a key record, and moves its due dates if they change. Durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn replace_key(
        &self,
        old: &Versioned<KeyRecord>,
        new: &KeyRecord,
    ) -> Result<Update, CatalogError> {
        self.commit(replacing(Transaction::new(), old, new)?).await
    }

    /// Replaces key records, each as [`Catalog::replace_key`] does, and adds a new key: all of it
    /// or nothing. Durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn change_keys(
        &self,
        changes: &[(Stored<KeyRecord>, KeyRecord)],
        new: Option<&KeyRecord>,
    ) -> Result<Update, CatalogError> {
        let mut transaction = Transaction::new();
        for (old, new) in changes {
            transaction = replacing(transaction, old, new)?;
        }
        if let Some(record) = new {
            transaction = inserting(transaction, record)?;
        }
        self.commit(transaction).await
    }

    /// How many keys there are, by Region and state; `None` while they are counted for the first time,
    /// which the first question begins. After that it costs the same with any number of keys. Needs a
    /// Tokio runtime.
    #[must_use]
    pub fn counted(self: &Arc<Self>) -> Option<Counted> {
        match self.counts.now() {
            Ok(counted) => Some(counted),
            Err(begin) => {
                if begin {
                    tokio::spawn(counts::count(Arc::downgrade(self)));
                }
                None
            }
        }
    }

    /// Key ids of a scope in ascending order.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn list_keys(
        &self,
        scope: &Scope,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Listing<KeyId>, CatalogError> {
        let prefix = layout::keys(scope);
        let after = after.map(|id| layout::key(scope, id));
        let range = Range { prefix: prefix.clone(), after, limit };
        let page = self.store.range(range).await?.value;
        let id = |entry: Entry| {
            let id = entry.key.strip_prefix(prefix.as_slice())?;
            KeyId::parse(std::str::from_utf8(id).ok()?)
        };
        Ok(Listing { items: page.entries.into_iter().filter_map(id).collect(), more: page.more })
    }

    /// Changes of keys that are due some day: deletions, expirations and rotations; up to 1000 of each.
    ///
    /// # Errors
    /// [`CatalogError`] if the store cannot be read.
    pub async fn due_dates(&self) -> Result<usize, CatalogError> {
        let mut count = 0;
        for prefix in [layout::DELETIONS, layout::EXPIRIES, layout::ROTATIONS] {
            let range = Range { prefix: prefix.into(), after: None, limit: 1000 };
            count += self.store.range(range).await?.value.entries.len();
        }
        Ok(count)
    }

    /// Removes all keys and what belongs to them, and returns how many keys there were. What
    /// others make meanwhile may stay.
    ///
    /// # Errors
    /// [`CatalogError`]; what was removed before it stays removed.
    pub async fn remove_all(&self) -> Result<usize, CatalogError> {
        let mut removed = 0;
        for prefix in layout::ALL {
            loop {
                let range = Range { prefix: prefix.into(), after: None, limit: MAX_OPERATIONS };
                let page = self.store.range(range).await?.value;
                removed += if prefix == layout::KEYS { page.entries.len() } else { 0 };
                let entries = page.entries.into_iter();
                let all = entries.fold(Transaction::new(), |t, entry| t.delete(entry.key));
                let _ = self.commit(all).await?;
                if !page.more {
                    break;
                }
            }
        }
        Ok(removed)
    }

    /// Applies a transaction. Whatever the cache holds of its keys is dropped if it is old.
    pub(super) async fn commit(&self, transaction: Transaction) -> Result<Update, CatalogError> {
        let keys: Vec<Vec<u8>> = transaction.keys().map(<[u8]>::to_vec).collect();
        let (update, revision) = match self.store.commit(transaction).await? {
            Commit::Applied { revision } => (Update::Applied, revision),
            // The decision to commit may have come from an old cache entry.
            Commit::Conflict => (Update::Conflict, current_revision(&*self.store).await?),
        };
        for key in keys {
            self.invalidate(&key, revision);
        }
        Ok(update)
    }

    /// Reads through a cache.
    async fn read<T>(
        &self,
        cache: &Cache<T>,
        key: Vec<u8>,
        decode: impl Fn(&[u8]) -> Result<T, RecordError>,
    ) -> Result<Option<Stored<T>>, CatalogError> {
        if let Some(cached) = cache.get(&key) {
            return Ok(Some(cached));
        }
        let snapshot = self.store.get(&key).await?;
        let Some(entry) = snapshot.value else { return Ok(None) };
        let value = decode(&entry.value).map_err(|error| unreadable(&key, error))?;
        let stored = Arc::new(Versioned { revision: entry.revision, value });
        cache.insert(key, Arc::clone(&stored), snapshot.revision);
        Ok(Some(stored))
    }

    fn invalidate(&self, key: &[u8], revision: Revision) {
        if key.starts_with(layout::KEYS.as_bytes()) {
            self.keys.invalidate(key, revision);
        } else if key.starts_with(layout::ALIASES.as_bytes()) {
            self.aliases.invalidate(key, revision);
        } else if key.starts_with(layout::GRANTS.as_bytes()) {
            self.grants.invalidate(key, revision);
        } else if key.starts_with(layout::GRANTEES.as_bytes()) {
            self.held.invalidate(layout::grants_of_entry(key), revision);
        } else if key.starts_with(layout::CUSTOM_KEY_STORES.as_bytes()) {
            self.stores.invalidate(key, revision);
        }
    }
}

impl Follower for Catalog {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn apply(&self, change: &Change) {
        self.counts.apply(&change.events, change.revision);
        for event in &change.events {
            self.invalidate(event.key(), change.revision);
        }
    }

    fn clear(&self, revision: Revision) {
        self.keys.clear(revision);
        self.aliases.clear(revision);
        self.grants.clear(revision);
        self.held.clear(revision);
        self.stores.clear(revision);
        self.counts.clear();
    }
}

/// A new key record, its due dates, and the entry of its owner.
pub(super) fn inserting(
    transaction: Transaction,
    record: &KeyRecord,
) -> Result<Transaction, CatalogError> {
    let key = layout::key(&record.scope, record.id);
    let value = encode(&key, record)?;
    let transaction = transaction
        .absent(key.clone())
        .put(key, value)
        .put(layout::owner(&record.scope, record.id), Vec::new());
    Ok(with_dates(transaction, &record.scope, record.id, None, Some(record)))
}

/// The replacement of a key record and its due dates.
pub(super) fn replacing(
    transaction: Transaction,
    old: &Versioned<KeyRecord>,
    new: &KeyRecord,
) -> Result<Transaction, CatalogError> {
    let key = layout::key(&old.scope, old.id);
    let value = encode(&key, new)?;
    let transaction = transaction.unchanged(key.clone(), old.revision).put(key, value);
    Ok(with_dates(transaction, &old.scope, old.id, Some(old), Some(new)))
}

/// Moves the due dates of a key to those it has after a change.
pub(super) fn with_dates(
    mut transaction: Transaction,
    scope: &Scope,
    id: KeyId,
    old: Option<&KeyRecord>,
    new: Option<&KeyRecord>,
) -> Transaction {
    // A replica rotates with its primary.
    let next =
        |key: &KeyRecord| key.rotation.filter(|_| !key.is_replica()).map(|schedule| schedule.next);
    for (prefix, before, after) in [
        (layout::DELETIONS, old.and_then(|key| key.deletion), new.and_then(|key| key.deletion)),
        (layout::ROTATIONS, old.and_then(next), new.and_then(next)),
        (layout::EXPIRIES, old.and_then(KeyRecord::expires), new.and_then(KeyRecord::expires)),
    ] {
        if before == after {
            continue;
        }
        let entry = |due| layout::due(prefix, due, scope, id);
        if let Some(due) = before {
            transaction = transaction.delete(entry(due));
        }
        if let Some(due) = after {
            transaction = transaction.put(entry(due), Vec::new());
        }
    }
    transaction
}

fn encode(key: &[u8], record: &KeyRecord) -> Result<Vec<u8>, CatalogError> {
    record.encode().map_err(|error| unreadable(key, error))
}

fn unreadable(key: &[u8], error: RecordError) -> CatalogError {
    CatalogError::Record { key: String::from_utf8_lossy(key).into_owned(), error }
}
