//! What was done to the files of a directory, in order, and what a power cut at any moment may leave.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is written in one piece or not at all.
const SECTOR: usize = 512;

/// What a sync of the log's own files takes.
const SLOW: Duration = Duration::from_millis(2);

static TRACES: LazyLock<Mutex<HashMap<PathBuf, Trace>>> = LazyLock::new(Mutex::default);

/// The steps of one directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<Step>>>);

#[derive(Debug, Clone)]
enum Step {
    Write { file: String, offset: u64, bytes: Vec<u8> },
    SetLen { file: String, length: u64 },
    SyncBegins { file: String, number: usize },
    SyncEnds { number: usize },
}

/// The handle of one file.
#[derive(Debug, Clone)]
pub(crate) struct TracedFile {
    trace: Trace,
    file: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handle of a file whose directory is traced.
pub(super) fn of(path: &Path) -> Option<TracedFile> {
    let trace = lock(&TRACES).get(path.parent()?)?.clone();
    Some(TracedFile { trace, file: path.file_name()?.to_str()?.to_owned() })
}

impl TracedFile {
    pub(super) fn write(
        &self,
        offset: u64,
        bytes: &[u8],
        write: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let step = Step::Write { file: self.file.clone(), offset, bytes: bytes.to_vec() };
        let mut steps = lock(&self.trace.0);
        write()?;
        steps.push(step);
        Ok(())
    }

    pub(super) fn set_len(
        &self,
        length: u64,
        set: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut steps = lock(&self.trace.0);
        set()?;
        steps.push(Step::SetLen { file: self.file.clone(), length });
        Ok(())
    }

    pub(super) fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let number = {
            let mut steps = lock(&self.trace.0);
            let number = steps.len();
            steps.push(Step::SyncBegins { file: self.file.clone(), number });
            number
        };
        sync()?;
        // A disk that is so slow with the log's own files shows who does not wait for them.
        if self.file.starts_with("audit-") {
            std::thread::sleep(SLOW);
        }
        lock(&self.trace.0).push(Step::SyncEnds { number });
        Ok(())
    }
}

/// Bytes of a file, and those of its sectors that were written and not synced, step by step.
#[derive(Debug, Clone, Default)]
struct Content(Vec<u8>);

impl Content {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let start = usize::try_from(offset).unwrap();
        if self.0.len() < start + bytes.len() {
            self.0.resize(start + bytes.len(), 0);
        }
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

impl Trace {
    /// Traces what is done from now on to files of `directory` that are opened from now on.
    pub(crate) fn begin(directory: &Path) -> Self {
        let trace = Self::default();
        lock(&TRACES).insert(directory.to_owned(), trace.clone());
        trace
    }

    /// Steps so far.
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Writes to `to` what a power cut behind the first `steps` steps may leave of a directory whose files
    /// had `before`: all that was synced, and of what was not whatever `keeps` says, sector by sector.
    pub(crate) fn after_power_cut(
        &self,
        (before, to): (&BTreeMap<String, Vec<u8>>, &Path),
        steps: usize,
        keeps: &mut dyn FnMut() -> bool,
    ) {
        let trace = lock(&self.0)[..steps].to_vec();
        // For each file the number of the step before which all is durable.
        let mut durable: HashMap<&str, usize> = HashMap::new();
        for step in &trace {
            let Step::SyncEnds { number } = step else { continue };
            let begins = trace.iter().find_map(|step| match step {
                Step::SyncBegins { file, number: begun } if begun == number => Some(file),
                _ => None,
            });
            let upto = durable.entry(begins.unwrap()).or_default();
            *upto = (*upto).max(*number);
        }
        let mut files: BTreeMap<&str, Content> =
            before.iter().map(|(name, bytes)| (name.as_str(), Content(bytes.clone()))).collect();
        for (number, step) in trace.iter().enumerate() {
            let name = match step {
                Step::Write { file, .. } | Step::SetLen { file, .. } => file.as_str(),
                Step::SyncBegins { .. } | Step::SyncEnds { .. } => continue,
            };
            let synced = durable.get(name).is_some_and(|upto| number < *upto);
            let content = files.entry(name).or_default();
            match step {
                Step::Write { offset, bytes, .. } if synced => content.write(*offset, bytes),
                Step::Write { offset, bytes, .. } => {
                    let mut at = 0;
                    while at < bytes.len() {
                        let place = usize::try_from(*offset).unwrap() + at;
                        let next = (at + SECTOR - place % SECTOR).min(bytes.len());
                        if keeps() {
                            content.write(place as u64, &bytes[at..next]);
                        }
                        at = next;
                    }
                }
                Step::SetLen { length, .. } if synced || keeps() => {
                    content.0.resize(usize::try_from(*length).unwrap(), 0);
                }
                _ => {}
            }
        }
        for (name, content) in files {
            fs::write(to.join(name), content.0).unwrap();
        }
    }
}
