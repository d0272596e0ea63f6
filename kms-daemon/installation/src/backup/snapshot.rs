//! Store and audit log as they were at one moment, while they are in use.
//!
//! Both are of exactly one moment: they are as a power cut at that moment would have left them. Requests
//! that were answered before are in both; a request that was under way may be in the store and not yet
//! in the log, as after a power cut. No request waits for a snapshot.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use subtle::ConstantTimeEq;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::manifest::{AUDIT, STORE};
use super::{BackupError, content};
use crate::last_backup::LastBackup;
use kms_audit::{AuditLog, AuditSnapshot, Position, event_time};
use kms_base::{durable, hex};
use kms_store::{RedbStore, Revision, StoreError, StoreSnapshot};

/// Where snapshots are in a data directory. They are temporary.
pub(crate) const DIRECTORY: &str = "backup";
/// In a snapshot: what shows that somebody has read it.
const PROOF: &str = "proof";
/// How long a backup may take. Then its snapshot is removed: tokens of keys that are destroyed meanwhile
/// are in it, and files of the log that are removed once they are old.
pub(super) const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Tries until no commit of the store falls between two glances, which takes some microseconds.
const TRIES: usize = 100_000;

/// Takes snapshots of an installation, and remembers which became a backup.
pub struct Snapshots {
    data: PathBuf,
    store: Arc<RedbStore>,
    audit: Arc<AuditLog>,
    /// The latest one; there is one at a time.
    current: Mutex<Current>,
    /// The last backup that came to its end here.
    last: Last,
}

#[derive(Default)]
struct Current {
    snapshot: Option<Kept>,
    /// No further one is taken.
    ended: bool,
}

/// A snapshot that waits for its backup.
struct Kept {
    prepared: Prepared,
    proof: Zeroizing<String>,
    /// The domains of which a backup may hold a flash.
    domains: Vec<String>,
    since: Instant,
}

/// It is replaced whole.
type Last = std::sync::Mutex<Option<LastBackup>>;

/// A snapshot, for as long as its backup takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Names it.
    pub id: String,
    /// Where it is: `store.redb`, `audit`, what is beside the flashes in `hsm`, and `proof`.
    pub directory: PathBuf,
    /// When it was taken, ISO 8601.
    pub created: String,
    /// Revision of the store.
    pub store_revision: Revision,
    /// The last record of the audit log.
    pub audit: Position,
}

