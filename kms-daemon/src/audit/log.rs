//! The handle to the audit log.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::chain::{Body, Kind, Position};
use super::positions::Positions;
use super::recovery::{self, Repair};
use super::segment::HeadFile;
use super::writer::{Effect, Job, OpenSegment, Record, Status, Unwritten, Writer, lock};
use super::{DeviceReceipt, RequestRecord};
use crate::durable;

/// Records waiting for the writer; more senders wait for room.
const QUEUE: usize = 4096;

/// Why the audit log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The directory or a file in it cannot be read or written.
    #[error("cannot access the audit log {path}: {source}")]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A durable line is not what it was. Nothing has been changed.
    #[error(
        "the audit log is damaged at {path}:{line}; run `kmsctl audit verify` on its directory, \
         then restore it, or move the directory away to begin a new log"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Durable lines are not there any more. Nothing has been changed.
    #[error(
        "audit records {} to {expected} are missing behind {path}; restore them, or move the \
         directory away to begin a new log", last + 1
    )]
    Missing {
        /// The last file, or the directory if no file is left.
        path: PathBuf,
        /// Sequence of the last line there is.
        last: u64,
        /// Sequence of the last line there was.
        expected: u64,
    },
    /// The record could not be written: the disk is full or failing.
    #[error("the audit record could not be written")]
    Unwritable,
}

type Answer = oneshot::Receiver<Result<Position, Unwritten>>;

/// What opening a log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Position of the `started` record of this run.
    pub position: Position,
    /// What a crash had left and was cut off.
    pub repair: Option<Repair>,
}

/// An append-only, chained log. One per directory; callers hold the directory's lock.
#[derive(Debug)]
pub struct AuditLog {
    jobs: Option<mpsc::Sender<Job>>,
    status: Arc<Status>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AuditLog {
    /// Opens the log in `dir`, creating it if missing, repairs a torn tail and writes the
    /// `started` record with the members of `about` in it.
    ///
    /// # Errors
    /// [`AuditError::Damaged`] or [`AuditError::Missing`] if durable records were tampered with.
    pub async fn open(dir: &Path, about: Value) -> Result<(Self, Opened), AuditError> {
        let io = |source| AuditError::Directory { path: dir.to_owned(), source };
        durable::create_private_dir(dir).map_err(io)?;
        let end = recovery::find_end(dir)?;
        let open = end.segment.map(OpenSegment::resume).transpose().map_err(io)?;
        let head = HeadFile::create(dir, end.tip).map_err(io)?;
        let status = Arc::new(Status::default());
        *lock(&status.positions) = end.positions;
        let writer = Writer {
            dir: dir.to_owned(),
            tip: end.tip,
            open,
            head,
            status: Arc::clone(&status),
            backlog: VecDeque::new(),
            lost: 0,
        };
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(io)?;
        let log = Self { jobs: Some(jobs), status, writer: Mutex::new(Some(thread)) };
        let record = json!({ "format": 1, "daemon": about, "repair": end.repair });
        let position = log.append(Kind::Started, &record, &[]).await?;
        Ok((log, Opened { position, repair: end.repair }))
    }

    /// Appends the record of a request, and the copies of it that other accounts get, in one step;
    /// they are durable when this returns.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`]. The record is kept in memory and written as soon as possible,
    /// marked as one whose response was withheld.
    pub async fn append_request(&self, record: &RequestRecord<'_>) -> Result<Position, AuditError> {
        let copies = record.copies();
        let copies = copies.iter().map(|copy| line(Kind::Request, copy, &[]));
        let own = line(Kind::Request, &record.to_json(), record.receipts());
        let (job, answer) = self.job(copies.chain([own]).collect());
        self.send(job, answer).await
    }

    /// Appends a record; it is durable when this returns.
    ///
    /// # Errors
    /// See [`AuditLog::append_request`].
    pub async fn append(
        &self,
        kind: Kind,
        record: &Value,
        device: &[DeviceReceipt],
    ) -> Result<Position, AuditError> {
        let (job, answer) = self.job(vec![line(kind, record, device)]);
        self.send(job, answer).await
    }

    /// Like [`AuditLog::append`], for threads outside of the async runtime.
    pub(super) fn append_blocking(
        &self,
        kind: Kind,
        record: &Value,
        device: &[DeviceReceipt],
    ) -> Result<Position, AuditError> {
        let (job, answer) = self.job(vec![line(kind, record, device)]);
        let jobs = self.jobs.as_ref().ok_or(AuditError::Unwritable)?;
        jobs.blocking_send(job).map_err(|_| AuditError::Unwritable)?;
        answer.blocking_recv().ok().and_then(Result::ok).ok_or(AuditError::Unwritable)
    }

    /// Up to where the chains of the devices are recorded.
    pub(super) fn positions(&self) -> MutexGuard<'_, Positions> {
        lock(&self.status.positions)
    }

    fn job(&self, records: Vec<Record>) -> (Job, Answer) {
        let (reply, answer) = oneshot::channel();
        self.status.pending.fetch_add(1, Ordering::AcqRel);
        (Job::Append(records, reply), answer)
    }

    /// Says whether requests may be carried out: if writing has failed, tries again first.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`]; the refusal is counted and reported in the log later.
    pub async fn ensure_writable(&self) -> Result<(), AuditError> {
        if self.is_writable() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let outcome = self.send(Job::Retry(reply), answer).await;
        if outcome.is_err() {
            self.status.refused.fetch_add(1, Ordering::AcqRel);
        }
        outcome.map(drop)
    }

    /// Whether the last write succeeded.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        !self.status.failing.load(Ordering::Acquire)
    }

    /// The end of the durable log.
    #[must_use]
    pub fn tip(&self) -> Position {
        *lock(&self.status.tip)
    }

    /// Sequence of the last durable record.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.tip().sequence
    }

    /// Records handed over and not yet durable: the lag of the log.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.status.pending.load(Ordering::Acquire)
    }

    /// Makes writing fail as a full disk does, or work again.
    #[cfg(test)]
    pub(crate) fn set_disk_full(&self, full: bool) {
        self.status.disk_full.store(full, Ordering::Release);
    }

    async fn send(&self, job: Job, answer: Answer) -> Result<Position, AuditError> {
        let jobs = self.jobs.as_ref().ok_or(AuditError::Unwritable)?;
        jobs.send(job).await.map_err(|_| AuditError::Unwritable)?;
        answer.await.ok().and_then(Result::ok).ok_or(AuditError::Unwritable)
    }
}

fn line(kind: Kind, record: &Value, device: &[DeviceReceipt]) -> Record {
    let effect = Effect::new(kind, record, device);
    Record { body: Body::new(kind, record, device), effect }
}

impl Drop for AuditLog {
    /// Waits until everything handed over has been written.
    fn drop(&mut self) {
        drop(self.jobs.take());
        let thread = lock(&self.writer).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit writer had panicked");
        }
    }
}

#[cfg(test)]
mod tests;
