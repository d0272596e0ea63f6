//! Backups: the whole data directory in one encrypted file, and back (ADR 20).
//!
//! * [`Snapshots`] captures store and audit log as they were at one moment, while they are in use.
//! * [`create`] puts them, and the rest of the data directory, into a [container](container), which is either
//!   complete and readable, or does not exist under its name.
//! * [`verify`] and [`restore`] read it. Nothing is written before all of it is authenticated, and every program
//!   refuses a directory that was restored only in part.

use std::io;
use std::path::PathBuf;

use crate::data_dir::DataDirError;
use crate::devices::DevicesError;
use kms_audit::AuditError;
use kms_base::passphrase::PassphraseError;
use kms_store::StoreError;

pub(crate) mod container;
mod content;
pub(crate) mod create;
mod manifest;
mod restore;
mod snapshot;
#[cfg(test)]
mod tests;

pub use self::content::Devices;
pub use self::create::{Created, Creation, check_target, create, partial_path};
pub use self::manifest::{FileOf, Manifest, RegionOf};
pub use self::restore::{Restored, Verified, checksum, restore, verify};
pub use self::snapshot::{Done, Prepared, SnapshotError, Snapshots};

/// Told how many bytes of how many are done.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// Why there is no backup, or nothing was restored; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The passphrase cannot be used.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The operating system has no random bytes.
    #[error("cannot draw a random salt: {0}")]
    Random(String),
    /// It is not opened by this passphrase.
    #[error("this is not the passphrase of the backup, or the backup's first bytes were altered")]
    WrongPassphrase,
    /// It is not what was written.
    #[error("the backup was altered or damaged at byte {0}; do not use it, use another copy")]
    Altered(u64),
    /// It ends too early, or was damaged.
    #[error("the backup is not whole, or was damaged; do not use it, use another copy")]
    Incomplete,
    /// It is something else.
    #[error("this is not a backup of Strongroom")]
    NoBackup,
    /// A newer release has written it.
    #[error("a newer release wrote that backup; restore it with that release or a later one")]
    Newer,
    /// What is in it makes no sense.
    #[error("the backup's description of itself is impossible: {0}")]
    Manifest(String),
    /// There is something of that name.
    #[error("{0} exists and is not overwritten; name another file")]
    Exists(PathBuf),
    /// Another backup is under way.
    #[error("{0} is being written by another kmsctl backup; wait for it, or name another file")]
    UnderWay(PathBuf),
    /// Something else is where a backup is to be written.
    #[error(
        "{0} is there, and nothing that an interrupted backup of this user has left: it is a link, has \
         another owner, other permissions or another name. Look what it is and move it away, or name \
         another file"
    )]
    ForeignPartial(PathBuf),
    /// It would be among what is backed up.
    #[error(
        "{target} is within {dir}, which is backed up: the next backup would hold this one. Name a \
         file outside the data directory, best on another disk"
    )]
    Inside {
        /// The directory that it is to be written to.
        target: PathBuf,
        /// One that is backed up.
        dir: PathBuf,
    },
    /// A file changes whenever it is read.
    #[error("{0} changes while it is read; run the backup again")]
    Changing(PathBuf),
    /// There is nothing to back up.
    #[error("{0} holds no store; name the daemon's data directory with --data DIR")]
    NoStore(PathBuf),
    /// Whether flashes are to be in it was not said.
    #[error(
        "there are devices in this data directory ({0}), and their flash holds the domain key, \
         which opens every key. With --with-devices the backup holds it, too, and alone restores all keys: guard \
         its passphrase like the keys. With --without-devices it restores nothing once these \
         devices are lost"
    )]
    DevicesUndecided(String),
    /// There is something in the directory.
    #[error("{0} is not empty; restore into a new directory, and put that in its place")]
    NotEmpty(PathBuf),
    /// A restore did not come to its end.
    #[error(
        "{0} was restored in part: a restore did not come to its end; remove the directory and \
         restore again"
    )]
    HalfRestored(PathBuf),
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// What was restored has no usable devices.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl From<io::Error> for BackupError {
    /// Of the container: what is wrong with a chunk comes as an error of its reader.
    fn from(error: io::Error) -> Self {
        let altered = error.get_ref().and_then(|inner| inner.downcast_ref::<container::Altered>());
        match altered {
            Some(container::Altered(at)) => Self::Altered(*at),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Incomplete,
            None => Self::File { what: "read or write", path: "the backup".into(), source: error },
        }
    }
}

/// An error about a file.
fn failed<'p>(
    what: &'static str,
    path: &'p std::path::Path,
) -> impl FnOnce(io::Error) -> BackupError + 'p {
    move |source| BackupError::File { what, path: path.to_owned(), source }
}
