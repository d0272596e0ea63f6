//! The embedded store: one redb file, one writer thread.
//!
//! The writer takes all waiting transactions, applies them in order inside one redb transaction and
//! makes that durable with one sync, so concurrent commits share its cost. Only then are they
//! acknowledged and shown to readers and watchers.
//!
//! A file that cannot be read or written for some time is opened again afterwards ([`opened`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, fs, io};

use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use self::opened::{OnDisk, Opened, Place};
use self::writer::Writer;
use super::history::History;
use super::{
    BlockingReads, Commit, Entry, Page, Range, Revision, Snapshot, Store, StoreError, StoreFuture,
    Transaction, Watch,
};
use kms_base::durable;
use kms_base::space::Space;

#[cfg(test)]
mod failures;
mod handover;
mod opened;
#[cfg(test)]
mod power;
mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

pub use self::snapshot::StoreSnapshot;

/// Key to (revision of the last change, value).
const ENTRIES: TableDefinition<&[u8], (u64, &[u8])> = TableDefinition::new("entries");
/// Facts about the store itself.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Row of [`META`]: revision of the last change.
const REVISION: &str = "revision";
/// Row of [`META`]: layout of the tables.
const FORMAT: &str = "format";
/// What the store knows of what is beside it (ADR 19). Not part of its history: no revision, no watch.
const FACTS: TableDefinition<&str, &[u8]> = TableDefinition::new("facts");
/// Row of [`FACTS`]: what the audit log had when the last change was made.
const LOG: &str = "log";
/// Row of [`FACTS`]: where the records are, if they are not in this file.
const ELSEWHERE: &str = "elsewhere";
/// The layout this release reads and writes.
const SUPPORTED_FORMAT: u64 = 1;
/// Most transactions that share a sync.
const MAX_GROUP: usize = 256;

/// A store in one file. Dropping it waits for the commits that are under way.
pub struct RedbStore {
    opened: Arc<Opened>,
    history: History,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    witness: Witness,
}

/// Says what the audit log has now, to be kept with each change.
type Witness = Arc<OnceLock<Box<dyn Fn() -> Vec<u8> + Send + Sync>>>;

/// Facts by their names; `None` removes one.
pub type Facts = Vec<(String, Option<Vec<u8>>)>;

#[derive(Debug)]
enum Job {
    Commit(Transaction, oneshot::Sender<Result<Commit, StoreError>>),
    Facts(Facts, oneshot::Sender<Result<(), StoreError>>),
    /// Open the file again if it has failed.
    Mend,
}

