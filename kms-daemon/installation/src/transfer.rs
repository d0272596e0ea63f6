//! The records of a store in one sealed file, and from there into an empty store of any engine (ADR 42).
//!
//! * [`export`] writes all records of one revision, in the order of their keys, into a
//!   [container](crate::backup) of backups with a magic of its own.
//! * [`ExportFile::open`] authenticates all of a file before anything of it is used.
//! * [`import`] fills an empty store in transactions, goes on where it was cut off, and compares store and file at the
//!   end. [`into_data`] and [`into_shared`] do so for a data directory and for etcd.

use std::io;
use std::path::PathBuf;

use crate::backup::BackupError;
use crate::consistency::{ConsistencyError, domains, exchange};
use crate::data_dir::DataDirError;
use crate::last_backup;
use crate::report::scrub;
use kms_audit::AuditError;
use kms_store::{SCHEDULED_WORK, StoreError, import as mark};

mod data;
mod difference;
mod export;
mod file;
mod import;
mod replica;
#[cfg(test)]
mod tests;

pub use self::data::{Moved, into_data, into_shared, store_id};
pub use self::difference::{Difference, difference};
pub use self::export::{Exported, export};
pub use self::file::{ExportFile, Header};
pub use self::import::{Imported, import};
pub use self::replica::Replica;

/// Told how many bytes of how many are done; of none if it is not known how many there are.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// Why nothing was exported or imported, or not all; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The file cannot be written.
    #[error(transparent)]
    Writing(BackupError),
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
    /// It is not opened by this passphrase.
    #[error("this is not the passphrase of the export, or the export's first bytes were altered")]
    WrongPassphrase,
    /// It is not what was written.
    #[error(
        "the export was altered or damaged at byte {0}; nothing of it was used: use another copy, or export again"
    )]
    Altered(u64),
    /// It ends too early, or was damaged.
    #[error(
        "the export is not whole, or was damaged; nothing of it was used: use another copy, or export again"
    )]
    Incomplete,
    /// It is something else.
    #[error(
        "this is not an export of a store; kmsctl store export makes one, and kmsctl restore reads backups"
    )]
    NoExport,
    /// A newer release has written it.
    #[error("a newer release wrote that export; import it with that release or a later one")]
    Newer,
    /// What is in it makes no sense.
    #[error("the content of the export is impossible: {0}; nothing of it was used: export again")]
    Content(String),
    /// There are records.
    #[error(
        "{0} has records already, and an import is for an empty store; name another one, or remove what is there \
         first"
    )]
    NotEmpty(String),
    /// Another file was imported in part.
    #[error(
        "{place} was imported in part from another file, whose SHA-256 is {file}: go on with that file, or empty the \
         store and begin again"
    )]
    OtherFile {
        /// The store.
        place: String,
        /// SHA-256 of that file, hexadecimal.
        file: String,
    },
    /// Another process imports.
    #[error("another kmsctl store import writes to {0}; wait for it, and run this one again")]
    OtherImport(String),
    /// It was not alone.
    #[error(
        "the record {key} in {place} is not as it is in the export: something else has written there meanwhile. The \
         store stays marked as imported in part: stop every kmsd on it, empty it, and import again"
    )]
    Disturbed {
        /// The store.
        place: String,
        /// The key of the record.
        key: String,
    },
    /// The data directory has changes that the export does not have.
    #[error(
        "the store in {data} is at revision {has}, and the export has revision {exported}: what was changed in between \
         would be lost; stop kmsd, export again, and import into an empty store"
    )]
    Changed {
        /// The data directory.
        data: PathBuf,
        /// Its revision.
        has: u64,
        /// The revision of the export.
        exported: u64,
    },
    /// The export is of another store.
    #[error(
        "the export is not of the store in {0}, whose records would be lost; leave --data out, or name the directory \
         that the export was made of"
    )]
    OtherStore(PathBuf),
    /// Others get at the directory of copies.
    #[error("{0} is not a directory of this user alone; run: install -d -m 700 {0}")]
    OpenReplica(PathBuf),
    /// It would be lost with what it is a copy of.
    #[error(
        "{0} is within the data directory; name a directory on another medium with --replica DIR"
    )]
    ReplicaInside(PathBuf),
    /// The store was put back.
    #[error(
        "the store is at revision {has}, and {copy} has revision {newest}: the store was put back to an older state, or \
         the copies are of another one. Nothing is copied until that file is moved away"
    )]
    StoreOlder {
        /// The revision of the store.
        has: u64,
        /// The newest copy.
        copy: PathBuf,
        /// Its revision.
        newest: u64,
    },
    /// A record of the store is damaged, and the last copy has it whole.
    #[error(
        "the record {key} of the store is damaged: {what}. {copy} has it as it was, and so that it is kept nothing is \
         copied; run: kmsctl store scrub. If the store is right, move that file away"
    )]
    Damaged {
        /// The key of the record.
        key: String,
        /// What is wrong with it.
        what: &'static str,
        /// The newest copy.
        copy: PathBuf,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The parts of the data directory cannot be read.
    #[error(transparent)]
    Consistency(#[from] ConsistencyError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The audit log does not take the event.
    #[error("the audit log does not record the move: {0}")]
    Unrecorded(String),
}

impl From<BackupError> for TransferError {
    /// Of the container.
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::WrongPassphrase => Self::WrongPassphrase,
            BackupError::Altered(at) => Self::Altered(at),
            BackupError::Incomplete => Self::Incomplete,
            BackupError::NoBackup => Self::NoExport,
            BackupError::Newer => Self::Newer,
            BackupError::File { what, path, source } => Self::File { what, path, source },
            error => Self::Writing(error),
        }
    }
}

impl From<io::Error> for TransferError {
    fn from(error: io::Error) -> Self {
        BackupError::from(error).into()
    }
}

/// Whether a record goes along. Not what says which processes use the store, what is about files of the former data
/// directory or about a check of the former store, and what a former import has left.
fn is_carried(key: &[u8]) -> bool {
    let not = [SCHEDULED_WORK, last_backup::STORE_KEY, mark::MARK, scrub::KEY];
    let prefixes = [domains::CLAIM, exchange::PREFIX];
    !not.contains(&key) && !prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()))
}
