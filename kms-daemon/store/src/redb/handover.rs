//! A store's file that takes the records of another store, or gives its own up to one.

use std::io;
use std::path::Path;

use super::{ELSEWHERE, RedbStore, engine, sync_directory};
use crate::import::{MARK, Mark};
use crate::{BlockingReads as _, StoreError};

impl RedbStore {
    /// Opens the file, or makes it, in whatever state it is: for an import, which looks itself.
    ///
    /// # Errors
    /// See [`RedbStore::open`].
    pub fn open_for_import(path: &Path) -> Result<Self, StoreError> {
        Self::open_any(path, None)
    }

    /// Has the file say that the records are in it, and no longer elsewhere. Removes the fact `done` as well.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_records(&self, done: &str) -> Result<(), StoreError> {
        self.set_facts(vec![(ELSEWHERE.to_owned(), None), (done.to_owned(), None)]).await
    }

    /// Replaces the file `path`, which is this store, by one with its revision and facts, and without its records:
    /// they are at `place`. Either the former file is there or the new one, whenever the machine stops. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Engine`]; the store is as it was then.
    pub fn give_up_records(self, path: &Path, place: &str) -> Result<(), StoreError> {
        let staged = path.with_extension("redb.new");
        match std::fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(engine(error)),
            _ => {}
        }
        self.snapshot()?.write_facts_to(&staged, place)?;
        drop(self);
        std::fs::rename(&staged, path).map_err(engine)?;
        sync_directory(path).map_err(engine)
    }

    /// Passes a store on whose import, if there was one, came to its end.
    pub(super) fn ensure_whole(self) -> Result<Self, StoreError> {
        let mark = self.get_blocking(MARK)?;
        Mark::ensure_complete(mark.as_ref().map(|entry| &*entry.value))?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::State;
    use crate::{Revision, Store as _, Transaction};
    use kms_base::record::{Record as _, Version};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_gives_its_records_up_keeps_revision_and_facts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let store = RedbStore::open(&path).unwrap();
        store.set_facts(vec![("id".to_owned(), Some(vec![7; 16]))]).await.unwrap();
        let secret = b"a token of a key that is to be found nowhere".to_vec();
        let _ = store.commit(Transaction::new().put("key", secret.clone())).await.unwrap();
        std::fs::write(path.with_extension("redb.new"), "left by a crash").unwrap();
        store.give_up_records(&path, "etcd:a").unwrap();
        let file = std::fs::read(&path).unwrap();
        assert!(!file.windows(secret.len()).any(|part| part == secret), "a record is left");
        assert!(matches!(RedbStore::open(&path), Err(StoreError::Elsewhere(at)) if at == "etcd:a"));
        let store = RedbStore::open_beside(&path, None, "etcd:b").await.unwrap();
        assert_eq!(store.fact("id").unwrap(), Some(vec![7; 16]));
        assert_eq!(store.revision()(), Revision(1));
        assert_eq!(store.get_blocking(b"key").unwrap(), None);
        // And back.
        let _ = store.commit(Transaction::new().put("key", [1])).await.unwrap();
        store.take_records("moving").await.unwrap();
        drop(store);
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.revision()(), Revision(2));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_was_imported_in_part_opens_for_the_import_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let store = RedbStore::open_for_import(&path).unwrap();
        let (file, after) = ("ab".repeat(32), Vec::new());
        let mark = Mark { version: Version, file, state: State::UnderWay, records: 0, after };
        let _ = store.commit(Transaction::new().put(MARK, mark.encode().unwrap())).await.unwrap();
        drop(store);
        assert!(matches!(RedbStore::open(&path), Err(StoreError::HalfImported { .. })));
        let store = RedbStore::open_for_import(&path).unwrap();
        drop(store);
        assert!(matches!(RedbStore::open(&path), Err(StoreError::HalfImported { .. })));
    }
}
