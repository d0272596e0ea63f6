//! A copy of the store as it was at one moment, while it is in use.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{
    Database, Durability, Key, ReadTransaction, ReadableDatabase as _, ReadableTable,
    TableDefinition, TableHandle, Value, WriteTransaction,
};

use super::{
    ELSEWHERE, ENTRIES, META, RedbStore, engine, read_range_in, stored_revision, sync_directory,
};
use crate::{Page, Range, Revision, StoreError};

/// What the store keeps beside its entries, if it does.
const FACTS: TableDefinition<&str, &[u8]> = TableDefinition::new("facts");
/// Entries that are copied in one transaction: what it holds in memory is bounded.
const BATCH: usize = 4096;

/// The store at one moment. Later commits do not show in it, and do not wait for it.
pub struct StoreSnapshot {
    read: ReadTransaction,
    revision: Revision,
}

impl RedbStore {
    /// The store as it is now.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        let read = self.with(|database| Ok(database.begin_read()?))?;
        let meta = read.open_table(META).map_err(engine)?;
        let revision = stored_revision(&meta).map_err(engine)?;
        Ok(StoreSnapshot { read, revision })
    }
}

impl StoreSnapshot {
    /// The revision of its last change.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Reads a range. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn range(&self, range: &Range) -> Result<Page, StoreError> {
        Ok(read_range_in(&self.read, range).map_err(engine)?.value)
    }

    /// Writes what it has beside its records to a new file: revision and facts. The records are at `place` from then
    /// on. Durable when this returns. Blocks.
    ///
    /// # Errors
    /// As [`StoreSnapshot::write_to`].
    pub(super) fn write_facts_to(&self, path: &Path, place: &str) -> Result<(), StoreError> {
        let has_facts = self.check_tables()?;
        let copy = new_file(path)?;
        let write = || -> Result<(), redb::Error> {
            let mut write = copy.begin_write()?;
            write.set_durability(Durability::Immediate)?;
            write.open_table(ENTRIES)?;
            self.copy_table(META, &write)?;
            if has_facts {
                self.copy_table(FACTS, &write)?;
            }
            write.open_table(FACTS)?.insert(ELSEWHERE, place.as_bytes())?;
            Ok(write.commit()?)
        };
        write().map_err(engine)?;
        drop(copy);
        sync_directory(path).map_err(engine)
    }

    /// Writes it to a new file, which [`RedbStore::open`] opens; durable when this returns. Free
    /// pages, in which the tokens of destroyed keys may be left, are not copied. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if the file exists, cannot be written, or the store has a table that
    /// is not known here.
    pub fn write_to(&self, path: &Path) -> Result<(), StoreError> {
        let has_facts = self.check_tables()?;
        let copy = new_file(path)?;
        self.copy(&copy, has_facts).map_err(engine)?;
        drop(copy);
        sync_directory(path).map_err(engine)
    }

    /// What is not known would not be copied. Returns whether there are facts.
    fn check_tables(&self) -> Result<bool, StoreError> {
        let tables = self.read.list_tables().map_err(engine)?;
        let names: Vec<String> = tables.map(|table| table.name().to_owned()).collect();
        let known = [ENTRIES.name(), META.name(), FACTS.name()];
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(engine(format!("the table {name} is not known"))),
            None => Ok(names.iter().any(|name| name == FACTS.name())),
        }
    }

    fn copy(&self, copy: &Database, has_facts: bool) -> Result<(), redb::Error> {
        let entries = self.read.open_table(ENTRIES)?;
        let mut rows = entries.iter()?.peekable();
        loop {
            let mut write = copy.begin_write()?;
            write.set_durability(Durability::None)?;
            {
                let mut table = write.open_table(ENTRIES)?;
                for row in rows.by_ref().take(BATCH) {
                    let (key, value) = row?;
                    table.insert(key.value(), value.value())?;
                }
            }
            if rows.peek().is_some() {
                write.commit()?;
                continue;
            }
            write.set_durability(Durability::Immediate)?;
            self.copy_table(META, &write)?;
            if has_facts {
                self.copy_table(FACTS, &write)?;
            }
            return Ok(write.commit()?);
        }
    }

    /// Copies a small table.
    fn copy_table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<K, V>,
        to: &WriteTransaction,
    ) -> Result<(), redb::Error> {
        let mut copy = to.open_table(table)?;
        for row in self.read.open_table(table)?.iter()? {
            let (key, value) = row?;
            copy.insert(key.value(), value.value())?;
        }
        Ok(())
    }
}

/// A database in a file that nobody else reads, where nothing was.
fn new_file(path: &Path) -> Result<Database, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path).map_err(engine)?;
    let backend = FileBackend::new(file).map_err(engine)?;
    Database::builder().create_with_backend(backend).map_err(engine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Commit, Range, Store, Transaction};

    async fn all(store: &RedbStore) -> Vec<(Vec<u8>, u64, Vec<u8>)> {
        let range = Range { prefix: Vec::new(), after: None, limit: usize::MAX };
        let page = store.range(range).await.unwrap().value;
        let entries = page.entries.into_iter();
        entries.map(|entry| (entry.key, entry.revision.0, entry.value.to_vec())).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn is_of_one_moment_and_opens_as_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&dir.path().join("store.redb")).unwrap();
        for number in 0..3 * u32::try_from(BATCH).unwrap() / 64 {
            let mut transaction = Transaction::new();
            for part in 0..64 {
                transaction = transaction.put(format!("{number:06}/{part}"), *b"value");
            }
            let _ = store.commit(transaction).await.unwrap();
        }
        let before = all(&store).await;
        let snapshot = store.snapshot().unwrap();
        // What comes later is not in it, and does not wait for it.
        let later = Transaction::new().put("later", *b"x").delete("000000/0");
        assert!(matches!(store.commit(later).await.unwrap(), Commit::Applied { .. }));
        let path = dir.path().join("copy.redb");
        snapshot.write_to(&path).unwrap();
        assert!(snapshot.write_to(&path).is_err(), "nothing is overwritten");
        let copy = RedbStore::open(&path).unwrap();
        assert_eq!(copy.snapshot().unwrap().revision(), snapshot.revision());
        assert_eq!(all(&copy).await, before);
        // It goes on from there.
        let next = copy.commit(Transaction::new().put("next", *b"y")).await.unwrap();
        assert_eq!(next, Commit::Applied { revision: snapshot.revision().next() });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn facts_are_copied_and_an_unknown_table_is_not_left_out_in_silence() {
        const OTHER: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("other");
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&dir.path().join("store.redb")).unwrap();
        let write = store.opened.current().unwrap().database.begin_write().unwrap();
        write.open_table(FACTS).unwrap().insert("fact", b"true".as_slice()).unwrap();
        write.commit().unwrap();
        let path = dir.path().join("with-facts");
        store.snapshot().unwrap().write_to(&path).unwrap();
        let copy = RedbStore::open(&path).unwrap();
        let read = copy.opened.current().unwrap().database.begin_read().unwrap();
        let fact = read.open_table(FACTS).unwrap().get("fact").unwrap().unwrap();
        assert_eq!(fact.value(), b"true");

        let write = store.opened.current().unwrap().database.begin_write().unwrap();
        write.open_table(OTHER).unwrap().insert("a", 1).unwrap();
        write.commit().unwrap();
        let error = store.snapshot().unwrap().write_to(&dir.path().join("copy")).unwrap_err();
        assert!(error.to_string().contains("other"), "{error}");
    }
}
