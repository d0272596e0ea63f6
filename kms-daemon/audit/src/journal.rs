//! `JOURNAL`: where lines become durable first.
//!
//! A file that grows has to have its new length made durable with every sync, which costs more than the
//! lines themselves. The journal has its full length from the beginning, and its blocks are written over
//! and over. Lines go to the log's file, where readers see them, without a sync, and to the journal with
//! one. When a half of the journal is full the log's file is synced by a thread of its own while lines go
//! to the other half; a half is written over only once that is done. After a power cut the journal has
//! what the log's file may lack ([`Continuation`]).
//!
//! The journal has no format of its own: it has lines, whole and in order from the beginning of each half,
//! and behind them what was there before. Each line carries its hash and that of the line before, so that
//! only the very line that follows is taken for it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::disk::DiskFile;
use kms_base::durable;

mod continuation;

pub(super) use continuation::Continuation;

/// Name of the file.
pub(super) const JOURNAL: &str = "JOURNAL";
/// Bytes of half a journal.
pub(super) const HALF: u64 = 1 << 20;

/// Makes lines durable, in the journal or, while there is none, in the log's file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    half_size: u64,
    file: State,
    /// Bytes of the log's file that are durable without the journal.
    settled: u64,
    tasks: Option<Sender<Task>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum State {
    /// None, and none is to be made before the log's next file is begun.
    Absent,
    /// The thread is making it.
    Awaited,
    Open(Halves),
}

#[derive(Debug)]
struct Halves {
    file: DiskFile,
    /// The half that lines go to, 0 or 1.
    current: u64,
    /// Bytes of it that have lines.
    at: u64,
    /// The other half, while the log's file may lack what it has.
    other: Option<Full>,
}

/// A half that no more lines go to.
#[derive(Debug, Clone, Copy)]
struct Full {
    /// Bytes of it that have lines.
    length: u64,
    /// Where these lines end in the log's file.
    end: u64,
    /// Whether the thread is syncing that file.
    syncing: bool,
}

enum Task {
    /// Make a journal of so many bytes.
    Make(u64),
    /// Sync the log's file.
    Sync(DiskFile),
}

enum Done {
    Made(io::Result<DiskFile>),
    Synced(io::Result<()>),
}

