//! A lease: of all processes that have a store open, one at a time holds it.
//!
//! The lease is a record that names its holder, who writes it again three times in a [`TERM`]. The
//! others look at the revision of the record: one who has seen the same revision for a whole term
//! takes the lease over. The holder counts its term from before it has written the record, so it
//! gives the lease up before anybody can take it. Terms are measured by the steady clock of each
//! process; what time of day it is does not matter.
//!
//! A lease saves work from being done twice; it does not keep a holder that was suspended in the
//! middle of it from going on. So whoever works under a lease guards each change by the revision
//! that was read, as everybody else does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Commit, Revision, Store, StoreError, Transaction};

/// The key of the lease on scheduled work. It is of the daemons that run, and of no use to others.
pub const SCHEDULED_WORK: &[u8] = b"service/lease";
/// How long a lease is held without being renewed.
pub const TERM: Duration = Duration::from_secs(15);
/// How often the record is written by the holder, and looked at by the others.
const RENEWAL: Duration = Duration::from_secs(5);

/// A lease as one process sees it.
pub struct Lease {
    store: Arc<dyn Store>,
    key: Vec<u8>,
    /// Who this process is, among those that have the store open.
    holder: Arc<[u8]>,
    view: Mutex<View>,
    taken: Notify,
}

/// What is known of the record.
#[derive(Debug, Clone, Copy)]
enum View {
    /// Nothing yet, or it has just been seen to be absent.
    Unknown,
    /// It is of another process, and has been at that revision since then.
    Other(Revision, Instant),
    /// It is of this process, up to then.
    Own(Revision, Instant),
}

