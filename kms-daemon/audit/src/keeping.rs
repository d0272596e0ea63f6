//! How the files of a log are kept: when a new one is begun, whether closed ones are compressed,
//! where they are delivered to, and when they are removed.
//!
//! A file is closed once a newer one has lines. Nothing but a [`Policy`] touches closed files, and
//! each step is itself recorded in the log:
//!
//! * *Compression* changes the form of a file, not its lines: the chain is over these.
//! * *Delivery* copies a file under a name of its own until it is whole and durable, reads it back,
//!   and gives it its name. Beside it, the records of the file are delivered in CloudTrail's own form,
//!   for programs that read that. The record has the SHA-256 of each.
//! * *Removal* is recorded before it happens, with the last position of each file. What remains is
//!   verified from there: the first line carries the hash of the one before it, and a later record
//!   must tell that it was to be removed. Files that are to be delivered are not removed before.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use super::chain::{Kind, Line, Position};
use super::log::AuditLog;
use super::segment::{COMPRESSED, DELIVERED, HeadFile, Segment};
use super::{AuditError, cloudtrail, service_event};
use kms_base::{durable, hex};

/// `eventName` of the record of a delivery.
const DELIVERY: &str = "DeliverAuditSegment";
/// `eventName` of the record of a removal.
const REMOVAL: &str = "RemoveAuditSegments";
/// Most files that one record of a removal tells of; the rest is for the next round.
const MAX_REMOVED: usize = 64;

/// What becomes of the files of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A file that has reached this size in bytes gets no more lines.
    pub segment_size: u64,
    /// A file that is older gets no more lines; nor does one of another day, in UTC.
    pub segment_age: Duration,
    /// Whether closed files are compressed.
    pub compress: bool,
    /// Where closed files are copied to.
    pub deliver: Option<PathBuf>,
    /// For how many days after their last line files are kept; `None`: forever.
    pub keep: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            segment_size: 16 << 20,
            segment_age: Duration::from_secs(24 * 60 * 60),
            compress: false,
            deliver: None,
            keep: None,
        }
    }
}

/// A file in the record of a removal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Removed {
    file: String,
    first_sequence: u64,
    last: Position,
}

/// Whether a line tells that the lines up to `position` were to be removed.
pub(super) fn removed_up_to(line: &Line, position: Position) -> bool {
    if line.kind != Kind::ServiceEvent || line.record["eventName"] != REMOVAL {
        return false;
    }
    let segments = &line.record["serviceEventDetails"]["segments"];
    let segments = Vec::<Removed>::deserialize(segments).unwrap_or_default();
    segments.iter().any(|segment| segment.last == position)
}

/// Why the files were not kept as the policy says.
#[derive(Debug, thiserror::Error)]
pub enum KeepingError {
    /// A file cannot be read, written or removed.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A closed file is not what it was.
    #[error("{0} is damaged and is left as it is; run `kmsctl audit verify` on its directory")]
    Damaged(PathBuf),
    /// The log takes no records.
    #[error(transparent)]
    Log(#[from] AuditError),
}

/// How often the minute's counts are looked at, and the disk.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two rounds over the files.
const ROUND: u32 = 10;

/// Writes counts when they are due and keeps the files as the policy says, until the task is
/// aborted.
pub async fn keep_log(log: &AuditLog) {
    let mut said = None;
    for tick in (0..ROUND).cycle() {
        let _ = log.room();
        // A log that cannot be written has said so already.
        let _ = log.end_minute().await;
        if tick == 0 {
            let failed =
                log.keep_files(SystemTime::now()).await.err().map(|error| error.to_string());
            if let Some(error) = failed.as_ref().filter(|_| failed != said) {
                tracing::error!(%error, "the audit log's files are not kept as they should be");
            }
            said = failed;
        }
        tokio::time::sleep(TICK).await;
    }
}

impl AuditLog {
    /// Does what the policy says with the closed files, as of `now`.
    ///
    /// # Errors
    /// [`KeepingError`]. What was done is done; the rest is tried again the next time.
    pub async fn keep_files(&self, now: SystemTime) -> Result<(), KeepingError> {
        let _alone = self.keeping.lock().await;
        let policy = self.policy();
        if policy.compress {
            for segment in self.closed()? {
                blocking(move || compress(&segment)).await?;
            }
        }
        if let Some(target) = policy.deliver.clone() {
            self.deliver(&target).await?;
        }
        match policy.keep {
            Some(days) => self.remove(days, now).await,
            None => Ok(()),
        }
    }

