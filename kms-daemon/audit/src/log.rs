//! The handle to the audit log.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::chain::{Body, Kind, Position};
use super::journal::{HALF, Journal};
use super::keeping::Policy;
use super::mark::StoreNow;
use super::positions::Positions;
use super::recovery::{Found, Repair};
use super::segment::HeadFile;
use super::strangers::{Admission, Refused, Strangers, Why};
use super::writer::{Effect, Job, OpenSegment, Record, Status, Unwritten, Writer, lock};
use super::{Caller, Outcome, RequestRecord};
use host_driver::audit::DeviceReceipt;
use kms_base::error::{Exception, KmsError};
use kms_base::space::{Level, Room, Space};

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
         then restore it, or move the directory away to begin a new log, which has to be accepted"
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
         directory away to begin a new log, which has to be accepted", last + 1
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
    #[error("the audit record cannot be written")]
    Unwritable,
    /// What room is left is for administration.
    #[error(
        "the disk is full, and only administration is served: free room in the file system of the \
         data directory, or let the audit log be kept for fewer days (kmsd --audit-keep)"
    )]
    NoRoom,
}

impl AuditError {
    /// What the file system says of a file or directory.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Directory { path: path.clone(), source }
    }

    /// What callers are told while nothing can be recorded. The log of the daemon has said why, once, and `/readyz`
    /// says it.
    #[must_use]
    pub fn refuse(self) -> KmsError {
        match self {
            Self::Unwritable => KmsError::new(
                Exception::KmsInternal,
                "The audit log cannot be written, and nothing is done without a record. Who operates the service \
                 finds the reason with kmsctl status. Try again later.",
            ),
            error => KmsError::internal(error),
        }
    }
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// What becomes of its files.
    pub policy: Policy,
    /// Refusals a second that an unverified source is told the reason of.
    pub refusal_rate: u32,
    /// The room on its disk; `None`: nobody asks.
    pub space: Option<Arc<Space>>,
    /// Account and Region of records that are about the daemon itself.
    pub place: (String, String),
    /// The store beside it, which the lines are to speak of.
    pub store: Option<StoreNow>,
    /// Bytes of each half of its `JOURNAL`. A batch of records that is longer is synced without it.
    pub journal_half: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            refusal_rate: 50,
            space: None,
            place: ("000000000000".to_owned(), "us-east-1".to_owned()),
            store: None,
            journal_half: HALF,
        }
    }
}

/// How a request was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// In a record of its own.
    Whole(Position),
    /// In a count.
    Counted,
    /// In a count, and its source sends more than it is answered reasons for.
    Throttled,
}

/// What a line has besides its body, in bytes.
const LINE: usize = 256;
/// How old the sum of the files' sizes may be.
const FRESH: Duration = Duration::from_secs(5);

type Answer = oneshot::Receiver<Result<Position, Unwritten>>;

/// What opening a log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Position of the `started` record of this run.
    pub position: Position,
    /// What a crash had left and was cut off.
    pub repair: Option<Repair>,
    /// Records that the log's last file had lost in a crash, and that its journal had.
    pub recovered: usize,
}

/// An append-only, chained log. One per directory; callers hold the directory's lock.
#[derive(Debug)]
pub struct AuditLog {
    jobs: Option<mpsc::Sender<Job>>,
    status: Arc<Status>,
    writer: Mutex<Option<JoinHandle<()>>>,
    dir: PathBuf,
    options: LogOptions,
    strangers: Mutex<Strangers>,
    /// Requests that were counted instead of recorded.
    counted: AtomicU64,
    /// Bytes of its files, and when they were counted.
    size: Mutex<Option<(Instant, Size)>>,
    /// Lines behind this one are yet to be delivered to trails.
    held: AtomicU64,
    /// Held while closed files are compressed, delivered, removed or copied.
    pub(super) keeping: Arc<tokio::sync::Mutex<()>>,
}

/// What the files of a log take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// All of them.
    pub bytes: u64,
    /// Closed ones that are yet to be delivered, if they are to be.
    pub undelivered: u64,
}

impl AuditLog {
    /// Opens the log in `dir`, creating it if missing, repairs a torn tail and writes the
    /// `started` record with the members of `about` in it.
    ///
    /// # Errors
    /// [`AuditError::Damaged`] or [`AuditError::Missing`] if durable records were tampered with.
    pub async fn open(dir: &Path, about: Value) -> Result<(Self, Opened), AuditError> {
        Self::open_with(dir, about, LogOptions::default()).await
    }