impl Lease {
    /// A lease that is recorded under `key`. `holder` is different for each process.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, key: impl Into<Vec<u8>>, holder: [u8; 16]) -> Self {
        Self {
            store,
            key: key.into(),
            holder: Arc::from(holder),
            view: Mutex::new(View::Unknown),
            taken: Notify::new(),
        }
    }

    /// Whether this process holds the lease now. No other process can have a store open that is not
    /// shared, so there the answer is always yes.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.store.is_shared()
            || matches!(*self.view(), View::Own(_, until) if Instant::now() < until)
    }

    /// Waits until this process holds the lease.
    pub async fn held(&self) {
        let mut taken = std::pin::pin!(self.taken.notified());
        loop {
            // Before the look, so that what happens after it is not missed.
            taken.as_mut().enable();
            if self.is_held() {
                return;
            }
            taken.as_mut().await;
            taken.set(self.taken.notified());
        }
    }

    /// Takes and renews the lease whenever that is due, until the future is dropped.
    pub async fn keep(&self) {
        if !self.store.is_shared() {
            return std::future::pending().await;
        }
        loop {
            let had = self.is_held();
            match self.renew().await {
                Ok(()) if self.is_held() && !had => {
                    tracing::info!("this daemon does the scheduled work of the installation now");
                    self.taken.notify_waiters();
                }
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "cannot renew the lease on scheduled work"),
            }
            tokio::time::sleep(RENEWAL).await;
        }
    }

    /// Gives the lease up, so that another process need not wait for the end of the term.
    ///
    /// # Errors
    /// [`StoreError`]; the lease ends by itself then.
    pub async fn release(&self) -> Result<(), StoreError> {
        let View::Own(revision, _) = *self.view() else { return Ok(()) };
        *self.view() = View::Unknown;
        let transaction = Transaction::new().unchanged(&*self.key, revision).delete(&*self.key);
        // After a conflict it is somebody else's.
        let (Commit::Applied { .. } | Commit::Conflict) = self.store.commit(transaction).await?;
        Ok(())
    }

    /// Writes the record if this process may, or looks at it.
    async fn renew(&self) -> Result<(), StoreError> {
        let begin = Instant::now();
        let view = *self.view();
        let transaction = match view {
            View::Own(revision, _) => Transaction::new().unchanged(&*self.key, revision),
            View::Other(revision, since) if since + TERM < begin => {
                Transaction::new().unchanged(&*self.key, revision)
            }
            View::Other(..) => return self.look(begin).await,
            View::Unknown => Transaction::new().absent(&*self.key),
        };
        let transaction = transaction.put(&*self.key, Arc::clone(&self.holder));
        match self.store.commit(transaction).await? {
            Commit::Applied { revision } => {
                *self.view() = View::Own(revision, begin + TERM);
                Ok(())
            }
            Commit::Conflict => self.look(begin).await,
        }
    }

    /// Learns whose record it is, and since when.
    async fn look(&self, begin: Instant) -> Result<(), StoreError> {
        let found = self.store.get(&self.key).await?.value;
        let mut view = self.view();
        *view = match (found, *view) {
            (None, _) => View::Unknown,
            // A renewal whose answer was lost. It was written before now; from when on is not known.
            (Some(entry), _) if entry.value == self.holder => View::Own(entry.revision, begin),
            (Some(entry), View::Other(revision, since)) if revision == entry.revision => {
                View::Other(revision, since)
            }
            // Only from the look on is it known that it has this revision.
            (Some(entry), _) => View::Other(entry.revision, Instant::now()),
        };
        Ok(())
    }

    fn view(&self) -> std::sync::MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    fn processes<const N: usize>() -> [Arc<Lease>; N] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::shared());
        std::array::from_fn(|n| {
            let holder = [u8::try_from(n).unwrap(); 16];
            Arc::new(Lease::new(Arc::clone(&store), *b"service/lease", holder))
        })
    }

    fn keep(lease: &Arc<Lease>) -> tokio::task::JoinHandle<()> {
        let lease = Arc::clone(lease);
        tokio::spawn(async move { lease.keep().await })
    }

    #[tokio::test(start_paused = true)]
    async fn one_holds_it_and_the_others_never_do() {
        let all = processes::<3>();
        let _tasks = all.each_ref().map(keep);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let holder = all.iter().position(|lease| lease.is_held()).expect("somebody holds it");
        for _ in 0..1000 {
            tokio::time::sleep(Duration::from_millis(137)).await;
            for (n, lease) in all.iter().enumerate() {
                assert_eq!(lease.is_held(), n == holder);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stops_is_followed_after_a_term_and_never_overlapped() {
        let mut running: Vec<_> =
            processes::<3>().into_iter().map(|lease| (keep(&lease), lease)).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(holder) = running.iter().position(|(_, lease)| lease.is_held()) {
            let (task, stopped) = running.remove(holder);
            task.abort();
            let begin = Instant::now();
            while begin.elapsed() < 2 * TERM {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let leases = running.iter().map(|(_, lease)| lease).chain([&stopped]);
                assert!(leases.filter(|lease| lease.is_held()).count() <= 1, "two hold it");
            }
            // One that is suspended believes nothing when it goes on.
            assert!(!stopped.is_held());
        }
        assert!(running.is_empty(), "nobody takes it");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_released_is_taken_at_the_next_look() {
        let [first, second] = processes();
        let task = keep(&first);
        first.held().await;
        let _other = keep(&second);
        tokio::time::sleep(Duration::from_secs(1)).await;
        task.abort();
        first.release().await.unwrap();
        assert!(!first.is_held());
        tokio::time::timeout(2 * RENEWAL, second.held()).await.expect("taken");
        // What the first one does later changes nothing.
        first.release().await.unwrap();
        first.renew().await.unwrap();
        assert!(second.is_held() && !first.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_lost_is_made_good_by_the_next_renewal() {
        let [first, second] = processes();
        first.renew().await.unwrap();
        // Written, but the process does not know it.
        *first.view() = View::Unknown;
        first.renew().await.unwrap();
        assert!(!first.is_held(), "from when on is not known");
        first.renew().await.unwrap();
        second.renew().await.unwrap();
        assert!(first.is_held() && !second.is_held());
    }

    #[tokio::test]
    async fn a_store_of_one_process_needs_no_record() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let lease = Lease::new(Arc::clone(&store), *b"service/lease", [1; 16]);
        lease.held().await;
        lease.release().await.unwrap();
        assert!(store.get(b"service/lease").await.unwrap().value.is_none());
    }
}
