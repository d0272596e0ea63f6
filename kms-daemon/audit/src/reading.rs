//! The records of a log in order, for people: from its directory, from where it was delivered to, or
//! from both.
//!
//! Nothing is left out in silence: what cannot be read, what is missing between two records, and what
//! was lost when the disk took none, is told in its place. One line is in memory at a time.
//!
//! A directory may be written to meanwhile, and files may be closed, compressed and removed. Who
//! follows a log sees lines up to the position in `HEAD`, and so none whose write fails.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chain::{Kind, Line, LineHash};
use super::cloudtrail;
use super::segment::{HeadFile, Lines, Segment};
use super::verify::VerifyError;

/// What a log says, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A request, or what the service did by itself, in CloudTrail's form.
    Record(Value),
    /// Something that an auditor should know, because no record tells it.
    Gap(String),
}

/// A reader of the files of a log.
#[derive(Debug)]
pub struct Reader {
    directories: Vec<PathBuf>,
    /// The last line that was read: its number, and its hash if it is known.
    last: Option<(u64, LineHash)>,
    /// Number of the line that is read next at the earliest.
    next: u64,
    /// Lines up to this one are passed over.
    after: u64,
    open: Option<Open>,
    /// Whether it waits for more.
    follows: bool,
    /// Lines up to this one are durable, as far as it was looked at.
    durable: Option<u64>,
    ready: VecDeque<Item>,
}

#[derive(Debug)]
struct Open {
    segment: Segment,
    lines: Lines,
    /// A newer file was there when this one was last found at its end, so nothing is added to it.
    closed: bool,
    /// A damaged line of it was told of; more of them are not.
    complained: bool,
}

impl Reader {
    /// A reader of the log in `directories`: one that a daemon writes, and those that its files were
    /// delivered to. Files in which all is older than the day `since`, `YYYYMMDD`, are left out.
    ///
    /// # Errors
    /// [`VerifyError`] if there is no log, or a directory cannot be read.
    pub fn open(directories: &[PathBuf], since: Option<&str>) -> Result<Self, VerifyError> {
        let mut reader = Self {
            directories: directories.to_vec(),
            last: None,
            next: 1,
            after: 0,
            open: None,
            follows: false,
            durable: None,
            ready: VecDeque::new(),
        };
        let segments = reader.segments()?;
        let Some(oldest) = segments.first() else {
            let none = directories.first().cloned().unwrap_or_default();
            return Err(VerifyError::NoLog(none));
        };
        // The last line of a file is no later than the first one of the next.
        let older = |pair: &&[Segment]| since.is_some_and(|since| pair[1].day.as_str() < since);
        let skipped = segments.windows(2).take_while(older).count();
        let first = segments.get(skipped).map_or(oldest.first, |segment| segment.first);
        reader.next = first;
        if skipped == 0 && first > 1 && since.is_none_or(|since| oldest.day.as_str() > since) {
            let gone = first - 1;
            reader.gap(format!("records 1 to {gone} are not here: the log was not kept as long"));
        }
        Ok(reader)
    }

    /// Goes to the first line of the last file, to follow what comes.
    ///
    /// # Errors
    /// [`VerifyError`] if a directory cannot be read.
    pub fn at_last_file(mut self) -> Result<Self, VerifyError> {
        self.follows = true;
        self.look_at_head()?;
        if let Some(last) = self.segments()?.last() {
            self.next = last.first;
            self.ready.clear();
        }
        Ok(self)
    }

    /// Goes to the line behind the one of this number, to follow what comes.
    ///
    /// # Errors
    /// [`VerifyError`] if a directory cannot be read.
    pub fn behind(mut self, sequence: u64) -> Result<Self, VerifyError> {
        self.follows = true;
        self.look_at_head()?;
        (self.after, self.next) = (sequence, sequence.saturating_add(1));
        self.ready.clear();
        Ok(self)
    }

