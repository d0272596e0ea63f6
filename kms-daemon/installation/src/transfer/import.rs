//! Fills an empty store from an export, in transactions that each engine takes.

use super::file::ExportFile;
use super::{Progress, TransferError};
use kms_base::record::{Record as _, Version};
use kms_store::import::{MARK, Mark, State};
use kms_store::{Commit, Entry, MAX_OPERATIONS, Range, Revision, Store, StoreError, Transaction};

/// Most bytes of keys and values in a transaction, unless one record alone has more. With the mark, and a longest
/// prefix before each key, it is below etcd's limit of 1.5 MiB.
const BATCH: usize = 1 << 20;
/// Most records in a transaction; the mark is one more write.
const RECORDS: usize = MAX_OPERATIONS - 1;
/// Entries that are compared at a time.
const PAGE: usize = 64;

/// What an import has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Records of the file, all of which are in the store.
    pub records: u64,
    /// Those that an earlier run had written.
    pub before: u64,
    /// Whether an earlier run had done everything.
    pub was_complete: bool,
}

/// Fills `store`, which is called `place`, with the records of a file, and compares all of them. Goes on where an
/// earlier run with the same file was cut off. `progress` hears of the records that are written and compared. Blocks
/// between calls of the store.
///
/// # Errors
/// [`TransferError`]. The store is empty, as it was, or marked as imported in part.
pub async fn import(
    file: &ExportFile<'_>,
    store: &dyn Store,
    place: &str,
    progress: Progress<'_>,
) -> Result<Imported, TransferError> {
    let (mark, revision) = begin(file, store, place).await?;
    let imported =
        |was_complete| Imported { records: file.count(), before: mark.records, was_complete };
    if mark.state == State::Complete {
        return Ok(imported(true));
    }
    let twice = 2 * file.count();
    let mut filling = Filling { store, place, mark: mark.clone(), revision };
    let mut records = file.records()?;
    let mut batch = Batch::default();
    while let Some(entry) = records.next()? {
        if entry.key <= mark.after {
            continue;
        }
        if !batch.takes(&entry) {
            filling.write(std::mem::take(&mut batch)).await?;
            progress(filling.mark.records, twice);
        }
        batch.push(entry);
    }
    filling.write(batch).await?;
    compare(file, store, place, &mut |compared| progress(file.count() + compared, twice)).await?;
    filling.mark.state = State::Complete;
    filling.write(Batch::default()).await?;
    Ok(imported(false))
}

/// Finds the mark of this file, or sets it in a store that has nothing.
async fn begin(
    file: &ExportFile<'_>,
    store: &dyn Store,
    place: &str,
) -> Result<(Mark, Revision), TransferError> {
    if let Some(entry) = store.get(MARK).await?.value {
        let mark = Mark::read(&entry.value)?;
        return match (mark.file == file.sha256(), mark.state) {
            (true, _) => Ok((mark, entry.revision)),
            (false, State::Complete) => Err(TransferError::NotEmpty(place.to_owned())),
            (false, State::UnderWay) => {
                Err(TransferError::OtherFile { place: place.to_owned(), file: mark.file })
            }
        };
    }
    let all = Range { prefix: Vec::new(), after: None, limit: 1 };
    if !store.range(all).await?.value.entries.is_empty() {
        return Err(TransferError::NotEmpty(place.to_owned()));
    }
    let (file, after) = (file.sha256().to_owned(), Vec::new());
    let mark = Mark { version: Version, file, state: State::UnderWay, records: 0, after };
    let transaction = Transaction::new().absent(MARK).put(MARK, encoded(&mark)?);
    match store.commit(transaction).await? {
        Commit::Applied { revision } => Ok((mark, revision)),
        Commit::Conflict => Err(TransferError::OtherImport(place.to_owned())),
    }
}

/// Records that are written together.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Batch {
    fn takes(&self, entry: &Entry) -> bool {
        self.entries.is_empty()
            || (self.entries.len() < RECORDS && self.bytes + size(entry) <= BATCH)
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += size(&entry);
        self.entries.push(entry);
    }
}

/// What a record counts. Its key has etcd's prefix before it, of up to 256 bytes, and its message some more.
fn size(entry: &Entry) -> usize {
    entry.key.len() + entry.value.len() + 512
}

/// A store while it is filled.
struct Filling<'s> {
    store: &'s dyn Store,
    place: &'s str,
    mark: Mark,
    /// Of the mark in the store.
    revision: Revision,
}

impl Filling<'_> {
    /// Writes records, and the mark that counts them, in one transaction.
    async fn write(&mut self, batch: Batch) -> Result<(), TransferError> {
        self.mark.records += batch.entries.len() as u64;
        if let Some(last) = batch.entries.last() {
            self.mark.after.clone_from(&last.key);
        }
        let mut transaction = Transaction::new().unchanged(MARK, self.revision);
        for Entry { key, value, .. } in batch.entries {
            transaction = transaction.put(key, value);
        }
        let transaction = transaction.put(MARK, encoded(&self.mark)?);
        match self.store.commit(transaction).await? {
            Commit::Applied { revision } => {
                self.revision = revision;
                Ok(())
            }
            Commit::Conflict => Err(TransferError::OtherImport(self.place.to_owned())),
        }
    }
}

fn encoded(mark: &Mark) -> Result<Vec<u8>, StoreError> {
    mark.encode().map_err(|error| StoreError::Engine(error.to_string()))
}

/// Compares all records of the store with those of the file.
async fn compare(
    file: &ExportFile<'_>,
    store: &dyn Store,
    place: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<(), TransferError> {
    let differs = |key: &[u8]| TransferError::Disturbed {
        place: place.to_owned(),
        key: String::from_utf8_lossy(key).into_owned(),
    };
    let mut records = file.records()?;
    let mut after = None;
    loop {
        let range = Range { prefix: Vec::new(), after, limit: PAGE };
        let page = store.range(range).await?.value;
        for entry in page.entries.iter().filter(|entry| entry.key != MARK) {
            match records.next()? {
                Some(of_file) if of_file.key == entry.key && of_file.value == entry.value => {}
                _ => return Err(differs(&entry.key)),
            }
        }
        progress(records.count());
        after = page.entries.last().map(|entry| entry.key.clone());
        if !page.more {
            break;
        }
    }
    match records.next()? {
        None => Ok(()),
        Some(missing) => Err(differs(&missing.key)),
    }
}
