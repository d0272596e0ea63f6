//! The data directory: one process has it, and no other user.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::DaemonError;
use crate::backup::is_half_restored;
use crate::durable;

/// The file with the name of an installation, in its data directory.
pub const INSTANCE: &str = "instance";

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
    /// [`DaemonError::InUse`] if another process has it; [`DaemonError::Open`] and
    /// [`DaemonError::Foreign`] if other users do; [`DaemonError::HalfRestored`] if it holds part of a
    /// backup.
    pub fn open(path: &Path) -> Result<Self, DaemonError> {
        let opened = Self::lock(path)?;
        match is_half_restored(&opened.path)? {
            true => Err(DaemonError::HalfRestored(opened.path)),
            false => Ok(opened),
        }
    }

    /// Creates the directory if missing, and takes its lock, whatever is in it.
    ///
    /// # Errors
    /// [`DaemonError::InUse`] if another process has it.
    pub(crate) fn lock(path: &Path) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::Data { path: path.to_owned(), source };
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
            Err(TryLockError::WouldBlock) => Err(DaemonError::InUse(path)),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The installation's name, 32 hexadecimal digits, made at the first start. By it `kmsctl`
    /// knows the daemon of a data directory.
    ///
    /// # Errors
    /// [`DaemonError::Data`].
    pub fn instance(&self) -> Result<String, DaemonError> {
        let failed = |source| DaemonError::Data { path: self.path.clone(), source };
        let path = self.path.join(INSTANCE);
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

fn is_instance(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Refuses a directory that other users get at. The administrator gets at everything.
fn ensure_private(path: &Path) -> Result<(), DaemonError> {
    let failed = |source| DaemonError::Data { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(failed)?;
    let (owner, user) = (about.uid(), rustix::process::geteuid().as_raw());
    if owner != user && owner != 0 {
        return Err(DaemonError::Foreign { path: path.to_owned(), owner, user });
    }
    match about.mode() & 0o7777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(DaemonError::Open { path: path.to_owned(), mode }),
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
