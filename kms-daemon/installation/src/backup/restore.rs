//! Reads a backup: checks it without or with its passphrase, and restores it into a data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::container::{self, Kind, Unsealer};
use super::manifest::{AUDIT, FileOf, Manifest, STORE};
use super::{BackupError, Progress, failed};
use crate::data_dir::{DataDir, MARK};
use crate::last_backup::LastBackup;
use kms_audit::AuditLog;
use kms_base::passphrase::Passphrase;
use kms_base::{durable, hex};
use kms_store::RedbStore;

/// The mark while it is written: nothing else was written before it.
const STAGED_MARK: &str = "restoring.new";
/// What an empty file system has.
const LOST_AND_FOUND: &str = "lost+found";
const BUFFER: usize = 1 << 20;

/// A backup that is whole.
#[derive(Debug)]
pub struct Verified {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// What is in it; `None` if nothing but its checksum was looked at.
    pub manifest: Option<Manifest>,
}

/// A data directory that was restored.
#[derive(Debug)]
pub struct Restored {
    /// What was in the backup.
    pub manifest: Manifest,
    /// What is wrong with the audit log that was in it, if something is.
    pub fault: Option<String>,
}

/// Compares the checksum of a backup: it shows damage, but does not prove that nobody altered the backup.
/// Blocks.
///
/// # Errors
/// [`BackupError`].
pub fn checksum(path: &Path, progress: Progress<'_>) -> Result<Verified, BackupError> {
    let (file, bytes) = open(path)?;
    let mut told = |done| progress(done, bytes);
    let sum = container::compare_checksum(file, bytes, Kind::Backup, &mut told)?;
    Ok(Verified { bytes, sha256: hex::encode(&sum), manifest: None })
}

/// Decrypts and authenticates a backup, to its last byte. Blocks.
///
/// # Errors
/// [`BackupError`].
pub fn verify(
    path: &Path,
    passphrase: &Passphrase,
    progress: Progress<'_>,
) -> Result<Verified, BackupError> {
    let mut verified = checksum(path, &mut |_, _| {})?;
    let bytes = verified.bytes;
    let mut done = 0;
    verified.manifest = Some(read_whole(path, passphrase, &mut |part| {
        done += part;
        progress(done.min(bytes), bytes);
    })?);
    Ok(verified)
}

/// Reads all of a backup, checksum included; `done` hears of each part of the content.
pub(super) fn read_whole(
    path: &Path,
    passphrase: &Passphrase,
    done: &mut dyn FnMut(u64),
) -> Result<Manifest, BackupError> {
    let (manifest, mut content) = begin(path, passphrase)?;
    for file in &manifest.files {
        copy(file, &mut content, &mut io::sink(), done)?;
    }
    end(path, content)?;
    Ok(manifest)
}

/// Restores a backup into `dir`, which is made, or empty. `progress` hears of twice the content:
/// all of it is authenticated before any is written. Blocks, and needs no runtime.
///
/// # Errors
/// [`BackupError`]. The directory is as empty as before then, unless the program or the machine was
/// stopped; then it is refused by every program.
pub fn restore(
    path: &Path,
    passphrase: &Passphrase,
    dir: &Path,
    progress: Progress<'_>,
) -> Result<Restored, BackupError> {
    // A daemon that runs there is reported before anything else.
    let _lock = claim(dir)?;
    let twice = open(path)?.1.saturating_mul(2);
    let mut done = 0;
    let mut told = |part| {
        done += part;
        progress(done, twice);
    };
    read_whole(path, passphrase, &mut told)?;
    let restored = fill(path, passphrase, dir, &mut told);
    progress(twice, twice);
    if restored.is_err() {
        empty(dir);
    }
    restored
}

/// Takes the directory, if nothing is in it.
fn claim(dir: &Path) -> Result<DataDir, BackupError> {
    let was_there = dir.try_exists().map_err(failed("look at", dir))?;
    if was_there && dir.join(MARK).try_exists().map_err(failed("look at", dir))? {
        // Whoever restores there now has the lock.
        DataDir::lock(dir)?;
        return Err(BackupError::HalfRestored(dir.to_owned()));
    }
    let is_empty = |dir: &Path| -> Result<bool, BackupError> {
        let entries = fs::read_dir(dir).map_err(failed("read", dir))?;
        let names = entries.flatten().map(|entry| entry.file_name());
        let counts_not = ["lock", LOST_AND_FOUND, STAGED_MARK];
        Ok(names.into_iter().all(|name| counts_not.iter().any(|not| name == *not)))
    };
    if was_there && !dir.join("lock").exists() && !is_empty(dir)? {
        return Err(BackupError::NotEmpty(dir.to_owned()));
    }
    let lock = DataDir::lock(dir)?;
    if !is_empty(dir)? {
        return Err(BackupError::NotEmpty(dir.to_owned()));
    }
    Ok(lock)
}

