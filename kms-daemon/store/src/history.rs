//! The latest changes of a store, kept in memory for its watchers.
//!
//! A process that restarts has no watchers left, so nothing of this is stored: history starts at
//! the revision the store was opened with.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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
    /// Changes in the order of their revisions.
    changes: VecDeque<Arc<Change>>,
    /// All changes after this one are in `changes`.
    compacted: Revision,
    /// What the watches that are in use have dealt with.
    watches: Vec<Weak<AtomicU64>>,
}

impl History {
    /// A history without changes, of a store at `revision`.
    pub(super) fn new(revision: Revision) -> Self {
        let ring = Ring { changes: VecDeque::new(), compacted: revision, watches: Vec::new() };
        Self { ring: Arc::new(Mutex::new(ring)), latest: watch::Sender::new(revision) }
    }

    /// Adds the change at `revision`, which must be after all others.
    pub(super) fn publish(&self, revision: Revision, events: Vec<Event>) {
        let mut ring = self.ring();
        debug_assert!(revision > *self.latest.borrow());
        if ring.changes.len() == CAPACITY
            && let Some(oldest) = ring.changes.pop_front()
        {
            ring.compacted = oldest.revision;
        }
        ring.changes.push_back(Arc::new(Change { revision, events }));
        self.latest.send_replace(revision);
    }

    /// The changes before `oldest` are gone; they may have been missed.
    pub(super) fn compact(&self, oldest: Revision) {
        let mut ring = self.ring();
        let before = Revision(oldest.0.saturating_sub(1));
        if before > *self.latest.borrow() {
            ring.changes.clear();
            ring.compacted = before;
            self.latest.send_replace(before);
        }
    }

    /// The revision of the last change.
    pub(super) fn latest(&self) -> Revision {
        *self.latest.borrow()
    }

    /// Whether every watch has dealt with every change there is.
    pub(super) fn is_dealt_with(&self) -> bool {
        let mut ring = self.ring();
        let latest = ring.changes.back().map_or(ring.compacted, |change| change.revision);
        ring.watches.retain(|watch| watch.strong_count() > 0);
        let mut watches = ring.watches.iter().filter_map(Weak::upgrade);
        watches.all(|watch| watch.load(Ordering::Acquire) >= latest.0)
    }

    /// A watch of the changes after `after`.
    pub(super) fn watch(&self, after: Revision) -> HistoryWatch {
        let dealt_with = Arc::new(AtomicU64::new(after.0));
        self.ring().watches.push(Arc::downgrade(&dealt_with));
        HistoryWatch {
            ring: Arc::clone(&self.ring),
            latest: self.latest.subscribe(),
            reported: after,
            dealt_with,
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
    /// What was reported before the last call of [`Watch::next`].
    dealt_with: Arc<AtomicU64>,
}

impl Watch for HistoryWatch {
    fn next(&mut self) -> StoreFuture<'_, Result<Arc<Change>, WatchError>> {
        Box::pin(async move {
            // The caller has dealt with what it was given before.
            self.dealt_with.store(self.reported.0, Ordering::Release);
            let reported = self.reported;
            self.latest
                .wait_for(|latest| *latest > reported)
                .await
                .map_err(|_| WatchError::Closed)?;
            let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let compacted = WatchError::Compacted { oldest: ring.compacted.next() };
            if reported < ring.compacted {
                return Err(compacted);
            }
            let index = ring.changes.partition_point(|change| change.revision <= reported);
            let change = ring.changes.get(index).ok_or(compacted)?;
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
