//! What is barred in a store that several processes have open.
//!
//! It is a record of the store, and every commit of key tokens is guarded by the revision of that record. So
//! once the record says that a domain key is barred, no process can store a token under it, not even one that
//! has not heard of it, was suspended, or is slow: the store itself refuses the commit. No clock and no lease
//! is part of this.
//!
//! The record says who has barred a key. Whoever fails to remove the key takes back their own entry only,
//! because another process may be about to remove it, or has removed it from its own devices. An entry of a
//! process that was killed in between stays: no new token gets under a former domain key, which rewrapping
//! wants anyway, and all else goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use hsm_protocol::DomainId;
use kms_base::record::{Record, RecordError, Version};
use kms_store::{Commit, Revision, Store, StoreError, Transaction, Write};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DomainKey, refuse};
use crate::tokens::PREFIXES;

/// Where the record is.
const KEY: &[u8] = b"service/barred-domain-keys";
/// How often a commit begins again because others have changed the record: once for each ballot that removes a
/// domain key, which people sign.
const TRIES: usize = 16;

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    version: Version,
    /// Who has barred each key of a domain.
    keys: BTreeMap<String, BTreeSet<String>>,
}

impl Record for List {
    fn key(&self) -> Vec<u8> {
        KEY.to_vec()
    }
}

impl List {
    fn name((domain, key): DomainKey) -> String {
        format!("{domain}/{key}")
    }

    fn bar(&mut self, by: &str, keys: impl Iterator<Item = DomainKey>) {
        for key in keys {
            self.keys.entry(Self::name(key)).or_default().insert(by.to_owned());
        }
    }

    fn unbar(&mut self, by: &str, keys: impl Iterator<Item = DomainKey>) {
        for key in keys {
            let name = Self::name(key);
            let is_empty = self.keys.get_mut(&name).is_some_and(|all| {
                all.remove(by);
                all.is_empty()
            });
            if is_empty {
                self.keys.remove(&name);
            }
        }
    }
}

/// The record as it was seen.
struct Seen {
    /// `None` if there was none.
    revision: Option<Revision>,
    list: List,
}

impl Seen {
    /// The transaction, if nobody has changed the record since.
    fn guard(&self, transaction: Transaction) -> Transaction {
        match self.revision {
            Some(revision) => transaction.unchanged(KEY, revision),
            None => transaction.absent(KEY),
        }
    }
}

/// What is barred, as this process knows it.
pub(super) struct Agreed {
    /// This process.
    own: String,
    seen: Mutex<Option<Arc<Seen>>>,
}

impl Agreed {
    pub(super) fn new() -> Self {
        Self { own: Uuid::new_v4().to_string(), seen: Mutex::default() }
    }

    /// As [`super::Barrier::bar`].
    pub(super) async fn bar(
        &self,
        store: &dyn Store,
        domain: DomainId,
        keys: &[u32],
    ) -> Result<(), StoreError> {
        let keys = keys.iter().map(|key| (domain, *key));
        self.change(store, |list| list.bar(&self.own, keys.clone())).await
    }

    /// As [`super::Barrier::unbar`].
    pub(super) async fn unbar(
        &self,
        store: &dyn Store,
        domain: DomainId,
        keys: &[u32],
    ) -> Result<(), StoreError> {
        let keys = keys.iter().map(|key| (domain, *key));
        self.change(store, |list| list.unbar(&self.own, keys.clone())).await
    }

    async fn change(
        &self,
        store: &dyn Store,
        change: impl Fn(&mut List),
    ) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let seen = self.look(store).await?;
            let mut list = seen.list.clone();
            change(&mut list);
            if list == seen.list {
                return Ok(());
            }
            let value = list.encode().map_err(|error| unreadable(&error))?;
            let transaction = seen.guard(Transaction::new()).put(KEY, value);
            if let Commit::Applied { .. } = store.commit(transaction).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// As [`Store::commit`].
    pub(super) async fn commit(
        &self,
        store: &dyn Store,
        transaction: Transaction,
    ) -> Result<Commit, StoreError> {
        if !transaction.writes().iter().any(has_tokens) {
            return store.commit(transaction).await;
        }
        let mut seen = match self.known() {
            Some(seen) => seen,
            None => self.look(store).await?,
        };
        for _ in 0..TRIES {
            let outcome = attempt(store, &seen, &transaction).await;
            if !matches!(outcome, Ok(Commit::Conflict) | Err(StoreError::Barred)) {
                return outcome;
            }
            // Which of the conditions did not hold, the store does not say; and what was barred may not be any more.
            let now = self.look(store).await?;
            if now.revision == seen.revision {
                return outcome;
            }
            seen = now;
        }
        Err(contended())
    }

    fn known(&self) -> Option<Arc<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the record.
    async fn look(&self, store: &dyn Store) -> Result<Arc<Seen>, StoreError> {
        let seen = match store.get(KEY).await?.value {
            Some(entry) => Seen {
                revision: Some(entry.revision),
                list: List::decode(&entry.value).map_err(|error| unreadable(&error))?,
            },
            None => Seen { revision: None, list: List::default() },
        };
        let seen = Arc::new(seen);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&seen));
        Ok(seen)
    }
}

