//! A store that counts its calls, for tests.

use std::sync::atomic::{AtomicUsize, Ordering};

use kms_store::{
    Commit, Entry, MemoryStore, Page, Range, Revision, Snapshot, Store, StoreError, StoreFuture,
    Transaction, Watch,
};

/// A store in memory that counts.
#[derive(Default)]
pub(crate) struct Counting {
    store: MemoryStore,
    calls: AtomicUsize,
}

impl Counting {
    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn count(&self) -> &MemoryStore {
        self.calls.fetch_add(1, Ordering::SeqCst);
        &self.store
    }
}

impl Store for Counting {
    fn get<'a>(
        &'a self,
        key: &'a [u8],
    ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>> {
        self.count().get(key)
    }

    fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>> {
        self.count().range(range)
    }

    fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>> {
        self.count().commit(transaction)
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        self.store.watch(after)
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn lag(&self) -> std::time::Duration {
        self.store.lag()
    }
}
