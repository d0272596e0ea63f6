//! Store and audit log as they were at one moment, while they are in use.
//!
//! The two are of one moment exactly: what is there is what a power cut at that moment would have
//! left. Requests that were answered before are in both; one that was under way may be in the store
//! and not yet in the log, as after a power cut. Nobody waits for a snapshot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use tokio::sync::Mutex;

use super::content;
use super::manifest::{AUDIT, STORE};
use super::record::LastBackup;
use crate::audit::{AuditLog, AuditSnapshot, Position, event_time};
use crate::store::{RedbStore, Revision, StoreError, StoreSnapshot};
use crate::{durable, hex};

/// Where snapshots are in a data directory. They are temporary.
pub(crate) const DIRECTORY: &str = "backup";
/// Tries until no commit of the store falls between two glances, which takes some microseconds.
const TRIES: usize = 100_000;

/// Takes snapshots of an installation, and remembers which became a backup.
pub struct Snapshots {
    data: PathBuf,
    store: Arc<RedbStore>,
    audit: Arc<AuditLog>,
    /// The latest one; there is one at a time.
    current: Mutex<Option<Prepared>>,
    /// The last backup that came to its end here.
    last: Last,
}

/// It is replaced whole.
type Last = std::sync::Mutex<Option<LastBackup>>;

/// A snapshot, for as long as its backup takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Names it.
    pub id: String,
    /// Where it is: `store.redb`, `audit`, and what is beside the flashes in `hsm`.
    pub directory: PathBuf,
    /// When it was taken, ISO 8601.
    pub created: String,
    /// Revision of the store.
    pub store_revision: Revision,
    /// The last record of the audit log.
    pub audit: Position,
}

/// What became of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The file of the backup.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// The domains of which it holds the flash of a device.
    pub domains: Vec<String>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file cannot be written.
    #[error("cannot write a snapshot to {path}: {source}")]
    File {
        /// Where.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// There is too little room for one.
    #[error(
        "a snapshot needs {needed} bytes in the file system of the data directory, and {free} are \
         free; make room first"
    )]
    NoRoom {
        /// What it needs, in bytes.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not the latest one.
    #[error("there is no snapshot of that name: another backup was begun meanwhile; run it again")]
    Unknown,
    /// The store changes too fast.
    #[error("the store does not rest for a moment; run the backup again")]
    Restless,
    /// The task was stopped.
    #[error("the program is stopping")]
    Stopping,
}

impl Snapshots {
    /// Snapshots of `store` and `audit`, which are in the data directory `data`. What others left
    /// there is removed.
    #[must_use]
    pub fn new(data: &Path, store: Arc<RedbStore>, audit: Arc<AuditLog>) -> Self {
        let (data, current, last) = (data.to_owned(), Mutex::default(), Last::default());
        let snapshots = Self { data, store, audit, current, last };
        if let Err(error) = snapshots.clear() {
            let path = snapshots.data.join(DIRECTORY);
            tracing::warn!(path = %path.display(), %error, "cannot remove what a backup left");
        }
        snapshots
    }

    /// Takes a snapshot. An earlier one ends.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn prepare(&self) -> Result<Prepared, SnapshotError> {
        let mut current = self.current.lock().await;
        *current = None;
        let failed = |source| SnapshotError::File { path: self.data.join(DIRECTORY), source };
        self.clear().map_err(failed)?;
        let log = self.audit.snapshot().await;
        self.ensure_room(&log)?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| failed(io::Error::other(error)))?;
        let id = hex::encode(&id);
        let all = self.data.join(DIRECTORY);
        let directory = all.join(&id);
        let (store, data) = (Arc::clone(&self.store), self.data.clone());
        let task = tokio::task::spawn_blocking(move || -> Result<Prepared, SnapshotError> {
            let failed = |source| SnapshotError::File { path: directory.clone(), source };
            durable::create_private_dir(&directory).map_err(failed)?;
            // Before the cut: what it says of store and log is then in these.
            content::copy_beside(&data, &directory)
                .map_err(|error| failed(io::Error::other(error.to_string())))?;
            let (snapshot, audit) = cut(&store, &log)?;
            let created = event_time(SystemTime::now());
            log.write_to(&directory.join(AUDIT), audit).map_err(failed)?;
            snapshot.write_to(&directory.join(STORE))?;
            durable::sync_dir(&all).map_err(failed)?;
            let store_revision = snapshot.revision();
            Ok(Prepared { id, directory, created, store_revision, audit })
        });
        let prepared = task.await.map_err(|_| SnapshotError::Stopping)?;
        match prepared {
            Ok(prepared) => {
                *current = Some(prepared.clone());
                Ok(prepared)
            }
            Err(error) => {
                let _ = self.clear();
                Err(error)
            }
        }
    }

    /// Remembers that a snapshot became a backup, and removes it.
    ///
    /// # Errors
    /// [`SnapshotError::Unknown`] if it is not the latest one; else what the store says.
    pub async fn complete(&self, id: &str, done: Done) -> Result<LastBackup, SnapshotError> {
        let mut current = self.current.lock().await;
        let prepared = current.as_ref().filter(|prepared| prepared.id == id);
        let prepared = prepared.ok_or(SnapshotError::Unknown)?;
        let last = LastBackup {
            version: LastBackup::VERSION,
            created: prepared.created.clone(),
            path: done.path,
            bytes: done.bytes,
            sha256: done.sha256,
            domains: done.domains,
            audit_sequence: prepared.audit.sequence,
        };
        last.write(&*self.store).await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last.clone());
        *current = None;
        if let Err(source) = self.clear() {
            let path = self.data.join(DIRECTORY);
            tracing::warn!(path = %path.display(), %source, "cannot remove a snapshot");
        }
        Ok(last)
    }

    /// The last backup that came to its end since the start.
    #[must_use]
    pub fn last(&self) -> Option<LastBackup> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is written must leave the room that administration has.
    fn ensure_room(&self, log: &AuditSnapshot) -> Result<(), SnapshotError> {
        let Some(room) = self.audit.room() else { return Ok(()) };
        let failed = |source| SnapshotError::File { path: self.data.clone(), source };
        let store = fs::metadata(self.data.join(STORE)).map_err(failed)?.len();
        let needed = store.saturating_add(log.needs().map_err(failed)?);
        match needed > room.until_reserve {
            true => Err(SnapshotError::NoRoom { needed, free: room.until_reserve }),
            false => Ok(()),
        }
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.data.join(DIRECTORY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Store and end of the log at one moment: no commit came between the snapshot and a second look,
/// so the store was the same when the end of the log was read.
fn cut(store: &RedbStore, log: &AuditSnapshot) -> Result<(StoreSnapshot, Position), SnapshotError> {
    for _ in 0..TRIES {
        let snapshot = store.snapshot()?;
        let tip = log.tip();
        if store.snapshot()?.revision() == snapshot.revision() {
            return Ok((snapshot, tip));
        }
    }
    Err(SnapshotError::Restless)
}
