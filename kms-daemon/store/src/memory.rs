//! The store for tests: a map in memory that is as durable as its process. It can stand for a store
//! that several processes have open.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::history::History;
use super::{
    Commit, Entry, Page, Range, Revision, Snapshot, Store, StoreError, StoreFuture, Table,
    Transaction, Watch, apply,
};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    history: History,
    is_shared: bool,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    entries: BTreeMap<Vec<u8>, (Revision, Arc<[u8]>)>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let history = History::new(Revision::default());
        Self { state: Mutex::default(), history, is_shared: false }
    }

    /// An empty store, whose users in this process are like several processes to it.
    #[must_use]
    pub fn shared() -> Self {
        Self { is_shared: true, ..Self::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get_now(&self, key: &[u8]) -> Snapshot<Option<Entry>> {
        let state = self.state();
        let value = state.entries.get(key).map(|(revision, value)| Entry {
            key: key.to_vec(),
            value: Arc::clone(value),
            revision: *revision,
        });
        Snapshot { revision: state.revision, value }
    }

    fn range_now(&self, range: &Range) -> Snapshot<Page> {
        let state = self.state();
        let after = range.after.as_ref().filter(|after| **after >= range.prefix);
        let start = after.map_or(Bound::Included(&range.prefix), Bound::Excluded);
        let mut matching = state
            .entries
            .range::<Vec<u8>, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&range.prefix));
        let entries = matching
            .by_ref()
            .take(range.limit)
            .map(|(key, (revision, value))| Entry {
                key: key.clone(),
                value: Arc::clone(value),
                revision: *revision,
            })
            .collect();
        Snapshot {
            revision: state.revision,
            value: Page { entries, more: matching.next().is_some() },
        }
    }

    fn commit_now(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        transaction.check()?;
        let mut state = self.state();
        let revision = state.revision.next();
        let Ok(outcome) = apply(transaction, revision, &mut state.entries);
        let Some(events) = outcome else { return Ok(Commit::Conflict) };
        if events.is_empty() {
            return Ok(Commit::Applied { revision: state.revision });
        }
        state.revision = revision;
        self.history.publish(revision, events);
        Ok(Commit::Applied { revision })
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn get<'a>(
        &'a self,
        key: &'a [u8],
    ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>> {
        Box::pin(async move { Ok(self.get_now(key)) })
    }

    fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>> {
        Box::pin(async move { Ok(self.range_now(&range)) })
    }

    fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>> {
        Box::pin(async move { self.commit_now(transaction) })
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        Box::new(self.history.watch(after))
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn lag(&self) -> Duration {
        Duration::ZERO
    }
}

impl Table for BTreeMap<Vec<u8>, (Revision, Arc<[u8]>)> {
    type Error = Infallible;

    fn revision(&self, key: &[u8]) -> Result<Option<Revision>, Infallible> {
        Ok(self.get(key).map(|(revision, _)| *revision))
    }

    fn put(&mut self, key: &[u8], revision: Revision, value: &Arc<[u8]>) -> Result<(), Infallible> {
        self.insert(key.to_vec(), (revision, Arc::clone(value)));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, Infallible> {
        Ok(self.remove(key).is_some())
    }
}