impl Prepared {
    /// What shows the daemon that this snapshot was read: it is in its directory and nowhere else.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn proof(&self) -> io::Result<Zeroizing<String>> {
        fs::read_to_string(self.directory.join(PROOF)).map(Zeroizing::new)
    }
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
    /// It is not the latest one, or it is too old.
    #[error(
        "there is no snapshot of that name: another backup was begun meanwhile, or this one took \
         more than an hour; run the backup again"
    )]
    Unknown,
    /// Whoever says that it became a backup has not read it.
    #[error(
        "that is not the proof in the snapshot's directory: only a user who can read the data \
         directory can make a backup of it"
    )]
    Unproven,
    /// The backup cannot hold that.
    #[error(
        "no flash of a device of domain {0} was present when the snapshot was taken: a backup of \
         the snapshot does not hold its key"
    )]
    NoFlash(String),
    /// The store changes too fast.
    #[error("the store never rests for a moment; run the backup again")]
    Restless,
    /// A snapshot would not have the keys.
    #[error(
        "the records of this installation are in {0}: back that up with `kmsctl store export --store` or \
         `etcdctl snapshot save`, and the devices with `kmsctl hsm`; a backup of kmsctl would have no keys"
    )]
    Elsewhere(String),
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
        if current.ended {
            return Err(SnapshotError::Stopping);
        }
        if let Some(place) = self.store.elsewhere()? {
            return Err(SnapshotError::Elsewhere(place));
        }
        current.snapshot = None;
        let failed = |source| SnapshotError::File { path: self.data.join(DIRECTORY), source };
        self.clear().map_err(failed)?;
        let log = self.audit.snapshot().await;
        self.ensure_room(&log)?;
        let id = String::clone(&*random::<16>().map_err(failed)?);
        let proof = random::<32>().map_err(failed)?;
        let all = self.data.join(DIRECTORY);
        let directory = all.join(&id);
        let (store, data) = (Arc::clone(&self.store), self.data.clone());
        let task = tokio::task::spawn_blocking(move || -> Result<Kept, SnapshotError> {
            let failed = |source| SnapshotError::File { path: directory.clone(), source };
            let other = |error: BackupError| failed(io::Error::other(error.to_string()));
            durable::create_private_dir(&directory).map_err(failed)?;
            // Before the cut: what it says of store and log is then in these.
            content::copy_beside(&data, &directory).map_err(other)?;
            let domains = content::domains_with_flash(&data).map_err(other)?;
            let (snapshot, audit) = cut(&store, &log)?;
            let created = event_time(SystemTime::now());
            log.write_to(&directory.join(AUDIT), audit).map_err(failed)?;
            snapshot.write_to(&directory.join(STORE))?;
            durable::write(&directory.join(PROOF), proof.as_bytes(), 0o600).map_err(failed)?;
            durable::sync_dir(&all).map_err(failed)?;
            let store_revision = snapshot.revision();
            let prepared = Prepared { id, directory, created, store_revision, audit };
            Ok(Kept { prepared, proof, domains, since: Instant::now() })
        });
        let kept = match task.await {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => {
                let _ = self.clear();
                return Err(error);
            }
            Err(_) => {
                let _ = self.clear();
                return Err(SnapshotError::Stopping);
            }
        };
        let prepared = kept.prepared.clone();
        current.snapshot = Some(kept);
        Ok(prepared)
    }

    /// Remembers that a snapshot became a backup, and removes it. `proof` is what only who can read
    /// the snapshot knows.
    ///
    /// # Errors
    /// [`SnapshotError`]: if it is not the latest one, if the proof is another, or if the backup is said
    /// to hold what was not there; else what the store says.
    pub async fn complete(
        &self,
        id: &str,
        proof: &str,
        done: Done,
    ) -> Result<LastBackup, SnapshotError> {
        let mut current = self.current.lock().await;
        let kept = current.snapshot.as_ref().filter(|kept| kept.prepared.id == id);
        let Kept { prepared, proof: expected, domains, .. } = kept.ok_or(SnapshotError::Unknown)?;
        if !bool::from(expected.as_bytes().ct_eq(proof.as_bytes())) {
            return Err(SnapshotError::Unproven);
        }
        if let Some(other) = done.domains.iter().find(|domain| !domains.contains(domain)) {
            return Err(SnapshotError::NoFlash(other.clone()));
        }
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
        // Before the caller learns of it, who then looks there.
        LastBackup::note(&self.data, Some(&last));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last.clone());
        current.snapshot = None;
        self.remove();
        Ok(last)
    }

    /// Removes snapshots whose backup does not come to its end, until the task is aborted.
    pub async fn expire(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.expire_older(LIFETIME).await {
                tracing::warn!(
                    "a backup was not completed within an hour: its snapshot is removed"
                );
            }
        }
    }

    /// Removes a snapshot of this age; whether there was one that nobody had removed: an export does so by itself.
    pub(super) async fn expire_older(&self, age: Duration) -> bool {
        let mut current = self.current.lock().await;
        let old = current.snapshot.take_if(|kept| kept.since.elapsed() >= age);
        let is_there = old.as_ref().is_some_and(|kept| kept.prepared.directory.exists());
        if old.is_some() {
            self.remove();
        }
        is_there
    }

    /// Removes what there is, and takes no further one.
    pub async fn end(&self) {
        let mut current = self.current.lock().await;
        current.ended = true;
        current.snapshot = None;
        self.remove();
    }

    fn remove(&self) {
        if let Err(source) = self.clear() {
            let path = self.data.join(DIRECTORY);
            tracing::warn!(path = %path.display(), %source, "cannot remove a snapshot");
        }
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

/// So many random bytes, hexadecimal.
fn random<const N: usize>() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
    Ok(Zeroizing::new(hex::encode(&*bytes)))
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