    /// The number of the last line that was read. What [`Reader::next_item`] has given last is of it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.last.map_or(0, |(sequence, _)| sequence).max(self.after)
    }

    /// What comes next; `None` if there is nothing now. More may come later.
    ///
    /// # Errors
    /// [`VerifyError`] if a file cannot be read.
    pub fn next_item(&mut self) -> Result<Option<Item>, VerifyError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let (follows, durable) = (self.follows, self.durable);
            let Some(open) = &mut self.open else {
                if !self.open_file(self.next, None)? {
                    return Ok(None);
                }
                continue;
            };
            let (path, compressed) = (open.segment.path.clone(), open.segment.is_compressed());
            let read = |source| VerifyError::Read { path: path.clone(), source };
            let Some(raw) = open.lines.next().map_err(read)? else {
                if !self.go_on()? {
                    return Ok(None);
                }
                continue;
            };
            match raw.line {
                Some(line) if is_known((follows, durable), line.sequence) => {
                    self.take(&line, raw.number);
                }
                Some(line) => {
                    // Read once more if it is durable by now: what was read may have been of a write
                    // that failed, and another line be in its place.
                    open.lines.rewind(raw.offset, raw.number).map_err(read)?;
                    self.look_at_head()?;
                    if !is_known((follows, self.durable), line.sequence) {
                        return Ok(None);
                    }
                }
                None if !raw.ended && !compressed && !self.is_closed()? => {
                    // It is being written.
                    self.rewind(raw.offset, raw.number).map_err(read)?;
                    return Ok(None);
                }
                None => self.complain(raw.number, "it is not a record as it was written"),
            }
        }
    }

    fn take(&mut self, line: &Line, number: usize) {
        let sequence = line.sequence;
        match self.last {
            Some((last, _)) if sequence <= last => {
                return self.complain(number, "it stands in another place as well");
            }
            Some((last, hash)) if sequence == last + 1 && line.previous != hash => {
                self.complain(number, "it does not continue the line before it");
            }
            Some((last, _)) if sequence > last + 1 => self.missing(last + 1, sequence - 1),
            None if sequence > self.next => self.missing(self.next, sequence - 1),
            _ => {}
        }
        self.last = Some((sequence, line.hash));
        self.next = sequence + 1;
        if sequence <= self.after {
            return;
        }
        match line.kind {
            Kind::Request | Kind::ServiceEvent => {
                self.ready.push_back(Item::Record(line.record.clone()));
            }
            Kind::Resumed => {
                let lost = line.record["lostRecords"].as_u64().unwrap_or(0);
                if lost > 0 {
                    let text = format!("{lost} records were lost here: the disk took none");
                    self.gap(text);
                }
            }
            Kind::Started | Kind::DeviceEntries | Kind::Checkpoint | Kind::Positions => {}
        }
    }

    fn missing(&mut self, from: u64, to: u64) {
        self.gap(match from == to {
            true => format!("record {from} is missing"),
            false => format!("records {from} to {to} are missing"),
        });
    }

    fn complain(&mut self, number: usize, what: &str) {
        let Some(open) = &mut self.open else { return };
        if !std::mem::replace(&mut open.complained, true) {
            let path = open.segment.path.display();
            let text = format!(
                "{path}:{number}: {what}; `kmsctl audit verify` on the directory says more"
            );
            self.gap(text);
        }
    }

    fn gap(&mut self, text: String) {
        self.ready.push_back(Item::Gap(text));
    }

    /// At the end of a file: whether there may be more, in it or in the next one.
    fn go_on(&mut self) -> Result<bool, VerifyError> {
        let head = self.durable.filter(|_| self.follows);
        if head.is_some() && self.last.is_some_and(|(last, _)| head == Some(last)) {
            // The usual case while a log is followed, without a look at all of its files.
            self.look_at_head()?;
            if self.durable == head {
                return Ok(false);
            }
        }
        let Some(open) = &self.open else { return Ok(true) };
        let (first, closed) = (open.segment.first, open.closed);
        match closed {
            // It was read to its end after the next one was there.
            true => self.open_file(first + 1, Some(first)),
            false => self.is_closed(),
        }
    }

    /// Whether nothing is added to the open file any more.
    fn is_closed(&mut self) -> Result<bool, VerifyError> {
        let Some(first) = self.open.as_ref().map(|open| open.segment.first) else {
            return Ok(false);
        };
        let newer = self.segments()?.iter().any(|segment| segment.first > first);
        if let Some(open) = &mut self.open {
            open.closed |= newer;
        }
        Ok(newer)
    }

    /// Opens the file that has the line `from`, or the first one after it. `behind`: only one that
    /// begins behind this line.
    fn open_file(&mut self, from: u64, behind: Option<u64>) -> Result<bool, VerifyError> {
        // A file may be compressed between the look at the directory and its opening.
        for _ in 0..3 {
            let segments = self.segments()?;
            let after = segments.partition_point(|segment| segment.first <= from);
            let at = match behind {
                Some(first) => segments.partition_point(|segment| segment.first <= first),
                None => after.saturating_sub(1),
            };
            let Some(segment) = segments.into_iter().nth(at) else { return Ok(false) };
            match segment.lines() {
                Ok(lines) => {
                    self.open = Some(Open { segment, lines, closed: false, complained: false });
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(VerifyError::Read { path: segment.path, source }),
            }
        }
        Ok(false)
    }

    fn rewind(&mut self, offset: u64, number: usize) -> io::Result<()> {
        match &mut self.open {
            Some(open) => open.lines.rewind(offset, number),
            None => Ok(()),
        }
    }

    /// Up to where the log is durable. A directory that files are delivered to has no `HEAD`.
    fn look_at_head(&mut self) -> Result<(), VerifyError> {
        let mut durable = None;
        for directory in &self.directories {
            let read = |source| VerifyError::Read { path: directory.clone(), source };
            // A damaged one tells nothing.
            let head = HeadFile::load(directory).map_err(read)?.flatten();
            durable = durable.max(head.map(|head| head.sequence));
        }
        self.durable = durable;
        Ok(())
    }

    /// The files of all directories, in order, each once.
    fn segments(&self) -> Result<Vec<Segment>, VerifyError> {
        let mut all = Vec::new();
        for directory in &self.directories {
            let read = |source| VerifyError::Read { path: directory.clone(), source };
            all.extend(Segment::list(directory).map_err(read)?);
        }
        all.sort_by_key(|segment| segment.first);
        all.dedup_by_key(|segment| segment.first);
        Ok(all)
    }
}

