//! The directory: identities in the store, with caches for the hot path.
//!
//! As in the catalogue of keys, a change drops the cached entry before it is acknowledged, and a
//! watch on the store drops what other processes change: an access key that is disabled anywhere
//! is refused at once.

use std::sync::Arc;

use super::layout;
use super::record::{
    AccessKey, Account, ExternalCredential, ExternalStore, Group, ManagedPolicy, Record, Report,
    Role, User, Version,
};
use kms_base::clock::Timestamp;
use kms_base::record::RecordError;
use kms_keys::cache::{Cache, Versioned};
use kms_keys::catalog::{CatalogError, Listing, Stored, Update};
use kms_store::{
    Change, Commit, Follower, Range, Revision, Store, Transaction, current_revision, follow,
};

/// Records that are read at a time.
const PAGE: usize = 500;

/// Identities of all accounts of a store.
pub(crate) struct Directory {
    store: Arc<dyn Store>,
    accounts: Cache<Account>,
    users: Cache<User>,
    groups: Cache<Group>,
    roles: Cache<Role>,
    policies: Cache<ManagedPolicy>,
    access_keys: Cache<AccessKey>,
    external_stores: Cache<ExternalStore>,
    external_credentials: Cache<ExternalCredential>,
}

/// A record that the directory has a cache for.
pub(crate) trait Cached: Record {
    /// Start of the store keys of its kind.
    const PREFIX: &'static str;

    /// The cache.
    fn cache(directory: &Directory) -> &Cache<Self>;
}

macro_rules! cached {
    ($($record:ty, $prefix:ident, $cache:ident;)+) => {
        $(impl Cached for $record {
            const PREFIX: &'static str = layout::$prefix;

            fn cache(directory: &Directory) -> &Cache<Self> {
                &directory.$cache
            }
        })+

        impl Directory {
            fn invalidate(&self, key: &[u8], revision: Revision) {
                $(if key.starts_with(<$record>::PREFIX.as_bytes()) {
                    self.$cache.invalidate(key, revision);
                })+
            }

            fn clear_all(&self, revision: Revision) {
                $(self.$cache.clear(revision);)+
            }
        }
    };
}

cached! {
    Account, ACCOUNTS, accounts;
    User, USERS, users;
    Group, GROUPS, groups;
    Role, ROLES, roles;
    ManagedPolicy, POLICIES, policies;
    AccessKey, ACCESS_KEYS, access_keys;
    ExternalStore, EXTERNAL_STORES, external_stores;
    ExternalCredential, EXTERNAL_CREDENTIALS, external_credentials;
}

/// Changes that are applied together or not at all.
#[must_use]
pub(crate) struct Changes(Transaction);

impl Changes {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(Transaction::new())
    }

    /// Adds a record that must not be there.
    pub(crate) fn insert<R: Record>(self, record: &R) -> Result<Self, CatalogError> {
        let key = record.key();
        let value = encode(&key, record)?;
        Ok(Self(self.0.absent(key.clone()).put(key, value)))
    }

    /// Replaces a record that must not have changed.
    pub(crate) fn replace<R: Record>(
        self,
        old: &Versioned<R>,
        new: &R,
    ) -> Result<Self, CatalogError> {
        let key = old.value.key();
        debug_assert_eq!(key, new.key());
        let value = encode(&key, new)?;
        Ok(Self(self.0.unchanged(key.clone(), old.revision).put(key, value)))
    }

    /// Removes a record that must not have changed.
    pub(crate) fn remove<R: Record>(self, old: &Versioned<R>) -> Self {
        let key = old.value.key();
        Self(self.0.unchanged(key.clone(), old.revision).delete(key))
    }
}

impl Changes {
    /// Forgets when an identity or an access key was last used, and that it was renamed: it is to be no
    /// more.
    pub(crate) fn forget(self, id: &str) -> Self {
        Self(self.0.delete(layout::uses(id)).delete(layout::renamed(id)))
    }

    /// Notes what a user is called now, for policies and grants that know it by its id.
    pub(crate) fn rename(self, id: &str, name: &str) -> Self {
        Self(self.0.put(layout::renamed(id), name.as_bytes().to_vec()))
    }
}

