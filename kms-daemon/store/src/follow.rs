//! Caches over a store that follow the changes of other processes.

use std::sync::{Arc, Weak};

use super::{Change, Revision, Store, StoreError, WatchError};

/// A cache of what a store holds.
pub trait Follower: Send + Sync + 'static {
    /// The store.
    fn store(&self) -> &Arc<dyn Store>;

    /// Drops what a change has replaced.
    fn apply(&self, change: &Change);

    /// Drops everything that was read before `revision`.
    fn clear(&self, revision: Revision);
}

/// Drops from a cache what the store says has changed since `revision`, as long as the cache
/// lives.
pub async fn follow<F: Follower>(follower: Weak<F>, mut revision: Revision) {
    let Some(store) = follower.upgrade().map(|follower| Arc::clone(follower.store())) else {
        return;
    };
    let mut watch = store.watch(revision);
    drop(store);
    loop {
        let next = watch.next().await;
        let Some(follower) = follower.upgrade() else { return };
        match next {
            Ok(change) => {
                revision = change.revision;
                follower.apply(&change);
            }
            Err(WatchError::Closed) => return,
            Err(WatchError::Compacted { oldest }) => {
                tracing::warn!(%revision, %oldest, "fell behind the store, clearing the cache");
                // What is read at `oldest` or later has every change that was missed.
                revision = oldest;
                follower.clear(revision);
                watch = follower.store().watch(revision);
            }
        }
    }
}

/// The revision of the store, from a read of a key that is never written.
///
/// # Errors
/// [`StoreError`] if the store does not answer.
pub async fn current_revision(store: &dyn Store) -> Result<Revision, StoreError> {
    Ok(store.get(b"revision").await?.revision)
}