fn fill(
    path: &Path,
    passphrase: &Passphrase,
    dir: &Path,
    done: &mut dyn FnMut(u64),
) -> Result<Restored, BackupError> {
    let mark = dir.join(MARK);
    durable::write(&mark, b"A restore into this directory was not completed.\n", 0o600)
        .map_err(failed("write", &mark))?;
    let (manifest, mut content) = begin(path, passphrase)?;
    let mut made = vec![dir.to_owned()];
    for file in &manifest.files {
        let to = dir.join(&file.path);
        let parent = to.parent().unwrap_or(dir).to_owned();
        if !made.contains(&parent) {
            durable::create_private_dir(&parent).map_err(failed("make", &parent))?;
            made.extend(parent.ancestors().take_while(|at| *at != dir).map(Path::to_owned));
        }
        let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
        let mut out = BufWriter::with_capacity(BUFFER, out.map_err(failed("write", &to))?);
        copy(file, &mut content, &mut out, done)?;
        let out = out.into_inner().map_err(|error| failed("write", &to)(error.into_error()))?;
        out.sync_all().map_err(failed("write", &to))?;
    }
    end(path, content)?;
    for directory in &made {
        durable::sync_dir(directory).map_err(failed("make durable", directory))?;
    }
    let fault = settle(path, dir, &manifest)?;
    fs::remove_file(&mark).map_err(failed("remove", &mark))?;
    durable::sync_dir(dir).map_err(failed("make durable", dir))?;
    Ok(Restored { manifest, fault })
}

/// Opens what was restored and has it tell where it comes from: this backup is its last one.
fn settle(path: &Path, dir: &Path, manifest: &Manifest) -> Result<Option<String>, BackupError> {
    let file = fs::canonicalize(path).map_err(failed("look at", path))?;
    let Verified { bytes, sha256, .. } = checksum(path, &mut |_, _| {})?;
    let last = LastBackup {
        version: LastBackup::VERSION,
        created: manifest.created.clone(),
        path: file.display().to_string(),
        bytes,
        sha256,
        domains: manifest.domains_held(),
        audit_sequence: manifest.audit.sequence,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(failed("start threads for", dir))?;
    runtime.block_on(async {
        let store = RedbStore::open(&dir.join(STORE))?;
        last.write(&store).await?;
        let log = dir.join(AUDIT);
        let report = kms_audit::verify(&log).map_err(|error| error.to_string());
        let fault = match report {
            Ok(report) => report
                .fault
                .map(|fault| format!("{}:{}: {}", fault.file.display(), fault.line, fault.reason)),
            Err(error) => Some(error),
        };
        if fault.is_none() {
            let about = json!({ "program": "kmsctl restore" });
            let (log, _) = AuditLog::open(&log, about).await?;
            let details = serde_json::to_value(&last).unwrap_or_default();
            let written = log.installation_event("RestoreBackup", &details).await;
            written.map_err(|text| failed("write to", dir)(io::Error::other(text)))?;
        }
        Ok(fault)
    })
}

/// Removes what was written. The mark goes last, so that what is left is never taken for whole.
fn empty(dir: &Path) {
    let keep = [MARK, "lock", LOST_AND_FOUND];
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut removed = true;
    for entry in entries.filter(|entry| !keep.iter().any(|name| entry.file_name() == *name)) {
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let gone = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed &= gone.is_ok();
    }
    if removed {
        let _ = fs::remove_file(dir.join(MARK));
    }
}

type Content = Unsealer<BufReader<File>>;

fn open(path: &Path) -> Result<(BufReader<File>, u64), BackupError> {
    let file = File::open(path).map_err(failed("read", path))?;
    let data = file.metadata().map_err(failed("read", path))?;
    if !data.is_file() {
        return Err(BackupError::NoBackup);
    }
    Ok((BufReader::with_capacity(BUFFER, file), data.len()))
}

fn begin(path: &Path, passphrase: &Passphrase) -> Result<(Manifest, Content), BackupError> {
    let (file, length) = open(path)?;
    let mut content = Unsealer::begin(file, length, Kind::Backup, passphrase)?;
    let manifest = Manifest::read(&mut content)?;
    Ok((manifest, content))
}

/// Passes one file on.
fn copy(
    file: &FileOf,
    from: &mut Content,
    to: &mut impl Write,
    done: &mut dyn FnMut(u64),
) -> Result<(), BackupError> {
    let mut buffer = zeroize::Zeroizing::new(vec![0; 64 << 10]);
    let mut left = file.bytes;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = from.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(BackupError::Incomplete);
        }
        to.write_all(&buffer[..read]).map_err(failed("write", &PathBuf::from(&file.path)))?;
        left -= read as u64;
        done(read as u64);
    }
    Ok(())
}

/// There must be nothing more, and the checksum must be right.
fn end(path: &Path, mut content: Content) -> Result<(), BackupError> {
    // An empty last chunk is looked at only when it is read.
    let more = content.read(&mut [0])?;
    if more > 0 || !content.is_at_end() {
        return Err(BackupError::Manifest("it contains more than it lists".to_owned()));
    }
    checksum(path, &mut |_, _| {}).map(drop)
}
