//! The log up to one record, in a directory of its own, while it is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::AuditLog;
use super::chain::Position;
use super::segment::{DELIVERED, HeadFile, Segment};
use kms_base::durable;

/// The log up to a record. While this exists, no file of the log is compressed or removed.
pub struct AuditSnapshot {
    log: Arc<AuditLog>,
    _kept: OwnedMutexGuard<()>,
}

impl AuditLog {
    /// Begins a snapshot.
    pub async fn snapshot(self: &Arc<Self>) -> AuditSnapshot {
        let kept = Arc::clone(&self.keeping).lock_owned().await;
        AuditSnapshot { log: Arc::clone(self), _kept: kept }
    }
}

impl AuditSnapshot {
    /// The end of the durable log now.
    #[must_use]
    pub fn tip(&self) -> Position {
        self.log.tip()
    }

    /// Bytes that [`AuditSnapshot::write_to`] may need: closed files are not copied.
    ///
    /// # Errors
    /// If the log's directory cannot be read.
    pub fn needs(&self) -> io::Result<u64> {
        let segments = Segment::list(self.log.directory())?;
        segments.last().map_or(Ok(0), |last| Ok(fs::metadata(&last.path)?.len()))
    }

    /// Puts the log up to `end`, which was its tip, into a new directory; durable when this returns.
    /// Closed files are linked, not copied, where the file system can do so. Blocks.
    ///
    /// # Errors
    /// Any failure of the file system, and [`io::ErrorKind::InvalidData`] if `end` is not in the
    /// log.
    pub fn write_to(&self, dir: &Path, end: Position) -> io::Result<()> {
        let from = self.log.directory();
        durable::create_private_dir(dir)?;
        let mut segments = Segment::list(from)?;
        segments.retain(|segment| segment.first <= end.sequence);
        if let Some((last, closed)) = segments.split_last() {
            for segment in closed {
                link(&segment.path, &dir.join(segment.file_name()))?;
            }
            copy_up_to(last, &dir.join(last.file_name()), end)?;
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text == DELIVERED || (text.starts_with("torn-") && text.ends_with(".bin")) {
                copy(&entry.path(), &dir.join(&name), u64::MAX)?;
            }
        }
        HeadFile::create(dir, end)?;
        durable::sync_dir(dir)
    }
}

/// The lines of a file up to `end`. A compressed one is closed, so it ends there or before.
fn copy_up_to(segment: &Segment, to: &Path, end: Position) -> io::Result<()> {
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "the audit log ends before");
    let mut lines = segment.lines()?;
    let mut length = None;
    while let Some(raw) = lines.next()? {
        let Some(line) = raw.line else { break };
        if line.position() == end {
            length = u64::try_from(raw.bytes.len()).ok().map(|bytes| raw.offset + bytes + 1);
            break;
        }
    }
    let length = length.ok_or_else(missing)?;
    match segment.is_compressed() {
        true => link(&segment.path, to),
        false => copy(&segment.path, to, length),
    }
}

/// A second name for a file that does not change any more, or a copy of it.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => copy(from, to, u64::MAX),
    }
}

fn copy(from: &Path, to: &Path, length: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?.take(length), &mut file)?;
    file.flush()?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Kind, LogOptions, Policy, verify};

    #[tokio::test(flavor = "multi_thread")]
    async fn ends_where_it_is_said_and_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let policy = Policy { segment_size: 2000, ..Policy::default() };
        let options = LogOptions { policy, ..LogOptions::default() };
        let path = dir.path().join("audit");
        let (log, _) = AuditLog::open_with(&path, json!({}), options).await.unwrap();
        let log = Arc::new(log);
        let append = |text: &'static str| {
            let log = &log;
            async move { log.append(Kind::ServiceEvent, &json!({ "eventName": text }), &[]).await }
        };
        for _ in 0..40 {
            append("before").await.unwrap();
        }
        let snapshot = log.snapshot().await;
        let end = snapshot.tip();
        for _ in 0..40 {
            append("after").await.unwrap();
        }
        let copy = dir.path().join("copy");
        snapshot.write_to(&copy, end).unwrap();
        assert!(snapshot.needs().unwrap() > 0);
        drop(snapshot);
        let report = verify(&copy).unwrap();
        assert_eq!((report.fault, report.tip), (None, end));
        let whole = verify(&path).unwrap();
        assert!(whole.tip.sequence >= end.sequence + 40 && whole.files > report.files);
        // It can be gone on with.
        let (log, opened) = AuditLog::open(&copy, json!({})).await.unwrap();
        assert_eq!((opened.position.sequence, opened.repair), (end.sequence + 1, None));
        drop(log);
        assert_eq!(verify(&copy).unwrap().fault, None);
        // What was begun before is not changed by it.
        assert_eq!(verify(&path).unwrap().fault, None);
    }
}
