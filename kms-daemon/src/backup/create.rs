//! Writes a backup: under another name, made durable, read back, and only then given its name.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::container::{Passphrase, Sealer};
use super::content::{self, Devices, Item, Source};
use super::manifest::{FileOf, Manifest};
use super::snapshot::Prepared;
use super::{BackupError, Progress, failed, restore};
use crate::{durable, hex};

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
}

/// Writes a backup to `path`, where nothing may be. `progress` hears of twice the content: it is
/// written and read back. Blocks.
///
/// # Errors
/// [`BackupError`]. There is no file of that name then.
pub fn create(
    path: &Path,
    creation: &Creation<'_>,
    progress: Progress<'_>,
) -> Result<Created, BackupError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = fs::canonicalize(parent.unwrap_or(Path::new(".")))
        .map_err(failed("write into the directory of", path))?;
    let name = path.file_name().ok_or_else(|| BackupError::Exists(path.to_owned()))?;
    let path = parent.join(name);
    refuse_existing(&path)?;
    let Creation { data, snapshot, devices, passphrase } = creation;
    let (regions, items) = content::gather(data, &snapshot.directory, *devices)?;
    let file = |item: &Item| FileOf { path: item.path.clone(), bytes: item.bytes };
    let at = (snapshot.created.clone(), snapshot.store_revision.0, snapshot.audit);
    let manifest = Manifest::new(at, regions, items.iter().map(file).collect());

    let partial = Partial::begin(&path)?;
    let (written, twice) = (&mut 0, manifest.bytes().saturating_mul(2));
    let mut done = |bytes: u64| {
        *written += bytes;
        progress(*written, twice);
    };
    let out = BufWriter::with_capacity(1 << 20, &partial.file);
    let mut sealer = Sealer::begin(out, passphrase)?;
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
    Ok(Created { path, bytes, sha256: hex::encode(&sum), manifest })
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
struct Partial {
    file: File,
    path: PathBuf,
    done: bool,
}

impl Partial {
    fn begin(path: &Path) -> Result<Self, BackupError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let path = path.with_file_name(name);
        let file = durable::open_private(&path).map_err(failed("write", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::UnderWay(path)),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
        }
        file.set_len(0).map_err(failed("write", &path))?;
        (&file).rewind().map_err(failed("write", &path))?;
        Ok(Self { file, path, done: false })
    }

    /// Gives it its name, which nothing may have.
    fn finish(mut self, path: &Path) -> Result<(), BackupError> {
        let named = match renameat_with(CWD, &self.path, CWD, path, RenameFlags::NOREPLACE) {
            // Of this file system the kernel does not know how: a second name is as good.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
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