    async fn deliver(&self, target: &Path) -> Result<(), KeepingError> {
        let mark = self.directory().join(DELIVERED);
        let mut delivered = delivered(&mark)?;
        for segment in self.closed()? {
            if segment.first <= delivered.sequence {
                continue;
            }
            // It was closed after the others were compressed: the next round has it.
            if self.policy().compress && !segment.is_compressed() {
                break;
            }
            let (one, to) = (segment.clone(), target.to_owned());
            let (account, region) = self.place();
            let home = (account.to_owned(), region.to_owned());
            let (copy, trail) = blocking(move || {
                let copy = copy(&one, &to)?;
                let written = cloudtrail::deliver(&one, &to, (&home.0, &home.1), &|_| true);
                let written = written
                    .map_err(|(path, source)| failed("deliver to", &to.join(path))(source))?;
                Ok((copy, written))
            })
            .await?;
            let details = json!({
                "file": segment.file_name(),
                "directory": target,
                "firstSequence": segment.first,
                "last": copy.last,
                "bytes": copy.bytes,
                "sha256": copy.sha256,
                "cloudTrailFiles": trail,
            });
            self.keeping_event(DELIVERY, &details).await?;
            delivered = copy.last;
            durable::write(&mark, HeadFile::format(delivered).as_bytes(), 0o600)
                .map_err(failed("write", &mark))?;
        }
        Ok(())
    }

    /// Bytes of closed files that are yet to be delivered, as far as they can be read.
    pub(super) fn undelivered(&self) -> u64 {
        if self.policy().deliver.is_none() {
            return 0;
        }
        let delivered = delivered(&self.directory().join(DELIVERED)).unwrap_or_default().sequence;
        let closed = self.closed().unwrap_or_default().into_iter();
        let waiting = closed.filter(|segment| segment.first > delivered);
        waiting.filter_map(|segment| fs::metadata(segment.path).ok()).map(|file| file.len()).sum()
    }

    async fn remove(&self, days: u32, now: SystemTime) -> Result<(), KeepingError> {
        let kept = OffsetDateTime::from(now) - time::Duration::days(days.into());
        let oldest = kept.format(format_description!("[year][month][day]")).unwrap_or_default();
        let limit = match self.policy().deliver {
            Some(_) => delivered(&self.directory().join(DELIVERED))?.sequence,
            None => u64::MAX,
        }
        .min(self.held());
        let all = self.segments()?;
        // The last line of a file is no later than the first one of the next.
        let due = all.windows(2).take_while(|pair| pair[1].day < oldest);
        let due: Vec<Segment> = due.map(|pair| pair[0].clone()).take(MAX_REMOVED).collect();
        let (mut gone, mut removed) = (Vec::new(), Vec::new());
        for segment in due {
            let last = last_of(&segment)?;
            if last.sequence > limit {
                break;
            }
            let (file, first_sequence) = (segment.file_name(), segment.first);
            removed.push(Removed { file, first_sequence, last });
            gone.push(segment);
        }
        if gone.is_empty() {
            return Ok(());
        }
        let delivered = self.policy().deliver.is_some();
        let details = json!({ "segments": removed, "keptDays": days, "delivered": delivered });
        self.keeping_event(REMOVAL, &details).await?;
        for segment in &gone {
            let twin = with_suffix(&segment.path, COMPRESSED);
            for path in [&twin, &segment.path] {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("remove", path)(error));
                    }
                    _ => {}
                }
            }
        }
        durable::sync_dir(self.directory()).map_err(failed("sync", self.directory()))?;
        tracing::info!(files = gone.len(), "removed audit files that are older than is kept");
        Ok(())
    }

    async fn keeping_event(
        &self,
        name: &str,
        details: &serde_json::Value,
    ) -> Result<(), AuditError> {
        let (account, region) = self.place();
        let now = SystemTime::now();
        let event = service_event::record(name, (account, region), now, &json!([]), details);
        self.append(Kind::ServiceEvent, &event, &[]).await.map(drop)
    }

    fn segments(&self) -> Result<Vec<Segment>, KeepingError> {
        Segment::list(self.directory()).map_err(failed("read", self.directory()))
    }

    /// All but the file that is being written.
    fn closed(&self) -> Result<Vec<Segment>, KeepingError> {
        let mut segments = self.segments()?;
        segments.pop();
        Ok(segments)
    }
}