/// Whether a line counts: when a log is followed, only once it is known to be durable.
fn is_known((follows, durable): (bool, Option<u64>), sequence: u64) -> bool {
    !follows || durable.is_none_or(|durable| sequence <= durable)
}

/// Reads all that `directories` have, from the day `since` on, until `visit` returns false.
/// Directories without files of a log may have files of CloudTrail's form, at any depth.
///
/// # Errors
/// [`VerifyError`] if there is no log, or a file cannot be read.
pub fn read_log(
    directories: &[PathBuf],
    since: Option<&str>,
    visit: &mut dyn FnMut(Item) -> bool,
) -> Result<(), VerifyError> {
    let is_log = |directory: &PathBuf| -> Result<bool, VerifyError> {
        let read = |source| VerifyError::Read { path: directory.clone(), source };
        Ok(!Segment::list(directory).map_err(read)?.is_empty())
    };
    let mut logs = Vec::new();
    let mut trails = Vec::new();
    for directory in directories {
        match is_log(directory)? {
            true => logs.push(directory.clone()),
            false => trails.extend(trail_files(directory)?),
        }
    }
    if logs.is_empty() && trails.is_empty() {
        return Err(VerifyError::NoLog(directories.first().cloned().unwrap_or_default()));
    }
    // By the time in their names, not by account and Region.
    trails.sort_by_cached_key(|path| path.file_name().map(cloudtrail::time_of_name));
    for path in trails {
        let day = path.file_name().and_then(cloudtrail::time_of_name);
        if day.is_some_and(|day| since.is_some_and(|since| &day[..8] < since)) {
            continue;
        }
        if !cloudtrail::read(&path, visit)? {
            return Ok(());
        }
    }
    if logs.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::open(&logs, since)?;
    while let Some(item) = reader.next_item()? {
        if !visit(item) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether a directory has files of a log.
#[must_use]
pub fn holds_files(directory: &Path) -> bool {
    Segment::list(directory).is_ok_and(|segments| !segments.is_empty())
}

fn trail_files(directory: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        let read = |source| VerifyError::Read { path: directory.clone(), source };
        for entry in std::fs::read_dir(&directory).map_err(read)? {
            let entry = entry.map_err(read)?;
            if entry.file_type().map_err(read)?.is_dir() {
                waiting.push(entry.path());
            } else if cloudtrail::time_of_name(&entry.file_name()).is_some() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