impl Directory {
    /// A directory over `store`. Needs a Tokio runtime, for the task that follows the store.
    ///
    /// # Errors
    /// [`CatalogError::Store`] if the store does not answer.
    pub(crate) async fn open(store: Arc<dyn Store>) -> Result<Arc<Self>, CatalogError> {
        let revision = current_revision(&*store).await?;
        let directory = Arc::new(Self {
            store,
            accounts: Cache::default(),
            users: Cache::default(),
            groups: Cache::default(),
            roles: Cache::default(),
            policies: Cache::default(),
            access_keys: Cache::default(),
            external_stores: Cache::default(),
            external_credentials: Cache::default(),
        });
        tokio::spawn(follow(Arc::downgrade(&directory), revision));
        Ok(directory)
    }

    /// An account, if there is one.
    pub(crate) async fn account(&self, id: &str) -> Result<Option<Stored<Account>>, CatalogError> {
        self.read(layout::account(id)).await
    }

    /// A user, if there is one.
    pub(crate) async fn user(
        &self,
        account: &str,
        name: &str,
    ) -> Result<Option<Stored<User>>, CatalogError> {
        self.read(layout::user(account, name)).await
    }

    /// A group, if there is one.
    pub(crate) async fn group(
        &self,
        account: &str,
        name: &str,
    ) -> Result<Option<Stored<Group>>, CatalogError> {
        self.read(layout::group(account, name)).await
    }

    /// A role, if there is one.
    pub(crate) async fn role(
        &self,
        account: &str,
        name: &str,
    ) -> Result<Option<Stored<Role>>, CatalogError> {
        self.read(layout::role(account, name)).await
    }

    /// A managed policy, if there is one.
    pub(crate) async fn policy(
        &self,
        account: &str,
        name: &str,
    ) -> Result<Option<Stored<ManagedPolicy>>, CatalogError> {
        self.read(layout::policy(account, name)).await
    }

    /// An access key, if there is one.
    pub(crate) async fn access_key(
        &self,
        id: &str,
    ) -> Result<Option<Stored<AccessKey>>, CatalogError> {
        self.read(layout::access_key(id)).await
    }

    /// An external key store, if there is one.
    pub(crate) async fn external_store(
        &self,
        prefix: &str,
    ) -> Result<Option<Stored<ExternalStore>>, CatalogError> {
        self.read(layout::external_store(prefix)).await
    }

    /// A credential of an external key store, if there is one.
    pub(crate) async fn external_credential(
        &self,
        id: &str,
    ) -> Result<Option<Stored<ExternalCredential>>, CatalogError> {
        self.read(layout::external_credential(id)).await
    }

    /// What a user is called now that had another name.
    pub(crate) async fn renamed(&self, id: &str) -> Result<Option<String>, CatalogError> {
        let key = layout::renamed(id);
        let Some(entry) = self.store.get(&key).await?.value else { return Ok(None) };
        let name = String::from_utf8(entry.value.to_vec());
        let damaged = |_| unreadable(&key, RecordError::Damaged("not a name".to_owned()));
        name.map(Some).map_err(damaged)
    }

    /// When a credential report of an account was asked for last.
    pub(crate) async fn report(&self, account: &str) -> Result<Option<Timestamp>, CatalogError> {
        let key = layout::report(account);
        let Some(entry) = self.store.get(&key).await?.value else { return Ok(None) };
        let report = Report::decode(&entry.value).map_err(|error| unreadable(&key, error))?;
        Ok(Some(report.asked))
    }

    /// Remembers that one is asked for.
    pub(crate) async fn ask_report(
        &self,
        account: &str,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let report = Report { version: Version, account: account.to_owned(), asked: now };
        let (key, value) = (report.key(), encode(&report.key(), &report)?);
        // Whoever asks at the same time does so for the same report.
        let _ = self.store.commit(Transaction::new().put(key, value)).await?;
        Ok(())
    }

    /// Whether [`Directory::access_key`] would be answered without the store.
    pub(crate) fn has_cached_access_key(&self, id: &str) -> bool {
        self.access_keys.get(&layout::access_key(id)).is_some()
    }

    /// The same of a user.
    pub(crate) fn has_cached_user(&self, account: &str, name: &str) -> bool {
        self.users.get(&layout::user(account, name)).is_some()
    }

    /// Whether [`Directory::external_credential`] would be answered without the store.
    pub(crate) fn has_cached_external_credential(&self, id: &str) -> bool {
        self.external_credentials.get(&layout::external_credential(id)).is_some()
    }

