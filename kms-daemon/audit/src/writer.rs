//! The thread that owns the files: takes records, writes them in batches, syncs, acknowledges.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::{mpsc, oneshot};

use super::chain::{Body, Kind, Position};
use super::disk::DiskFile;
use super::journal::Journal;
use super::keeping::Policy;
use super::mark::{StoreMark, StoreNow};
use super::positions::Positions;
use super::segment::{HeadFile, Segment};
use host_driver::audit::DeviceReceipt;

/// Most records that one sync makes durable.
const MAX_BATCH: usize = 512;
/// Most records kept in memory while the disk takes none.
const MAX_BACKLOG: usize = 16 * 1024;

/// A message to the writer. The answer is the position of the last record, or that none was written.
pub(super) enum Job {
    /// Write records, all of them in one step.
    Append(Vec<Record>, oneshot::Sender<Result<Position, Unwritten>>),
    /// Try to write what has failed before.
    Retry(oneshot::Sender<Result<Position, Unwritten>>),
}

/// A record and what it changes.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) body: Body,
    pub(super) effect: Effect,
}

/// What is known once a record is durable.
#[derive(Debug)]
pub(super) struct Effect {
    receipts: Vec<DeviceReceipt>,
    /// What is said of a device beside its entries.
    said: Option<(Kind, Value)>,
}

impl Effect {
    pub(super) fn new(kind: Kind, record: &Value, receipts: &[DeviceReceipt]) -> Self {
        let said = Positions::concerns(kind, record).then(|| (kind, record.clone()));
        Self { receipts: receipts.to_vec(), said }
    }

    /// That of a request, which says nothing of devices but their entries.
    pub(super) fn of_request(receipts: &[DeviceReceipt]) -> Self {
        Self { receipts: receipts.to_vec(), said: None }
    }

    fn apply(&self, positions: &mut Positions) {
        self.said.iter().for_each(|(kind, record)| positions.told(*kind, record));
        self.receipts.iter().for_each(|receipt| positions.recorded(receipt));
    }
}

/// The record is not durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unwritten;

/// What other threads may see of the writer.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) failing: AtomicBool,
    /// What the file system said when writing began to fail.
    pub(super) reason: Mutex<String>,
    /// Requests refused because writing was failing.
    pub(super) refused: AtomicU64,
    /// The end of the durable log.
    pub(super) tip: Mutex<Position>,
    /// Records handed over and not yet acknowledged.
    pub(super) pending: AtomicU64,
    /// Up to where the chains of the devices are recorded.
    pub(super) positions: Mutex<Positions>,
    /// Makes every write fail half-way, as a full disk does.
    #[cfg(any(test, feature = "testing"))]
    pub(super) disk_full: AtomicBool,
}

pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) policy: Policy,
    pub(super) tip: Position,
    pub(super) open: Option<OpenSegment>,
    pub(super) head: HeadFile,
    pub(super) journal: Journal,
    pub(super) status: Arc<Status>,
    pub(super) backlog: VecDeque<Record>,
    /// Records given up since the last success: the backlog was full.
    pub(super) lost: u64,
    /// Says what the store has.
    pub(super) store: Option<StoreNow>,
    /// What the last durable line that speaks of the store says.
    pub(super) marked: Option<StoreMark>,
}

/// The segment being written.
pub(super) struct OpenSegment {
    pub(super) segment: Segment,
    file: DiskFile,
    /// Bytes of it that are lines which are durable, here or in the journal. What lies behind is a failed
    /// batch.
    size: u64,
    /// When it was begun, as far as the file system tells.
    begun: SystemTime,
}

impl OpenSegment {
    pub(super) fn resume(segment: Segment) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(&segment.path)?;
        let metadata = file.metadata()?;
        let begun = metadata.created().or_else(|_| metadata.modified())?;
        let file = DiskFile::new(file, &segment.path);
        Ok(Self { segment, file, size: metadata.len(), begun })
    }

    /// Bytes of it that are lines.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

