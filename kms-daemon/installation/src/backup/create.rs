//! Writes a backup under a temporary name, makes it durable, reads it back, and only then gives it its
//! name.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::container::{Kind, Sealer};
use super::content::{self, Devices, Gathered, Item, Source};
use super::manifest::{FileOf, Manifest};
use super::snapshot::Prepared;
use super::{BackupError, Progress, failed, restore};
use kms_base::passphrase::Passphrase;
use kms_base::{durable, hex};

/// How often a file may be renamed between its opening and its locking.
const TRIES: usize = 8;

/// What is to be in a backup.
pub struct Creation<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// Store and audit log as they were.
    pub snapshot: &'a Prepared,
    /// Whether it is to hold the flash of devices that run there.
    pub devices: Devices,
    /// What opens it.
    pub passphrase: &'a Passphrase,
}

/// A backup that is whole and durable.
#[derive(Debug)]
pub struct Created {
    /// The file, absolute.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// What is in it.
    pub manifest: Manifest,
    /// Flashes, and what may be one, that are not in it: paths in the data directory.
    pub left_out: Vec<String>,
}

/// Writes a backup to `path`, where nothing may be. `progress` hears of twice the content: it is
/// written and read back; first of nothing, when `PATH.partial` is this backup's. Blocks.
///
/// # Errors
/// [`BackupError`]. There is no file of that name then.
pub fn create(
    path: &Path,
    creation: &Creation<'_>,
    progress: Progress<'_>,
) -> Result<Created, BackupError> {
    let (parent, path) = place(path)?;
    let Creation { data, snapshot, devices, passphrase } = creation;
    let Gathered { regions, items, left_out } =
        content::gather(data, &snapshot.directory, *devices, &parent)?;
    let file = |item: &Item| FileOf { path: item.path.clone(), bytes: item.bytes };
    let at = (snapshot.created.clone(), snapshot.store_revision.0, snapshot.audit);
    let manifest = Manifest::new(at, regions, items.iter().map(file).collect());

    let partial = Partial::begin(&path)?;
    let (written, twice) = (&mut 0, manifest.bytes().saturating_mul(2));
    progress(0, twice);
    let mut done = |bytes: u64| {
        *written += bytes;
        progress(*written, twice);
    };
    let out = BufWriter::with_capacity(1 << 20, &partial.file);
    let mut sealer = Sealer::begin(out, Kind::Backup, passphrase)?;
    manifest.write(&mut sealer)?;
    for item in items {
        write_item(item, &mut sealer, &mut done)?;
    }
    let (out, bytes, sum) = sealer.finish().map_err(failed("write", &partial.path))?;
    drop(out);
    partial.file.sync_all().map_err(failed("write", &partial.path))?;
    let found = restore::read_whole(&partial.path, passphrase, &mut done)?;
    if found != manifest {
        return Err(BackupError::Incomplete);
    }
    partial.finish(&path)?;
    Ok(Created { path, bytes, sha256: hex::encode(&sum), manifest, left_out })
}

/// Whether a backup of `data` can be written to `path`: there is nothing of that name, and it is not
/// within what is backed up.
///
/// # Errors
/// [`BackupError`].
pub fn check_target(path: &Path, data: &Path) -> Result<(), BackupError> {
    let (parent, _) = place(path)?;
    content::ensure_outside(data, &parent)
}

/// The directory of a backup that is to be, and its own path, absolute.
pub(crate) fn place(path: &Path) -> Result<(PathBuf, PathBuf), BackupError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = fs::canonicalize(parent.unwrap_or(Path::new(".")))
        .map_err(failed("write into the directory of", path))?;
    let name = path.file_name().ok_or_else(|| BackupError::Exists(path.to_owned()))?;
    let path = parent.join(name);
    refuse_existing(&path)?;
    Ok((parent, path))
}

fn write_item(
    Item { path, bytes, source }: Item,
    to: &mut impl Write,
    done: &mut dyn FnMut(u64),
) -> Result<(), BackupError> {
    let from = match source {
        Source::Memory(content) => {
            to.write_all(&content)?;
            done(bytes);
            return Ok(());
        }
        Source::File(from) => from,
    };
    let file = File::open(&from).map_err(failed("read", &from))?;
    let mut file = BufReader::with_capacity(1 << 20, file.take(bytes));
    let mut copied = 0;
    while copied < bytes {
        let part = io::copy(&mut (&mut file).take(1 << 20), to).map_err(failed("copy", &from))?;
        if part == 0 {
            return Err(BackupError::Changing(data_path(&from, &path)));
        }
        copied += part;
        done(part);
    }
    Ok(())
}

fn data_path(from: &Path, path: &str) -> PathBuf {
    if from.ends_with(path) { from.to_owned() } else { PathBuf::from(path) }
}