impl RedbStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if the file is damaged, in use by another process or cannot be
    /// written; [`StoreError::Format`] if a newer release wrote it; [`StoreError::Elsewhere`] if the
    /// records are not in it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_in(path, None)
    }

    /// The same, with the room on its disk looked at before each commit: what fills a disk may leave
    /// no time for the reserve to be given back, and a write that fails closes the file for a moment.
    ///
    /// # Errors
    /// See [`RedbStore::open`].
    pub fn open_in(path: &Path, space: Option<Arc<Space>>) -> Result<Self, StoreError> {
        let store = Self::open_any(path, space)?;
        match store.elsewhere()? {
            Some(place) => Err(StoreError::Elsewhere(place)),
            None => store.ensure_whole(),
        }
    }

    /// Opens a file that has facts only, as the records are at `place`. From then on it can only be
    /// opened so: whoever took it for the store would find no records.
    ///
    /// # Errors
    /// See [`RedbStore::open`]; [`StoreError::HasRecords`] if it has records.
    pub async fn open_beside(
        path: &Path,
        space: Option<Arc<Space>>,
        place: &str,
    ) -> Result<Self, StoreError> {
        let store = Self::open_any(path, space)?;
        let known = store.elsewhere()?;
        if known.is_none() && store.history.latest() != Revision::default() {
            return Err(StoreError::HasRecords);
        }
        if known.as_deref() != Some(place) {
            store.set_facts(vec![(ELSEWHERE.to_owned(), Some(place.into()))]).await?;
        }
        store.ensure_whole()
    }

    /// Where the records are, if they are not in the file. Blocks for a read.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn elsewhere(&self) -> Result<Option<String>, StoreError> {
        let place = self.fact(ELSEWHERE)?;
        Ok(place.map(|place| String::from_utf8_lossy(&place).into_owned()))
    }

    fn open_any(path: &Path, space: Option<Arc<Space>>) -> Result<Self, StoreError> {
        let opened = make_whole(path).and_then(|()| {
            // Read by the owner only: policies and the names of keys are nobody else's business.
            let file = durable::open_private(path).map_err(engine)?;
            Self::at(OnDisk::new(path, file)?, space)
        });
        opened.map_err(|error| match error {
            StoreError::Engine(text) => engine(format!(
                "{} cannot be used: {text}. If the file is damaged, put it back from a copy (kmsctl store import) \
                 or a backup (kmsctl restore)",
                path.display()
            )),
            other => other,
        })
    }

    /// The store in a file, or in what stands for one.
    fn at(place: impl Place, space: Option<Arc<Space>>) -> Result<Self, StoreError> {
        let opened = Arc::new(Opened::new(place)?);
        let revision = prepare(&opened.current()?.database)?;
        let history = History::new(revision);
        let (jobs, queue) = mpsc::channel(MAX_GROUP);
        let (shared, published) = (Arc::clone(&opened), history.clone());
        let witness = Witness::default();
        let writer = Writer::new(shared, (published, revision), space, Arc::clone(&witness));
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(engine)?;
        Ok(Self { opened, history, jobs: Some(jobs), writer: Some(writer), witness })
    }

    /// Says, from any thread, the revision that is durable now.
    pub fn revision(&self) -> impl Fn() -> Revision + Send + Sync + 'static {
        let history = self.history.clone();
        move || history.latest()
    }

    /// From now on, what `witness` says is kept with each change: what the audit log had before it.
    /// Only the first one counts.
    pub fn keep_with_changes(&self, witness: impl Fn() -> Vec<u8> + Send + Sync + 'static) {
        let _ = self.witness.set(Box::new(witness));
    }

    /// A fact that the store keeps beside its entries. Blocks for a read.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|database| read_facts(database, name)).map(|mut found| found.remove(name))
    }

    /// The facts whose names start so. Blocks for a read.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn facts(&self, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        self.with(|database| read_facts(database, prefix))
    }

    /// Sets facts, all of them or none; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_facts(&self, facts: Facts) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(Job::Facts(facts, answer)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// The same, for threads outside of the async runtime.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_facts_blocking(&self, facts: Facts) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.blocking_send(Job::Facts(facts, answer)).map_err(|_| StoreError::Closed)?;
        answered.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// Runs a read off the async threads: a page that is not cached comes from the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let opened = Arc::clone(&self.opened);
        let task = tokio::task::spawn_blocking(move || opened.with(read));
        self.seen(task.await.map_err(engine)?)
    }

    fn with<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.seen(self.opened.with(read))
    }

    /// Has the file opened again if it has failed.
    fn seen<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if outcome.is_err() && self.opened.has_failed() {
            // If others wait in the queue, they have it opened.
            let _ = self.jobs.as_ref().map(|jobs| jobs.try_send(Job::Mend));
        }
        outcome
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedbStore at revision {}", self.history.latest())
    }
}

impl BlockingReads for RedbStore {
    fn get_blocking(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.with(|database| read_entry(database, key.to_vec()))?.value)
    }

    fn range_blocking(&self, range: &Range) -> Result<Page, StoreError> {
        Ok(self.with(|database| read_range(database, range))?.value)
    }
}

impl Store for RedbStore {
    fn get<'a>(
        &'a self,
        key: &'a [u8],
    ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>> {
        let key = key.to_vec();
        Box::pin(self.read(move |database| read_entry(database, key)))
    }

    fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>> {
        Box::pin(self.read(move |database| read_range(database, &range)))
    }

    fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>> {
        Box::pin(async move {
            transaction.check()?;
            let (answer, answered) = oneshot::channel();
            let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
            jobs.send(Job::Commit(transaction, answer)).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        Box::new(self.history.watch(after))
    }

    /// The file is locked.
    fn is_shared(&self) -> bool {
        false
    }

    fn lag(&self) -> Duration {
        Duration::ZERO
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store writer panicked");
        }
    }
}

/// Makes the file under another name if it is not there: a power cut while it is made in its place would leave a
/// file that is not a store.
fn make_whole(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        // An earlier release made it in its place, and got no further.
        Ok(found) if found.len() > 0 => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(engine(error)),
        _ => {}
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(engine(error)),
        _ => {}
    }
    let file = durable::open_private(new).map_err(engine)?;
    let database = opened::on(FileBackend::new(file).map_err(engine)?)?;
    prepare(&database)?;
    // Closed in order, and synced.
    drop(database);
    File::open(new).and_then(|file| file.sync_all()).map_err(engine)?;
    fs::rename(new, path).map_err(engine)?;
    sync_directory(path).map_err(engine)
}

/// Makes a newly created file's name as durable as its content.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Makes or checks the tables; returns the revision of the last change.
fn prepare(database: &Database) -> Result<Revision, StoreError> {
    let transaction = database.begin_write().map_err(engine)?;
    let (found, revision) = {
        transaction.open_table(ENTRIES).map_err(engine)?;
        transaction.open_table(FACTS).map_err(engine)?;
        let mut meta = transaction.open_table(META).map_err(engine)?;
        let stored = meta.get(FORMAT).map_err(engine)?.map(|row| row.value());
        if stored.is_none() {
            meta.insert(FORMAT, SUPPORTED_FORMAT).map_err(engine)?;
        }
        let revision = meta.get(REVISION).map_err(engine)?.map_or(0, |row| row.value());
        (stored.unwrap_or(SUPPORTED_FORMAT), Revision(revision))
    };
    if found != SUPPORTED_FORMAT {
        return Err(StoreError::Format { found, supported: SUPPORTED_FORMAT });
    }
    transaction.commit().map_err(engine)?;
    Ok(revision)
}

fn read_entry(database: &Database, key: Vec<u8>) -> Result<Snapshot<Option<Entry>>, redb::Error> {
    let transaction = database.begin_read()?;
    let revision = stored_revision(&transaction.open_table(META)?)?;
    let entries = transaction.open_table(ENTRIES)?;
    let value = entries.get(key.as_slice())?.map(|row| {
        let (changed, value) = row.value();
        Entry { value: value.into(), revision: Revision(changed), key }
    });
    Ok(Snapshot { revision, value })
}

fn read_range(database: &Database, range: &Range) -> Result<Snapshot<Page>, redb::Error> {
    read_range_in(&database.begin_read()?, range)
}

fn read_range_in(
    transaction: &ReadTransaction,
    range: &Range,
) -> Result<Snapshot<Page>, redb::Error> {
    let revision = stored_revision(&transaction.open_table(META)?)?;
    let table = transaction.open_table(ENTRIES)?;
    let after = range.after.as_ref().filter(|after| **after >= range.prefix);
    let start = after.unwrap_or(&range.prefix).as_slice();
    let mut page = Page { entries: Vec::new(), more: false };
    for row in table.range::<&[u8]>(start..)? {
        let (key, value) = row?;
        let key = key.value();
        if after.is_some_and(|after| after == key) {
            continue;
        }
        if !key.starts_with(&range.prefix) {
            break;
        }
        if page.entries.len() == range.limit {
            page.more = true;
            break;
        }
        let (changed, value) = value.value();
        let (key, value) = (key.to_vec(), value.into());
        page.entries.push(Entry { key, value, revision: Revision(changed) });
    }
    Ok(Snapshot { revision, value: page })
}

fn read_facts(database: &Database, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, redb::Error> {
    let facts = database.begin_read()?.open_table(FACTS)?;
    let mut found = BTreeMap::new();
    for row in facts.range::<&str>(prefix..)? {
        let (name, value) = row?;
        if !name.value().starts_with(prefix) {
            break;
        }
        found.insert(name.value().to_owned(), value.value().to_vec());
    }
    Ok(found)
}

fn stored_revision(meta: &impl ReadableTable<&'static str, u64>) -> Result<Revision, redb::Error> {
    Ok(Revision(meta.get(REVISION)?.map_or(0, |row| row.value())))
}

fn engine(error: impl ToString) -> StoreError {
    StoreError::Engine(error.to_string())
}
