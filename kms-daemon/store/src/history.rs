//! The latest changes of an embedded store, kept in memory for its watchers.
//!
//! A process that restarts has no watchers left, so nothing of this is stored: history starts at
//! the revision the store was opened with.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Change, Event, Revision, StoreFuture, Watch, WatchError};

/// Changes kept for slow watchers.
const CAPACITY: usize = 4096;

/// The ring of recent changes. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct History {
    ring: Arc<Mutex<Ring>>,
    latest: watch::Sender<Revision>,
}

#[derive(Debug)]
struct Ring {
    /// Changes with consecutive revisions.
    changes: VecDeque<Arc<Change>>,
    /// Revision before the first element of `changes`.
    compacted: Revision,
}

impl History {
    /// A history without changes, of a store at `revision`.
    pub(super) fn new(revision: Revision) -> Self {
        Self {
            ring: Arc::new(Mutex::new(Ring { changes: VecDeque::new(), compacted: revision })),
            latest: watch::Sender::new(revision),
        }
    }

    /// Adds the change at `revision`, which must be the next one.
    pub(super) fn publish(&self, revision: Revision, events: Vec<Event>) {
        let mut ring = self.ring();
        debug_assert_eq!(revision, self.latest.borrow().next());
        if ring.changes.len() == CAPACITY
            && let Some(oldest) = ring.changes.pop_front()
        {
            ring.compacted = oldest.revision;
        }
        ring.changes.push_back(Arc::new(Change { revision, events }));
        self.latest.send_replace(revision);
    }

    /// The revision of the last change.
    pub(super) fn latest(&self) -> Revision {
        *self.latest.borrow()
    }

    /// A watch of the changes after `after`.
    pub(super) fn watch(&self, after: Revision) -> HistoryWatch {
        HistoryWatch {
            ring: Arc::clone(&self.ring),
            latest: self.latest.subscribe(),
            reported: after,
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch on a [`History`].
#[derive(Debug)]
pub(super) struct HistoryWatch {
    ring: Arc<Mutex<Ring>>,
    latest: watch::Receiver<Revision>,
    reported: Revision,
}

impl Watch for HistoryWatch {
    fn next(&mut self) -> StoreFuture<'_, Result<Arc<Change>, WatchError>> {
        Box::pin(async move {
            let wanted = self.reported.next();
            self.latest
                .wait_for(|latest| *latest >= wanted)
                .await
                .map_err(|_| WatchError::Closed)?;
            let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let oldest = ring.compacted.next();
            let change = wanted
                .0
                .checked_sub(oldest.0)
                .and_then(|index| usize::try_from(index).ok())
                .and_then(|index| ring.changes.get(index))
                .ok_or(WatchError::Compacted { oldest })?;
            self.reported = change.revision;
            Ok(Arc::clone(change))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_that_falls_behind_is_told_so() {
        let history = History::new(Revision(7));
        let mut slow = history.watch(Revision(7));
        for n in 0..=CAPACITY as u64 {
            history.publish(Revision(8 + n), Vec::new());
        }
        assert_eq!(slow.next().await, Err(WatchError::Compacted { oldest: Revision(9) }));
        let mut current = history.watch(Revision(8));
        assert_eq!(current.next().await.unwrap().revision, Revision(9));
    }

    #[tokio::test]
    async fn a_watch_ends_with_its_store() {
        let history = History::new(Revision(0));
        let mut watch = history.watch(Revision(0));
        drop(history);
        assert_eq!(watch.next().await, Err(WatchError::Closed));
    }
}
