//! All records of a store at one revision, page by page, while others change it.

use std::sync::Arc;

use super::{
    Entry, EtcdStore, Range, RedbStore, Revision, Store, StoreError, StoreSnapshot, import,
};

/// Entries that are read at a time. With values of the longest size they are 64 MiB.
const PAGE: usize = 64;

/// A walk over all records as they were at one revision, in the order of their keys.
pub struct Scan {
    source: Source,
    revision: Revision,
    /// The last key that was returned.
    after: Option<Vec<u8>>,
    is_done: bool,
}

#[derive(Clone)]
enum Source {
    Redb(Arc<StoreSnapshot>),
    Etcd(Arc<EtcdStore>),
}

impl Scan {
    /// A walk over a store in a file as it is now.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn of_redb(store: &RedbStore) -> Result<Self, StoreError> {
        let snapshot = store.snapshot()?;
        let revision = snapshot.revision();
        let source = Source::Redb(Arc::new(snapshot));
        Ok(Self { source, revision, after: None, is_done: false })
    }

    /// A walk over a store on etcd as it is now. The cluster has to keep former values for as long as the walk takes.
    ///
    /// # Errors
    /// [`StoreError::Engine`]; [`StoreError::HalfImported`] if an import into it did not come to its end.
    pub async fn of_etcd(store: Arc<EtcdStore>) -> Result<Self, StoreError> {
        let read = store.get(import::MARK).await?;
        import::Mark::ensure_complete(read.value.as_ref().map(|entry| &*entry.value))?;
        let revision = read.revision;
        Ok(Self { source: Source::Etcd(store), revision, after: None, is_done: false })
    }

    /// Another walk over the same records, from the first one on.
    #[must_use]
    pub fn again(&self) -> Self {
        let (source, revision) = (self.source.clone(), self.revision);
        Self { source, revision, after: None, is_done: false }
    }

    /// The revision of the records.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The next entries; empty at the end.
    ///
    /// # Errors
    /// [`StoreError::Engine`], also if the cluster has compacted the revision meanwhile.
    pub async fn next(&mut self) -> Result<Vec<Entry>, StoreError> {
        if self.is_done {
            return Ok(Vec::new());
        }
        let range = Range { prefix: Vec::new(), after: self.after.take(), limit: PAGE };
        let page = match &self.source {
            Source::Etcd(store) => store.range_at(&range, self.revision).await?,
            Source::Redb(snapshot) => {
                let snapshot = Arc::clone(snapshot);
                let read = tokio::task::spawn_blocking(move || snapshot.range(&range));
                read.await.map_err(|error| StoreError::Engine(error.to_string()))??
            }
        };
        self.is_done = !page.more;
        self.after = page.entries.last().map(|entry| entry.key.clone());
        Ok(page.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transaction;
    use crate::etcd::testing::EtcdCluster;

    /// So many entries that a walk has several pages, and that the walk goes on while they are changed.
    async fn check(store: &dyn Store, scan: impl AsyncFnOnce() -> Scan) {
        let put = |n: usize| Transaction::new().put(format!("k/{n:04}"), n.to_le_bytes());
        for n in 0..3 * PAGE {
            let _ = store.commit(put(n)).await.unwrap();
        }
        let mut scan = scan().await;
        let mut found = scan.next().await.unwrap();
        assert_eq!(found.len(), PAGE);
        let later = Transaction::new().put("k/0100", *b"x").delete("k/0101").put("k/0000a", *b"y");
        let _ = store.commit(later.put("z", *b"z")).await.unwrap();
        loop {
            let page = scan.next().await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        let expected = (0..3 * PAGE).map(|n| (format!("k/{n:04}"), n.to_le_bytes().to_vec()));
        let found = found.into_iter().map(|entry| {
            assert!(entry.revision <= scan.revision());
            (String::from_utf8(entry.key).unwrap(), entry.value.to_vec())
        });
        assert!(found.eq(expected), "the walk is not of one revision");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_walk_over_a_file_is_of_one_revision() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&dir.path().join("store.redb")).unwrap();
        check(&store, async || Scan::of_redb(&store).unwrap()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_walk_over_etcd_is_of_one_revision() {
        let starting = tokio::task::spawn_blocking(|| EtcdCluster::start(1));
        let cluster = starting.await.unwrap();
        let store = Arc::new(EtcdStore::open(cluster.options("/scan")).await.unwrap());
        let scanned = Arc::clone(&store);
        check(&*store, async || Scan::of_etcd(scanned).await.unwrap()).await;
    }
}