impl Journal {
    /// Without a file yet: it is made by a thread of its own. `settled`: bytes of the log's file, all of
    /// them durable.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn new(directory: &Path, half_size: u64, settled: u64) -> io::Result<Self> {
        let (tasks, waiting) = channel();
        let (report, done) = channel();
        let path = directory.join(JOURNAL);
        let place = path.clone();
        let thread =
            std::thread::Builder::new().name("audit-sync".to_owned()).spawn(move || {
                for task in waiting {
                    let outcome = match task {
                        Task::Make(size) => Done::Made(make(&place, size)),
                        Task::Sync(file) => Done::Synced(file.sync_data()),
                    };
                    if report.send(outcome).is_err() {
                        return;
                    }
                }
            })?;
        let mut journal = Self {
            path,
            half_size,
            file: State::Absent,
            settled,
            tasks: Some(tasks),
            done,
            thread: Some(thread),
        };
        journal.ask_for_file();
        Ok(journal)
    }

    fn ask_for_file(&mut self) {
        if matches!(self.file, State::Absent) && self.send(Task::Make(2 * self.half_size)).is_ok() {
            self.file = State::Awaited;
        }
    }

    fn send(&self, task: Task) -> io::Result<()> {
        let tasks = self.tasks.as_ref().ok_or_else(gone)?;
        tasks.send(task).map_err(|_| gone())
    }

    /// Makes `lines` durable, which were just written to the end of `segment`; that now has `size` bytes.
    ///
    /// # Errors
    /// Any failure of the file system: the lines may or may not be durable, and [`Journal::mend`] comes
    /// before the next ones.
    pub(super) fn commit(&mut self, segment: &DiskFile, size: u64, lines: &[u8]) -> io::Result<()> {
        self.look_for_file(false)?;
        let length = lines.len() as u64;
        let half_size = self.half_size;
        let State::Open(halves) = &mut self.file else {
            return self.sync(segment, size);
        };
        if length > half_size {
            return self.settle(segment, size);
        }
        if halves.at + length > half_size {
            self.wait()?;
            self.send(Task::Sync(segment.try_clone()?))?;
            let State::Open(halves) = &mut self.file else { return Err(gone()) };
            halves.other = Some(Full { length: halves.at, end: size - length, syncing: true });
            halves.current = 1 - halves.current;
            halves.at = 0;
        }
        let State::Open(halves) = &mut self.file else { return Err(gone()) };
        halves.file.write_at(lines, halves.current * half_size + halves.at)?;
        halves.file.sync_data()?;
        halves.at += length;
        Ok(())
    }

    /// Makes all of `segment` durable, which has `size` bytes; the journal is then needed no more.
    ///
    /// # Errors
    /// See [`Journal::commit`].
    pub(super) fn settle(&mut self, segment: &DiskFile, size: u64) -> io::Result<()> {
        self.wait()?;
        self.sync(segment, size)
    }

    fn sync(&mut self, segment: &DiskFile, size: u64) -> io::Result<()> {
        segment.sync_data()?;
        self.settled = size;
        if let State::Open(halves) = &mut self.file {
            (halves.at, halves.other) = (0, None);
        }
        Ok(())
    }

    /// The log's next file is begun; the one before is settled.
    pub(super) fn begin(&mut self) {
        self.settled = 0;
        // One that could not be made has another chance.
        self.ask_for_file();
    }

    /// Takes the file once it is made. With `wait`, waits for that.
    fn look_for_file(&mut self, wait: bool) -> io::Result<()> {
        if !matches!(self.file, State::Awaited) {
            return Ok(());
        }
        let done = match wait {
            true => self.done.recv().map_err(|_| gone())?,
            false => match self.done.try_recv() {
                Ok(done) => done,
                Err(_) => return Ok(()),
            },
        };
        self.file = match done {
            Done::Made(Ok(file)) => State::Open(Halves { file, current: 0, at: 0, other: None }),
            Done::Made(Err(error)) => {
                tracing::warn!(%error, "no JOURNAL can be made: syncs of the audit log take longer");
                State::Absent
            }
            Done::Synced(outcome) => return outcome,
        };
        Ok(())
    }

    /// Waits until the log's file has what the other half has, so that this is free.
    fn wait(&mut self) -> io::Result<()> {
        let State::Open(Halves { other: Some(other), .. }) = &mut self.file else { return Ok(()) };
        if !other.syncing {
            return Err(io::Error::other("an earlier sync of the audit log failed"));
        }
        let Done::Synced(outcome) = self.done.recv().map_err(|_| gone())? else {
            return Err(gone());
        };
        other.syncing = false;
        // After a failure the half stays: `mend` needs what it has.
        outcome?;
        self.settled = other.end;
        if let State::Open(halves) = &mut self.file {
            halves.other = None;
        }
        Ok(())
    }

    /// After a failure: makes durable the first `size` bytes of the log's file, all of whose lines were
    /// committed, and drops what stands behind them. `segment` was opened anew, because after a failed sync
    /// the state of cached pages is unknown; what may be lost of it is written again from the journal.
    ///
    /// # Errors
    /// Any failure of the file system. Nothing that was durable is lost.
    pub(super) fn mend(&mut self, segment: &DiskFile, size: u64) -> io::Result<()> {
        self.look_for_file(true)?;
        // If that sync has failed too, it is made good for here.
        let _ = self.wait();
        if let State::Open(halves) = &self.file {
            let mut unsettled = Vec::new();
            let other = halves.other.map(|other| (1 - halves.current, other.length));
            for (half, length) in other.into_iter().chain([(halves.current, halves.at)]) {
                let start = unsettled.len();
                unsettled.resize(start + usize::try_from(length).unwrap_or(usize::MAX), 0);
                halves.file.read_at(&mut unsettled[start..], half * self.half_size)?;
            }
            if self.settled + unsettled.len() as u64 != size {
                return Err(io::Error::other("JOURNAL and the audit log have come apart"));
            }
            segment.write_at(&unsettled, self.settled)?;
        }
        segment.set_len(size)?;
        segment.sync_all()?;
        self.settled = size;
        // A new one, for the same reason.
        if matches!(self.file, State::Open(_)) {
            self.file = State::Absent;
            self.ask_for_file();
        }
        Ok(())
    }

    /// Ends it: `segment` has everything.
    ///
    /// # Errors
    /// Any failure of the file system; the file is then left.
    pub(super) fn close(mut self, segment: Option<(&DiskFile, u64)>) -> io::Result<()> {
        self.look_for_file(true)?;
        if let Some((segment, size)) = segment {
            self.settle(segment, size)?;
        }
        remove(&self.path)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.tasks.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that syncs the audit log has ended")
}

fn make(path: &Path, size: u64) -> io::Result<DiskFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = DiskFile::new(options.open(path)?, path);
    let made = (|| {
        let zeros = vec![0; 64 << 10];
        let mut at = 0;
        while at < size {
            let next = (size - at).min(zeros.len() as u64);
            file.write_at(&zeros[..usize::try_from(next).unwrap_or(zeros.len())], at)?;
            at += next;
        }
        file.sync_all()?;
        durable::sync_dir(path.parent().unwrap_or(Path::new(".")))
    })();
    if made.is_err() {
        let _ = fs::remove_file(path);
    }
    made.map(|()| file)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => durable::sync_dir(path.parent().unwrap_or(Path::new("."))),
    }
}

#[cfg(test)]
mod tests;
