//! The store on an etcd cluster, which several daemons share.
//!
//! Every call goes to one member, and to the next one when that does not answer; each has a
//! deadline. Reads are linearizable. A transaction whose outcome is not known is not made again:
//! see [`StoreError::Engine`].

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::history::History;
use super::{
    Commit, Entry, Guard, Page, Range, Revision, Snapshot, Store, StoreError, StoreFuture,
    Transaction, Watch, Write,
};

mod cluster;
mod grpc;
mod keys;
mod messages;
mod options;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod watcher;
mod wire;

use self::cluster::{Cluster, Kind};
use self::grpc::{OUT_OF_RANGE, Status};
use self::keys::Keys;
use self::messages::{KeyValue, RangeRequest, RangeResponse, TxnResponse};
pub use self::options::{Endpoint, EtcdOptions, EtcdOptionsError, Login, check_prefix, client_tls};
use self::watcher::Watcher;

/// Most bytes in a transaction: etcd's default limit on a request, 1.5 MiB, less what etcd adds.
pub const MAX_TRANSACTION: usize = (3 << 19) - (4 << 10);
/// Most entries that are read at once. With values of the longest size they are 64 MiB.
const CHUNK: usize = 64;
/// How often a range read begins again when the revision it reads at is compacted meanwhile.
const RESTARTS: usize = 3;

/// A store on an etcd cluster.
pub struct EtcdStore {
    cluster: Arc<Cluster>,
    keys: Keys,
    history: History,
    watcher: Arc<Watcher>,
    tasks: Vec<JoinHandle<()>>,
}

impl EtcdStore {
    /// Connects to the cluster and begins to watch it.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if the cluster does not answer, or refuses the user.
    pub async fn open(options: EtcdOptions) -> Result<Self, StoreError> {
        let keys = Keys::under(&options.prefix);
        let cluster = Arc::new(Cluster::new(options));
        let begin = Instant::now();
        let request = RangeRequest { key: keys.beat(), limit: 1, ..RangeRequest::default() };
        let response = read(&cluster, &request).await.map_err(|status| engine(&status))?;
        let history = History::new(response.header.revision);
        let watcher = Watcher::new(
            Arc::clone(&cluster),
            keys.clone(),
            history.clone(),
            (response.header.cluster, begin),
        );
        let (watching, looking) = (Arc::clone(&watcher), Arc::clone(&watcher));
        let tasks = vec![
            tokio::spawn(async move { watching.watch().await }),
            tokio::spawn(async move { looking.look().await }),
        ];
        Ok(Self { cluster, keys, history, watcher, tasks })
    }

    /// The number that the cluster has for itself, and a revision that it has had: the last that was reported here.
    #[must_use]
    pub fn reached(&self) -> (u64, Revision) {
        self.watcher.reached()
    }

    /// Uses the certificates and the user of `options` from now on, once the cluster has answered to them. The members and
    /// the prefix stay. The watch keeps the connection that it has until that ends.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if the cluster does not answer to them: those from before are still used.
    pub async fn renew(&self, options: EtcdOptions) -> Result<(), StoreError> {
        let fresh = Cluster::new(options);
        let request = RangeRequest { key: self.keys.beat(), limit: 1, ..RangeRequest::default() };
        read(&fresh, &request).await.map_err(|status| engine(&status))?;
        self.cluster.adopt(fresh).await;
        Ok(())
    }

    /// Reads a range as it was at a revision.
    pub(crate) async fn range_at(
        &self,
        range: &Range,
        revision: Revision,
    ) -> Result<Page, StoreError> {
        let read = self.read_range(range, revision).await;
        read.map(|read| read.value).map_err(|status| engine(&status))
    }