    /// The same, kept as `options` say.
    ///
    /// # Errors
    /// See [`AuditLog::open`].
    pub async fn open_with(
        dir: &Path,
        about: Value,
        options: LogOptions,
    ) -> Result<(Self, Opened), AuditError> {
        Self::open_found(Found::find(dir, &[])?, about, options).await
    }

    /// Finds the log in `dir` and repairs a torn tail; nothing is written to it. `witnesses` are
    /// positions that something else says it had.
    ///
    /// # Errors
    /// See [`AuditLog::open`].
    pub fn find(dir: &Path, witnesses: &[Position]) -> Result<Found, AuditError> {
        Found::find(dir, witnesses)
    }

    /// As [`AuditLog::open_with`], for a log that was found.
    ///
    /// # Errors
    /// See [`AuditLog::open`].
    pub async fn open_found(
        found: Found,
        about: Value,
        options: LogOptions,
    ) -> Result<(Self, Opened), AuditError> {
        let Found { dir, end, .. } = found;
        let dir = dir.as_path();
        let io = AuditError::at(dir);
        let open = end.segment.map(|segment| {
            let at = AuditError::at(&segment.path);
            OpenSegment::resume(segment).map_err(at)
        });
        let open = open.transpose()?;
        let head = HeadFile::create(dir, end.tip);
        let head = head.map_err(AuditError::at(&dir.join(HeadFile::NAME)))?;
        let size = open.as_ref().map_or(0, OpenSegment::size);
        let journal = Journal::new(dir, options.journal_half, size).map_err(&io)?;
        let status = Arc::new(Status::default());
        *lock(&status.positions) = end.positions;
        let writer = Writer {
            dir: dir.to_owned(),
            policy: options.policy.clone(),
            tip: end.tip,
            open,
            head,
            journal,
            status: Arc::clone(&status),
            backlog: VecDeque::new(),
            lost: 0,
            store: options.store.clone(),
            marked: end.store,
        };
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(&io)?;
        let log = Self {
            jobs: Some(jobs),
            status,
            writer: Mutex::new(Some(thread)),
            dir: dir.to_owned(),
            strangers: Mutex::new(Strangers::new(options.refusal_rate)),
            options,
            counted: AtomicU64::new(0),
            size: Mutex::new(None),
            held: AtomicU64::new(u64::MAX),
            keeping: Arc::default(),
        };
        let mut record = json!({ "format": 1, "daemon": about, "repair": end.repair });
        if end.recovered > 0 {
            record["recoveredRecords"] = end.recovered.into();
        }
        let position = log.append(Kind::Started, &record, &[]).await?;
        Ok((log, Opened { position, repair: end.repair, recovered: end.recovered }))
    }

    /// Appends the record of a request, and the copies of it that other accounts get, in one step;
    /// they are durable when this returns. Refusals of callers whom nobody vouches for, and of
    /// requests whose records have no room, are counted instead once there are many.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`]. The record is kept in memory and written as soon as possible,
    /// marked as one whose response was withheld.
    pub async fn append_request(&self, record: &RequestRecord<'_>) -> Result<Recorded, AuditError> {
        let own = || Record {
            body: Body::of_request(record),
            effect: Effect::of_request(record.receipts()),
        };
        if let Some((why, code)) = self.countable(record) {
            return self.append_refusal(why, code, record, own).await;
        }
        let copies = record.copies();
        let copies = copies.iter().map(|copy| line(Kind::Request, copy, &[]));
        let (job, answer) = self.job(copies.chain([own()]).collect());
        self.send(job, answer).await.map(Recorded::Whole)
    }