fn refuse_existing(path: &Path) -> Result<(), BackupError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("look at", path)(error)),
        Ok(_) => Err(BackupError::Exists(path.to_owned())),
    }
}

/// A backup that has not its name yet. What a crash leaves of it is taken over by the next.
pub(crate) struct Partial {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    done: bool,
}

impl Partial {
    pub(crate) fn begin(path: &Path) -> Result<Self, BackupError> {
        let path = partial_path(path);
        for _ in 0..TRIES {
            let file = open_partial(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(BackupError::UnderWay(path)),
                Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
            }
            if !is_ours(&path, &file)? {
                // Whoever had the lock has given the file its name, or removed it.
                continue;
            }
            file.set_len(0).map_err(failed("write", &path))?;
            (&file).rewind().map_err(failed("write", &path))?;
            return Ok(Self { file, path, done: false });
        }
        Err(BackupError::UnderWay(path))
    }

    /// Gives it its name, which nothing may have.
    pub(crate) fn finish(mut self, path: &Path) -> Result<(), BackupError> {
        let named = match renameat_with(CWD, &self.path, CWD, path, RenameFlags::NOREPLACE) {
            // Of this file system the kernel does not know how: a second name is as good.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::hard_link(&self.path, path).and_then(|()| fs::remove_file(&self.path))
            }
            renamed => renamed.map_err(io::Error::from),
        };
        match named {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists(path.to_owned()));
            }
            named => named.map_err(failed("name", path))?,
        }
        self.done = true;
        let parent = path.parent().unwrap_or(Path::new("/"));
        durable::sync_dir(parent).map_err(failed("make durable", path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What the backup `path` is called until it is whole.
#[must_use]
pub fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

/// Opens it without following a link, and without changing it: whose it is, is not known yet.
fn open_partial(path: &Path) -> Result<File, BackupError> {
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
            Err(BackupError::ForeignPartial(path.to_owned()))
        }
        Err(error) => Err(failed("write", path)(error.into())),
    }
}

/// Whether `path` still leads to this file, which is locked; then it must be one that a backup of this
/// user has left: another name of it, or another mode, and it is somebody else's business.
fn is_ours(path: &Path, file: &File) -> Result<bool, BackupError> {
    let opened = file.metadata().map_err(failed("look at", path))?;
    let named = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        named => named.map_err(failed("look at", path))?,
    };
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        return Ok(false);
    }
    let user = rustix::process::geteuid().as_raw();
    let is_private = opened.mode() & 0o7777 == 0o600;
    match opened.is_file() && opened.uid() == user && opened.nlink() == 1 && is_private {
        true => Ok(true),
        false => Err(BackupError::ForeignPartial(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn refused(path: &Path) {
        let refused = Partial::begin(path).err();
        assert!(matches!(refused, Some(BackupError::ForeignPartial(_))), "{refused:?}");
    }

    #[test]
    fn what_others_put_in_the_place_of_a_backup_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("b"), dir.path().join("victim"));
        let partial = partial_path(&path);
        fs::write(&victim, "kept").unwrap();
        fs::set_permissions(&victim, PermissionsExt::from_mode(0o600)).unwrap();
        symlink(&victim, &partial).unwrap();
        refused(&path);
        fs::remove_file(&partial).unwrap();
        symlink(dir.path().join("new"), &partial).unwrap();
        refused(&path);
        assert!(!dir.path().join("new").exists());
        fs::remove_file(&partial).unwrap();
        fs::hard_link(&victim, &partial).unwrap();
        refused(&path);
        fs::remove_file(&partial).unwrap();
        fs::create_dir(&partial).unwrap();
        refused(&path);
        fs::remove_dir(&partial).unwrap();
        fs::write(&partial, "kept").unwrap();
        fs::set_permissions(&partial, PermissionsExt::from_mode(0o644)).unwrap();
        refused(&path);
        assert_eq!(fs::read(&partial).unwrap(), b"kept");
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
        // What a backup of ours has left is taken over.
        fs::set_permissions(&partial, PermissionsExt::from_mode(0o600)).unwrap();
        drop(Partial::begin(&path).unwrap());
        assert!(!partial.exists());
    }

    #[test]
    fn a_file_that_got_its_name_is_no_partial_one_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        let partial = partial_path(&path);
        let first = Partial::begin(&path).unwrap();
        (&first.file).write_all(b"whole").unwrap();
        // Another one opens it just before it is renamed, and gets the lock afterwards.
        let late = open_partial(&partial).unwrap();
        first.finish(&path).unwrap();
        late.try_lock().unwrap();
        assert!(!is_ours(&partial, &late).unwrap());
        // Nor if there is a new one under the old name.
        let second = Partial::begin(&path).unwrap();
        assert!(!is_ours(&partial, &late).unwrap());
        assert!(matches!(second.finish(&path), Err(BackupError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}
