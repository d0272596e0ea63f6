//! A store that takes no key tokens under domain keys that are being removed.
//!
//! A domain key is dropped once no token is under it. A request that has had such a token made a moment
//! before must not store it a moment after: its key would never open again. So the keys are *barred*
//! first; what was on its way is in the store by then, and is counted, and what comes later is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use hsm_protocol::DomainId;
use tokio::sync::RwLock;

use super::{
    Commit, Entry, Page, Range, Revision, Snapshot, Store, StoreError, StoreFuture, Transaction,
    Watch, Write,
};
use crate::key::tokens;

/// A store in front of another one.
pub struct Barrier {
    inner: Arc<dyn Store>,
    barred: Arc<RwLock<BTreeSet<(DomainId, u32)>>>,
}

impl Barrier {
    /// Nothing is barred at first.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, barred: Arc::default() })
    }

    /// Takes no tokens under these keys of a domain from now on. When it returns, every commit that
    /// began before is at its end.
    pub async fn bar(&self, domain: DomainId, keys: &[u32]) {
        self.barred.write().await.extend(keys.iter().map(|key| (domain, *key)));
    }

    /// Takes them again: the keys stay.
    pub async fn unbar(&self, domain: DomainId, keys: &[u32]) {
        let mut barred = self.barred.write().await;
        barred.retain(|(of, key)| *of != domain || !keys.contains(key));
    }
}

impl Store for Barrier {
    fn get<'a>(
        &'a self,
        key: &'a [u8],
    ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>> {
        self.inner.get(key)
    }

    fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>> {
        self.inner.range(range)
    }

    fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>> {
        let (inner, barred) = (Arc::clone(&self.inner), Arc::clone(&self.barred));
        Box::pin(async move {
            let barred = barred.read_owned().await;
            if !barred.is_empty() && transaction.writes.iter().any(|write| is_under(write, &barred)) {
                return Err(StoreError::Barred);
            }
            // To its end, whether or not somebody still waits for it: it may be applied either way.
            let committing = tokio::spawn(async move {
                let done = inner.commit(transaction).await;
                drop(barred);
                done
            });
            committing.await.map_err(|error| StoreError::Engine(error.to_string()))?
        })
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        self.inner.watch(after)
    }
}

/// Whether a token is stored that is under one of these keys. What cannot be read has none.
fn is_under(write: &Write, barred: &BTreeSet<(DomainId, u32)>) -> bool {
    let Write::Put(key, value) = write else { return false };
    let Ok(Some(holder)) = tokens::holder(key, value) else { return false };
    holder.tokens.iter().filter_map(|token| tokens::place(token)).any(|place| barred.contains(&place))
}