    /// Why a request may be counted instead of recorded, and its error code. Entries of devices are
    /// recorded in any case.
    fn countable<'r>(&self, record: &RequestRecord<'r>) -> Option<(Why, &'r str)> {
        let Outcome::Failure(code, _) = record.outcome else { return None };
        let has_room = || !record.no_room && self.ensure_room().is_ok();
        let why = match record.caller {
            Caller::Unverified(_) => Why::Unverified,
            Caller::Verified(principal) if principal.is_root() && !record.no_room => return None,
            Caller::Verified(_) | Caller::Store(..) if has_room() => return None,
            Caller::Verified(_) | Caller::Store(..) => Why::NoRoom,
        };
        record.receipts().is_empty().then_some((why, code))
    }

    async fn append_refusal(
        &self,
        why: Why,
        code: &str,
        record: &RequestRecord<'_>,
        own: impl FnOnce() -> Record,
    ) -> Result<Recorded, AuditError> {
        let (address, service, time) = (record.source_ip, record.source, record.completed);
        let refused = Refused { why, address, code, service, place: self.place(), time };
        let mut sample = None;
        let length = || sample.insert(own()).body.len() + LINE;
        let Admission { whole, throttled, summaries } =
            lock(&self.strangers).admit(&refused, Instant::now(), length);
        let mut lines = events(&summaries);
        lines.extend(sample.filter(|_| whole));
        if !whole {
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
        let counted = if throttled { Recorded::Throttled } else { Recorded::Counted };
        if lines.is_empty() {
            return Ok(counted);
        }
        let (job, answer) = self.job(lines);
        let position = self.send(job, answer).await?;
        Ok(if whole { Recorded::Whole(position) } else { counted })
    }

    /// Writes the counts of the minute that is over, if one is.
    ///
    /// # Errors
    /// See [`AuditLog::append_request`].
    pub async fn end_minute(&self) -> Result<(), AuditError> {
        let summaries = lock(&self.strangers).end_window(Instant::now());
        let lines = events(&summaries);
        if lines.is_empty() {
            return Ok(());
        }
        let (job, answer) = self.job(lines);
        self.send(job, answer).await.map(drop)
    }

    /// Says whether there is room for requests that are not administration.
    ///
    /// # Errors
    /// [`AuditError::NoRoom`].
    pub fn ensure_room(&self) -> Result<(), AuditError> {
        match self.room().is_some_and(|room| room.level == Level::Reserve) {
            true => Err(AuditError::NoRoom),
            false => Ok(()),
        }
    }

    /// The room on its disk, if somebody asks.
    #[must_use]
    pub fn room(&self) -> Option<Room> {
        self.options.space.as_ref().map(|space| space.look())
    }

    /// Requests that were counted instead of recorded, since the log was opened.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Bytes of its files, as they were some seconds ago.
    #[must_use]
    pub fn size(&self) -> Size {
        let mut known = lock(&self.size);
        match *known {
            Some((when, size)) if when.elapsed() < FRESH => size,
            _ => {
                let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
                let bytes = files.filter_map(|file| file.metadata().ok()).map(|data| data.len());
                let size = Size { bytes: bytes.sum(), undelivered: self.undelivered() };
                *known = Some((Instant::now(), size));
                size
            }
        }
    }

    /// Says the end of the durable log, from any thread.
    pub fn tip_now(&self) -> impl Fn() -> Position + Send + Sync + 'static {
        let status = Arc::clone(&self.status);
        move || *lock(&status.tip)
    }

    /// Keeps files with lines behind this one, however old they get; `u64::MAX` keeps none.
    pub fn hold(&self, sequence: u64) {
        self.held.store(sequence, Ordering::Release);
    }

    /// The last line that nobody waits for.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.options.policy
    }

    /// Account and Region of the daemon.
    pub fn place(&self) -> (&str, &str) {
        (&self.options.place.0, &self.options.place.1)
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
        // What fills the disk may leave no time for the reserve to be given back.
        let _ = self.room();
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

    /// Why writing fails now, as the file system says it.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        (!self.is_writable()).then(|| lock(&self.status.reason).clone())
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
    #[cfg(any(test, feature = "testing"))]
    pub fn set_disk_full(&self, full: bool) {
        self.status.disk_full.store(full, Ordering::Release);
    }

    async fn send(&self, job: Job, answer: Answer) -> Result<Position, AuditError> {
        let jobs = self.jobs.as_ref().ok_or(AuditError::Unwritable)?;
        jobs.send(job).await.map_err(|_| AuditError::Unwritable)?;
        answer.await.ok().and_then(Result::ok).ok_or(AuditError::Unwritable)
    }
}

fn events(records: &[Value]) -> Vec<Record> {
    records.iter().map(|record| line(Kind::ServiceEvent, record, &[])).collect()
}

fn line(kind: Kind, record: &Value, device: &[DeviceReceipt]) -> Record {
    let effect = Effect::new(kind, record, device);
    Record { body: Body::new(kind, record, device), effect }
}

impl Drop for AuditLog {
    /// Waits until everything handed over, and everything counted, has been written.
    fn drop(&mut self) {
        let summaries = lock(&self.strangers).close();
        let lines = events(&summaries);
        if !lines.is_empty() {
            let (job, _) = self.job(lines);
            // Nobody else has the log any more, so the queue is not full.
            let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
            if !sent {
                tracing::error!("counts of refused requests could not be written");
            }
        }
        drop(self.jobs.take());
        let thread = lock(&self.writer).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit writer had panicked");
        }
    }
}

#[cfg(test)]
mod tests;