/// A copy that is whole and durable.
struct Copy {
    last: Position,
    bytes: u64,
    sha256: String,
}

fn copy(segment: &Segment, target: &Path) -> Result<Copy, KeepingError> {
    let last = last_of(segment)?;
    durable::create_private_dir(target).map_err(failed("make", target))?;
    let source = fs::read(&segment.path).map_err(failed("read", &segment.path))?;
    let digest = Sha256::digest(&source);
    let path = target.join(segment.path.file_name().unwrap_or_default());
    durable::write(&path, &source, 0o600).map_err(failed("write", &path))?;
    let arrived = fs::read(&path).map_err(failed("read", &path))?;
    if Sha256::digest(&arrived) != digest {
        let _ = fs::remove_file(&path);
        let source = io::Error::other("what was read back differs from what was written");
        return Err(failed("deliver to", &path)(source));
    }
    let bytes = u64::try_from(source.len()).unwrap_or(u64::MAX);
    Ok(Copy { last, bytes, sha256: hex::encode(&digest) })
}

/// Compresses a file and removes the original once the result is durable and holds the same.
fn compress(segment: &Segment) -> Result<(), KeepingError> {
    if segment.is_compressed() {
        return Ok(());
    }
    let path = with_suffix(&segment.path, COMPRESSED);
    let staged = with_suffix(&path, ".new");
    last_of(segment)?;
    let plain = fs::read(&segment.path).map_err(failed("read", &segment.path))?;
    let written = (|| {
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(&staged)?;
        let mut encoder = GzEncoder::new(file, Compression::default());
        encoder.write_all(&plain)?;
        encoder.finish()?.sync_all()?;
        let mut back = Vec::with_capacity(plain.len());
        let bound = u64::try_from(plain.len()).unwrap_or(u64::MAX).saturating_add(1);
        let decoder = flate2::read::MultiGzDecoder::new(File::open(&staged)?);
        decoder.take(bound).read_to_end(&mut back)?;
        if back != plain {
            return Err(io::Error::other("it does not decompress to what it was made of"));
        }
        fs::rename(&staged, &path)?;
        let dir = path.parent().unwrap_or(Path::new("."));
        durable::sync_dir(dir)?;
        fs::remove_file(&segment.path)?;
        durable::sync_dir(dir)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written.map_err(failed("compress to", &path))
}

/// The last position of a closed file, whose lines are followed from its first.
fn last_of(segment: &Segment) -> Result<Position, KeepingError> {
    let damaged = || KeepingError::Damaged(segment.path.clone());
    let read = || -> io::Result<Option<Position>> {
        let Some(mut at) = segment.before()? else { return Ok(None) };
        let mut lines = segment.lines()?;
        while let Some(raw) = lines.next()? {
            let next = raw
                .line
                .filter(|line| (line.sequence, line.previous) == (at.sequence + 1, at.hash));
            let Some(line) = next else { return Ok(None) };
            at = line.position();
        }
        Ok(Some(at))
    };
    read().map_err(failed("read", &segment.path))?.ok_or_else(damaged)
}

fn delivered(mark: &Path) -> Result<Position, KeepingError> {
    let known = HeadFile::load_from(mark).map_err(failed("read", mark))?;
    // A damaged one is as good as none: files are delivered once more.
    Ok(known.flatten().unwrap_or_default())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeepingError {
    let path = path.to_owned();
    move |source| KeepingError::File { what, path, source }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeepingError> + Send + 'static,
) -> Result<T, KeepingError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let path = PathBuf::new();
        Err(KeepingError::File { what: "keep", path, source: io::Error::other(error) })
    })
}

#[cfg(test)]
mod tests;