    /// Reads a range in chunks, all at one revision: the given one, or that of the first if it is zero.
    async fn read_range(&self, range: &Range, at: Revision) -> Result<Snapshot<Page>, Status> {
        let after = range.after.as_ref().filter(|after| **after >= range.prefix);
        let mut start = self.keys.of(after.unwrap_or(&range.prefix));
        if after.is_some() {
            start.push(0); // the first key after it
        }
        let end = self.keys.end(&range.prefix);
        let mut revision = at;
        let mut page = Page { entries: Vec::new(), more: start < end };
        if !page.more {
            let key = start.clone();
            let request = RangeRequest { key, limit: 1, ..RangeRequest::default() };
            revision = read(&self.cluster, &request).await?.header.revision;
        }
        while page.more && page.entries.len() < range.limit {
            let limit = CHUNK.min(range.limit - page.entries.len());
            let (key, end, limit) = (start.clone(), end.clone(), limit as u64);
            let read = read(&self.cluster, &RangeRequest { key, end, limit, revision }).await?;
            if revision == Revision::default() {
                revision = read.header.revision;
            }
            page.more = read.more;
            if let Some(last) = read.entries.last() {
                start = [&*last.key, &[0]].concat();
            }
            page.entries.extend(read.entries.into_iter().filter_map(|found| self.entry(found)));
        }
        Ok(Snapshot { revision, value: page })
    }

    fn entry(&self, found: KeyValue) -> Option<Entry> {
        let key = self.keys.key_of(&found.key)?.to_vec();
        Some(Entry { key, value: (&*found.value).into(), revision: found.revision })
    }

    /// The request for a transaction.
    fn request(&self, transaction: &Transaction) -> Result<Vec<u8>, StoreError> {
        transaction.check()?;
        let comparisons = transaction.guards.iter().map(|guard| match guard {
            Guard::Absent(key) => messages::absent(&self.keys.of(key)),
            Guard::Unchanged(key, revision) => messages::unchanged(&self.keys.of(key), *revision),
        });
        let operations = transaction.writes.iter().map(|write| match write {
            Write::Put(key, value) => messages::put(&self.keys.of(key), value),
            Write::Delete(key) => messages::delete(&self.keys.of(key)),
        });
        // Without a linearizable operation a member would answer from what it has.
        let only_read = transaction.writes.is_empty().then(|| messages::get(&self.keys.beat()));
        let message = messages::transaction(comparisons, operations.chain(only_read));
        match message.len() <= MAX_TRANSACTION {
            true => Ok(message),
            false => Err(StoreError::Invalid("a transaction is too large for etcd")),
        }
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Store for EtcdStore {
    fn get<'a>(
        &'a self,
        key: &'a [u8],
    ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>> {
        Box::pin(async move {
            let request =
                RangeRequest { key: self.keys.of(key), limit: 1, ..RangeRequest::default() };
            let read = read(&self.cluster, &request).await.map_err(|status| engine(&status))?;
            let value = read.entries.into_iter().next().and_then(|found| self.entry(found));
            Ok(Snapshot { revision: read.header.revision, value })
        })
    }

    fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>> {
        Box::pin(async move {
            let mut outcome = self.read_range(&range, Revision::default()).await;
            for _ in 0..RESTARTS {
                if !outcome.as_ref().is_err_and(|status| status.code == OUT_OF_RANGE) {
                    break;
                }
                outcome = self.read_range(&range, Revision::default()).await;
            }
            outcome.map_err(|status| engine(&status))
        })
    }

    fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>> {
        let cluster = Arc::clone(&self.cluster);
        let prepared = self.request(&transaction);
        // A transaction that writes nothing can be made twice.
        let kind = if transaction.writes.is_empty() { Kind::Read } else { Kind::Write };
        Box::pin(async move {
            let message = prepared?;
            // To its end, whether or not the caller still waits for it.
            let committing =
                tokio::spawn(async move { cluster.call(messages::TXN, &message, kind).await });
            let response =
                committing.await.map_err(|error| StoreError::Engine(error.to_string()))?;
            let response = response.map_err(|status| engine(&status))?;
            let done =
                TxnResponse::read(response).map_err(|e| StoreError::Engine(e.to_string()))?;
            Ok(match done.succeeded {
                true => Commit::Applied { revision: done.header.revision },
                false => Commit::Conflict,
            })
        })
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        Box::new(self.history.watch(after))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn lag(&self) -> Duration {
        self.watcher.lag()
    }
}

async fn read(cluster: &Cluster, request: &RangeRequest) -> Result<RangeResponse, Status> {
    let message = request.write().finish();
    let response = cluster.call(messages::RANGE, &message, Kind::Read).await?;
    RangeResponse::read(response).map_err(Status::sent)
}

fn engine(status: &Status) -> StoreError {
    StoreError::Engine(format!("etcd: {status}"))
}