/// Commits a transaction if nothing is barred but what was seen.
async fn attempt(
    store: &dyn Store,
    seen: &Seen,
    transaction: &Transaction,
) -> Result<Commit, StoreError> {
    let barred = &seen.list.keys;
    if !barred.is_empty() {
        refuse(store, transaction, |key| barred.contains_key(&List::name(key))).await?;
    }
    store.commit(seen.guard(transaction.clone())).await
}

/// Whether an entry is one of those that have key tokens.
fn has_tokens(write: &Write) -> bool {
    let Write::Put(key, _) = write else { return false };
    PREFIXES.iter().any(|prefix| key.starts_with(prefix.as_bytes()))
}

fn unreadable(error: &RecordError) -> StoreError {
    StoreError::Engine(format!("{}: {error}", String::from_utf8_lossy(KEY)))
}

fn contended() -> StoreError {
    let text = "other daemons bar domain keys all the time; try again";
    StoreError::Engine(text.to_owned())
}

#[cfg(test)]
mod tests {
    use kms_store::MemoryStore;

    use super::super::tests::{DOMAIN, system_key};
    use super::super::{Barred, Barrier};
    use super::*;

    /// Two daemons on one store.
    fn daemons() -> (Arc<MemoryStore>, [Arc<Barrier>; 2]) {
        let store = Arc::new(MemoryStore::shared());
        let daemon = || Barrier::new(Arc::clone(&store) as Arc<dyn Store>);
        let both = [daemon(), daemon()];
        (store, both)
    }

    async fn is_refused(store: &Barrier, transaction: Transaction) -> bool {
        match store.commit(transaction).await {
            Err(StoreError::Barred) => true,
            Ok(Commit::Applied { .. }) => false,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_one_daemon_bars_no_other_one_stores() {
        let (store, [one, two]) = daemons();
        // The other one has looked before.
        assert!(!is_refused(&two, system_key(DOMAIN, 1)).await);
        one.bar(DOMAIN, &[1, 3]).await.unwrap();
        for daemon in [&one, &two, &Barrier::new(store)] {
            assert!(is_refused(daemon, system_key(DOMAIN, 1)).await);
            assert!(is_refused(daemon, system_key(DOMAIN, 3)).await);
            assert!(!is_refused(daemon, system_key(DOMAIN, 2)).await);
            assert!(!is_refused(daemon, system_key(DomainId([9; 16]), 1)).await);
            assert!(!is_refused(daemon, Transaction::new().put("aliases/x", *b"1")).await);
        }
        one.unbar(DOMAIN, &[1]).await.unwrap();
        assert!(!is_refused(&two, system_key(DOMAIN, 1)).await);
        assert!(is_refused(&two, system_key(DOMAIN, 3)).await);
    }

    /// A commit that was prepared before a key was barred, and reaches the store after that.
    #[tokio::test]
    async fn a_commit_that_was_on_its_way_is_not_made() {
        let (store, [one, two]) = daemons();
        assert!(!is_refused(&two, system_key(DOMAIN, 2)).await);
        let Barred::Agreed(agreed) = &two.barred else { panic!("it is shared") };
        let late = agreed.known().unwrap().guard(system_key(DOMAIN, 1));
        one.bar(DOMAIN, &[1]).await.unwrap();
        assert_eq!(store.commit(late).await.unwrap(), Commit::Conflict);
    }

    #[tokio::test]
    async fn a_daemon_takes_back_what_it_has_barred_itself() {
        let (_, [one, two]) = daemons();
        one.bar(DOMAIN, &[1]).await.unwrap();
        two.bar(DOMAIN, &[1]).await.unwrap();
        one.unbar(DOMAIN, &[1]).await.unwrap();
        assert!(is_refused(&one, system_key(DOMAIN, 1)).await, "the other one may remove it");
        two.unbar(DOMAIN, &[1]).await.unwrap();
        assert!(!is_refused(&one, system_key(DOMAIN, 1)).await);
    }

    /// The conflict of the caller's own conditions is told as such, and not tried again.
    #[tokio::test]
    async fn a_conflict_is_told() {
        let (_, [one, two]) = daemons();
        one.bar(DOMAIN, &[3]).await.unwrap();
        for daemon in [&one, &two] {
            let absent = || system_key(DOMAIN, 1).absent("system-keys/us-east-1");
            let first = daemon.commit(absent()).await.unwrap();
            assert_eq!(first == Commit::Conflict, Arc::ptr_eq(daemon, &two));
            assert_eq!(daemon.commit(absent()).await.unwrap(), Commit::Conflict);
        }
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_stops_commits_of_tokens() {
        let (store, [one, _]) = daemons();
        let _ = store.commit(Transaction::new().put(KEY, *b"{}")).await.unwrap();
        let refused = one.commit(system_key(DOMAIN, 1)).await.unwrap_err().to_string();
        assert!(refused.contains("service/barred-domain-keys"), "{refused}");
        assert!(!is_refused(&one, Transaction::new().put("aliases/x", *b"1")).await);
    }
}