impl Writer {
    /// Serves until every sender is gone.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::new();
        while let Some(first) = jobs.blocking_recv() {
            batch.push(first);
            while batch.len() < MAX_BATCH {
                let Ok(next) = jobs.try_recv() else { break };
                batch.push(next);
            }
            self.serve(batch.drain(..));
        }
        if self.status.failing.load(Ordering::Acquire) {
            self.commit(&[]);
        }
        if !self.backlog.is_empty() {
            tracing::error!(records = self.backlog.len(), "audit records were lost: not writable");
        }
        let failing = self.status.failing.load(Ordering::Acquire);
        let open = self.open.as_ref().map(|open| (&open.file, open.size));
        // While writing fails the journal may have what the last file lacks.
        match failing {
            true => drop(self.journal),
            false => {
                if let Err(error) = self.journal.close(open) {
                    tracing::warn!(%error, "cannot sync the audit log: its JOURNAL stays");
                }
            }
        }
        if let Err(error) = self.head.sync() {
            tracing::warn!(%error, "cannot sync the audit log's HEAD");
        }
    }

    fn serve(&mut self, jobs: impl Iterator<Item = Job>) {
        let (mut records, mut replies, mut retries) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job {
                Job::Append(job, reply) => {
                    records.extend(job);
                    replies.push((reply, records.len()));
                }
                Job::Retry(reply) => retries.push(reply),
            }
        }
        let outcome = self.commit(&records);
        let count = u64::try_from(replies.len()).unwrap_or(u64::MAX);
        self.status.pending.fetch_sub(count, Ordering::AcqRel);
        // The client may have gone; nobody then waits for the answer.
        match outcome {
            Some(positions) => {
                for (reply, end) in replies {
                    let last = end.checked_sub(1).and_then(|last| positions.get(last));
                    let _ = reply.send(last.copied().ok_or(Unwritten));
                }
                for reply in retries {
                    let _ = reply.send(Ok(self.tip));
                }
            }
            None => {
                self.keep(records);
                let replies = replies.into_iter().map(|(reply, _)| reply);
                for reply in replies.chain(retries) {
                    let _ = reply.send(Err(Unwritten));
                }
            }
        }
    }

    /// Writes the backlog and then `records`. Returns the positions of `records`.
    fn commit(&mut self, records: &[Record]) -> Option<Vec<Position>> {
        let failing = self.status.failing.load(Ordering::Acquire);
        if records.is_empty() && !failing {
            return Some(Vec::new());
        }
        let refused = self.status.refused.load(Ordering::Acquire);
        match self.write(records, failing.then_some(refused)) {
            Ok(positions) => {
                if failing {
                    tracing::info!(kept = self.backlog.len(), refused, "audit records resumed");
                    self.backlog.clear();
                    self.lost = 0;
                    self.status.refused.fetch_sub(refused, Ordering::AcqRel);
                    self.status.failing.store(false, Ordering::Release);
                }
                Some(positions)
            }
            Err(error) => {
                if !failing {
                    *lock(&self.status.reason) = error.to_string();
                    let dir = self.dir.display();
                    tracing::error!(
                        %error,
                        %dir,
                        "cannot write audit records: requests are refused until that works again"
                    );
                }
                self.status.failing.store(true, Ordering::Release);
                None
            }
        }
    }

    /// One durable step: all of it, or nothing. `resume`: number of refused requests to report.
    fn write(&mut self, records: &[Record], resume: Option<u64>) -> io::Result<Vec<Position>> {
        if resume.is_some() {
            self.discard_failed_batch()?;
        }
        let mut tip = self.tip;
        let size: usize = records.iter().map(|record| record.body.len() + 256).sum();
        let mut lines = Vec::with_capacity(size);
        let begins = self.ensure_segment()?;
        // Read before the lines are written, so that the store is never behind what they say.
        let now = self.store.as_ref().map(|store| store.0());
        let mut mark = now.filter(|now| begins || self.marked != Some(*now));
        if begins {
            let record = lock(&self.status.positions).to_record();
            let body = Body::new(Kind::Positions, &record, &[]);
            tip = body.append_to(tip, mark.take(), &mut lines);
        }
        if let Some(refused) = resume {
            let record = json!({
                "refusedRequests": refused,
                "keptRecords": self.backlog.len(),
                "lostRecords": self.lost,
            });
            let body = Body::new(Kind::Resumed, &record, &[]);
            tip = body.append_to(tip, mark.take(), &mut lines);
            for record in &self.backlog {
                tip = record.body.append_to(tip, None, &mut lines);
            }
        }
        let mut positions = Vec::with_capacity(records.len());
        for record in records {
            tip = record.body.append_to(tip, mark.take(), &mut lines);
            positions.push(tip);
        }
        self.append(&lines)?;
        self.tip = tip;
        self.marked = now.or(self.marked);
        let mut recorded = lock(&self.status.positions);
        let backlog = self.backlog.iter().filter(|_| resume.is_some());
        backlog.chain(records).for_each(|record| record.effect.apply(&mut recorded));
        drop(recorded);
        *lock(&self.status.tip) = tip;
        if let Err(error) = self.head.store(tip) {
            // The lines are durable; HEAD may lag.
            tracing::warn!(%error, "cannot update the audit log's HEAD");
        }
        Ok(positions)
    }

    /// Opens a new file if it is time. Returns whether its first line is due, which tells where the
    /// devices stand; the very first file needs none.
    fn ensure_segment(&mut self) -> io::Result<bool> {
        let day = OffsetDateTime::now_utc()
            .format(format_description!("[year][month][day]"))
            .unwrap_or_default();
        let Policy { segment_size, segment_age, .. } = self.policy;
        let full = |open: &OpenSegment| {
            let old = open.begun.elapsed().is_ok_and(|age| age >= segment_age);
            open.size >= segment_size || (open.size > 0 && (old || open.segment.day != day))
        };
        if self.open.as_ref().is_none_or(full) {
            if let Some(open) = &self.open {
                self.journal.settle(&open.file, open.size)?;
            }
            // HEAD must not lag behind the beginning of the last file.
            self.head.sync()?;
            let segment = Segment::new(&self.dir, self.tip.sequence + 1, &day);
            let file = DiskFile::new(segment.create()?, &segment.path);
            self.journal.begin();
            self.open = Some(OpenSegment { segment, file, size: 0, begun: SystemTime::now() });
        }
        let empty = self.open.as_ref().is_some_and(|open| open.size == 0);
        Ok(empty && self.tip.sequence > 0)
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(open) = &mut self.open else { unreachable!("a segment is open") };
        #[cfg(any(test, feature = "testing"))]
        if self.status.disk_full.load(Ordering::Acquire) {
            open.file.write_at(&lines[..lines.len() / 2], open.size)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        open.file.write_at(lines, open.size)?;
        let size = open.size + lines.len() as u64;
        self.journal.commit(&open.file, size, lines)?;
        open.size = size;
        Ok(())
    }

    /// Cuts off what a failed write or sync has left. The file is opened anew, because after a
    /// failed sync the state of its cached pages is unknown.
    fn discard_failed_batch(&mut self) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let size = open.size;
        let begun = open.begun;
        let mut anew = OpenSegment::resume(open.segment.clone())?;
        self.journal.mend(&anew.file, size)?;
        (anew.size, anew.begun) = (size, begun);
        self.open = Some(anew);
        Ok(())
    }

    /// Keeps records that could not be written: their requests have been carried out.
    fn keep(&mut self, records: Vec<Record>) {
        for Record { body, effect } in records {
            if self.backlog.len() < MAX_BACKLOG {
                self.backlog.push_back(Record { body: body.withheld(), effect });
            } else {
                self.lost += 1;
            }
        }
    }
}

/// A panic elsewhere leaves this data whole: it is changed in single steps.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