    /// Reads a credential past the cache, for the time that it takes.
    pub(crate) async fn read_external_credential(&self, id: &str) -> Result<(), CatalogError> {
        self.store.get(&layout::external_credential(id)).await?;
        Ok(())
    }

    /// Reads an access key past the cache, for the time that it takes.
    pub(crate) async fn read_access_key(&self, id: &str) -> Result<(), CatalogError> {
        self.store.get(&layout::access_key(id)).await?;
        Ok(())
    }

    /// Records of a kind in the order of their store keys: those of an account, or of all.
    pub(crate) async fn list<R: Cached>(
        &self,
        account: Option<&str>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Listing<R>, CatalogError> {
        let prefix = match account {
            Some(account) => layout::named(R::PREFIX, account, ""),
            None => R::PREFIX.as_bytes().to_vec(),
        };
        let page = self.store.range(Range { prefix, after, limit }).await?.value;
        let decode = |entry: kms_store::Entry| {
            R::decode(&entry.value).map_err(|error| unreadable(&entry.key, error))
        };
        let items = page.entries.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok(Listing { items, more: page.more })
    }

    /// The external key stores of an account, by prefix.
    pub(crate) async fn external_stores_of(
        &self,
        account: &str,
    ) -> Result<Vec<ExternalStore>, CatalogError> {
        let (mut stores, mut after) = (Vec::new(), None);
        loop {
            let page = self.list::<ExternalStore>(None, after, PAGE).await?;
            after = page.items.last().map(Record::key);
            stores.extend(page.items.into_iter().filter(|store| store.scope.account == account));
            if !page.more {
                return Ok(stores);
            }
        }
    }

    /// How many records of a kind there are in an account.
    pub(crate) async fn count<R: Cached>(&self, account: &str) -> Result<usize, CatalogError> {
        let prefix = layout::named(R::PREFIX, account, "");
        let (mut count, mut after) = (0, None);
        loop {
            let range = Range { prefix: prefix.clone(), after, limit: PAGE };
            let page = self.store.range(range).await?.value;
            count += page.entries.len();
            after = page.entries.into_iter().last().map(|last| last.key);
            if !page.more {
                return Ok(count);
            }
        }
    }

    /// Shows every record of a kind in an account, in order, a page at a time.
    pub(crate) async fn visit_all<R: Cached>(
        &self,
        account: &str,
        mut visit: impl FnMut(R) + Send,
    ) -> Result<(), CatalogError> {
        let mut after = None;
        loop {
            let page = self.list::<R>(Some(account), after, PAGE).await?;
            after = page.items.last().map(Record::key);
            page.items.into_iter().for_each(&mut visit);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Makes changes durable.
    pub(crate) async fn commit(&self, changes: Changes) -> Result<Update, CatalogError> {
        let keys: Vec<Vec<u8>> = changes.0.keys().map(<[u8]>::to_vec).collect();
        let (update, revision) = match self.store.commit(changes.0).await? {
            Commit::Applied { revision } => (Update::Applied, revision),
            // The decision to commit may have come from an old cache entry.
            Commit::Conflict => (Update::Conflict, current_revision(&*self.store).await?),
        };
        for key in keys {
            self.invalidate(&key, revision);
        }
        Ok(update)
    }

    async fn read<R: Cached>(&self, key: Vec<u8>) -> Result<Option<Stored<R>>, CatalogError> {
        if let Some(cached) = R::cache(self).get(&key) {
            return Ok(Some(cached));
        }
        let snapshot = self.store.get(&key).await?;
        let Some(entry) = snapshot.value else { return Ok(None) };
        let value = R::decode(&entry.value).map_err(|error| unreadable(&key, error))?;
        let stored = Arc::new(Versioned { revision: entry.revision, value });
        R::cache(self).insert(key, Arc::clone(&stored), snapshot.revision);
        Ok(Some(stored))
    }
}

impl Follower for Directory {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn apply(&self, change: &Change) {
        for event in &change.events {
            self.invalidate(event.key(), change.revision);
        }
    }

    fn clear(&self, revision: Revision) {
        self.clear_all(revision);
    }
}

fn encode<R: Record>(key: &[u8], record: &R) -> Result<Vec<u8>, CatalogError> {
    record.encode().map_err(|error| unreadable(key, error))
}

fn unreadable(key: &[u8], error: RecordError) -> CatalogError {
    CatalogError::Record { key: String::from_utf8_lossy(key).into_owned(), error }
}
