//! The data directory: one process has it, and no other user.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use kms_base::durable;

/// A file that is in a data directory while it is restored, and that no program accepts there.
pub(crate) const MARK: &str = "restoring";

/// The file with the name of an installation, in its data directory.
pub const INSTANCE: &str = "instance";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {source}; choose another with --data DIR")]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Others than the daemon's user can read or write the data directory.
    #[error(
        "other users can read or write the data directory {path} (mode {mode:04o}), which contains \
         keys and secrets; run: chmod 700 {path}"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Somebody else has the data directory.
    #[error(
        "the data directory {path} belongs to another user ({owner}); run: chown -R {user} {path}, or \
         choose another with --data DIR"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Who has it.
        owner: u32,
        /// Who this is.
        user: u32,
    },
    /// Another process uses the data directory.
    #[error("another kmsd or kmsctl is running on {0}; stop it, or choose another --data DIR")]
    InUse(PathBuf),
    /// A restore did not come to its end.
    #[error(
        "{0} was restored in part: kmsctl restore did not come to its end; remove the directory \
         and restore again"
    )]
    HalfRestored(PathBuf),
}

/// There is no home directory to keep data in.
#[derive(Debug, thiserror::Error)]
#[error("no home directory; say where to keep data: --data DIR")]
pub struct NoHome;

/// `strongroom` in the user's data directory (XDG Base Directory Specification).
///
/// # Errors
/// [`NoHome`].
pub fn default_data() -> Result<PathBuf, NoHome> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .map(|data| data.join("strongroom"))
        .ok_or(NoHome)
}

/// Exclusive use of a data directory, until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if missing, and takes its lock.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] if another process has it; [`DataDirError::Open`] and
    /// [`DataDirError::Foreign`] if other users do; [`DataDirError::HalfRestored`] if it holds part of a
    /// backup.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let opened = Self::lock(path)?;
        match is_half_restored(&opened.path)? {
            true => Err(DataDirError::HalfRestored(opened.path)),
            false => Ok(opened),
        }
    }

    /// Creates the directory if missing, and takes its lock, whatever is in it.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] if another process has it.
    pub(crate) fn lock(path: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Data { path: path.to_owned(), source };
        durable::create_private_dir(path).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        ensure_private(&path)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path)),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The installation's name, 32 hexadecimal digits, made at the first start. By it `kmsctl`
    /// knows the daemon of a data directory.
    ///
    /// # Errors
    /// [`DataDirError::Data`].
    pub fn instance(&self) -> Result<String, DataDirError> {
        let path = self.path.join(INSTANCE);
        let failed = |source| DataDirError::Data { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(name) if is_instance(name.trim()) => Ok(name.trim().to_owned()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            // What a person has changed names nothing.
            Ok(_) | Err(_) => {
                let name = Uuid::new_v4().simple().to_string();
                let line = format!("{name}\n");
                durable::write(&path, line.as_bytes(), 0o600).map_err(failed)?;
                Ok(name)
            }
        }
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a restore into `dir` did not come to its end.
///
/// # Errors
/// If the directory cannot be looked at.
fn is_half_restored(dir: &Path) -> Result<bool, DataDirError> {
    let mark = dir.join(MARK);
    mark.try_exists().map_err(|source| DataDirError::Data { path: dir.to_owned(), source })
}

fn is_instance(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Refuses a directory that other users get at. The administrator gets at everything.
fn ensure_private(path: &Path) -> Result<(), DataDirError> {
    let failed = |source| DataDirError::Data { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(failed)?;
    let (owner, user) = (about.uid(), rustix::process::geteuid().as_raw());
    if owner != user && owner != 0 {
        return Err(DataDirError::Foreign { path: path.to_owned(), owner, user });
    }
    match about.mode() & 0o7777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(DataDirError::Open { path: path.to_owned(), mode }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/data");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("another kmsd or kmsctl is running on"), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
        // What it made is private, whatever the umask.
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::write(dir.path().join("file"), "").unwrap();
        let error = DataDir::open(&dir.path().join("file")).unwrap_err().to_string();
        assert!(error.contains("--data DIR"), "{error}");
    }

    #[test]
    fn a_data_directory_is_its_users_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        for mode in [0o755, 0o750, 0o711, 0o770, 0o702, 0o1777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = DataDir::open(&path).unwrap_err().to_string();
            let advice = format!("chmod 700 {}", path.display());
            assert!(error.contains(&advice), "{mode:o}: {error}");
            assert!(!path.join("lock").exists(), "nothing was written");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        DataDir::open(&path).unwrap();
    }
}
