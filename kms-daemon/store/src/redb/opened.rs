//! The open file, and how it is opened again.
//!
//! The engine does nothing more with a file once reading or writing it has failed, because what the disk has is not
//! known any more. So the file is closed, and opened again as soon as that works. What is read from then on comes from
//! the disk: after a failed sync the kernel may have kept pages that the disk lacks, and calls them clean.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use rustix::fs::{Advice, fadvise};

use super::engine;
use crate::StoreError;

/// How long those who are reading may take to notice that the file is to be closed.
const READERS: Duration = Duration::from_millis(100);

/// Where a file is, or what stands for it.
pub(super) trait Place: Send + Sync + 'static {
    /// Opens it for the first time, or again.
    fn open(&self, is_again: bool) -> Result<Database, StoreError>;
}

/// A file by its path.
pub(super) struct OnDisk {
    path: PathBuf,
    /// Device and inode.
    is: (u64, u64),
    first: Mutex<Option<File>>,
}

impl OnDisk {
    /// Takes over a file that has just been opened.
    pub(super) fn new(path: &Path, file: File) -> Result<Self, StoreError> {
        let is = identity(&file)?;
        Ok(Self { path: path.to_owned(), is, first: Mutex::new(Some(file)) })
    }

    /// What was refused may be in memory still: it goes to the disk now or is forgotten.
    fn file_again(&self) -> Result<File, StoreError> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path).map_err(engine)?;
        if identity(&file)? != self.is {
            let path = self.path.display();
            return Err(engine(format!("{path} is another file than it was; restart kmsd")));
        }
        file.sync_data().map_err(engine)?;
        fadvise(&file, 0, None, Advice::DontNeed).map_err(engine)?;
        Ok(file)
    }
}

impl Place for OnDisk {
    fn open(&self, is_again: bool) -> Result<Database, StoreError> {
        let file = match is_again {
            false => self.first.lock().unwrap_or_else(PoisonError::into_inner).take(),
            true => None,
        };
        let file = file.map_or_else(|| self.file_again(), Ok)?;
        on(FileBackend::new(file).map_err(engine)?)
    }
}

fn identity(file: &File) -> Result<(u64, u64), StoreError> {
    let about = file.metadata().map_err(engine)?;
    Ok((about.dev(), about.ino()))
}

pub(super) fn on(backend: impl StorageBackend) -> Result<Database, StoreError> {
    Database::builder().create_with_backend(backend).map_err(engine)
}

/// The file as it was opened once.
pub(super) struct Current {
    pub(super) database: Database,
    /// Whether reading or writing has failed since.
    failed: AtomicBool,
}

impl Current {
    fn new(database: Database) -> Arc<Self> {
        Arc::new(Self { database, failed: AtomicBool::new(false) })
    }

    /// Remembers what has failed for good.
    pub(super) fn failed_with(&self, error: &redb::Error) -> StoreError {
        if matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo) {
            self.failed.store(true, Ordering::Release);
        }
        engine(error)
    }
}

/// The open file. There is none from when it has failed until it is opened again.
pub(super) struct Opened {
    place: Box<dyn Place>,
    current: RwLock<Option<Arc<Current>>>,
}

impl Opened {
    /// Opens it for the first time.
    pub(super) fn new(place: impl Place) -> Result<Self, StoreError> {
        let current = RwLock::new(Some(Current::new(place.open(false)?)));
        Ok(Self { place: Box::new(place), current })
    }

    fn usable(&self) -> Option<Arc<Current>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        // The engine would answer out of its memory, where a change may be missing that the file has.
        current.filter(|current| !current.failed.load(Ordering::Acquire))
    }

    /// # Errors
    /// [`StoreError::Engine`] while there is none.
    pub(super) fn current(&self) -> Result<Arc<Current>, StoreError> {
        self.usable()
            .ok_or_else(|| engine("the file of the store has failed, and is not open again yet"))
    }

    /// Uses it.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let current = self.current()?;
        work(&current.database).map_err(|error| current.failed_with(&error))
    }

    /// Whether it is to be opened again.
    pub(super) fn has_failed(&self) -> bool {
        self.usable().is_none()
    }

    /// Closes it, once nobody reads any more or soon, and opens it again, for [`Opened::put_back`].
    ///
    /// # Errors
    /// [`StoreError::Engine`]: it is tried again later.
    pub(super) fn open_again(&self) -> Result<Database, StoreError> {
        let former = self.current.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(former) = former {
            let by = Instant::now() + READERS;
            while Arc::strong_count(&former) > 1 && Instant::now() < by {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.place.open(true)
    }

    /// From now on it is used again.
    pub(super) fn put_back(&self, database: Database) {
        let current = Some(Current::new(database));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("failed", &self.has_failed()).finish_non_exhaustive()
    }
}
