//! The files of an audit directory.
//!
//! | name | content |
//! |---|---|
//! | `audit-<first sequence>-<YYYYMMDD>.jsonl` | lines; a new file each day and at [`MAX_SIZE`] |
//! | `HEAD` | the last position known to be durable, see [`HeadFile`] |
//! | `torn-<sequence>.bin` | unacknowledged bytes that a crash left behind the last line |

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{Line, LineHash, Position};
use crate::durable;

/// A file that has reached this size in bytes gets no more lines. A daemon that starts reads all
/// of the last one.
pub(super) const MAX_SIZE: u64 = 16 << 20;

/// One file of lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// Sequence of its first line.
    pub(super) first: u64,
    /// Day it was begun, `YYYYMMDD`, UTC.
    pub(super) day: String,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(dir: &Path, first: u64, day: &str) -> Self {
        let path = dir.join(format!("audit-{first:012}-{day}.jsonl"));
        Self { first, day: day.to_owned(), path }
    }

    /// The segments of `dir`, in order.
    pub(super) fn list(dir: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some((first, day)) = Self::parse_name(name) {
                segments.push(Self { first, day: day.to_owned(), path });
            }
        }
        segments.sort();
        Ok(segments)
    }

    fn parse_name(name: &str) -> Option<(u64, &str)> {
        let (first, day) = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?.split_once('-')?;
        Some((first.parse().ok()?, day))
    }

    /// Creates the file; its name is durable when this returns. An empty one, left by a creation
    /// that failed, is taken over.
    pub(super) fn create(&self) -> io::Result<File> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        if file.metadata()?.len() > 0 {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        durable::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(file)
    }

    /// Reads the file line by line.
    pub(super) fn lines(&self) -> io::Result<Lines> {
        Ok(Lines { reader: BufReader::new(File::open(&self.path)?), offset: 0, number: 0 })
    }

    /// Position of the last line; `None` if the file has no good last line.
    pub(super) fn last(&self) -> io::Result<Option<Position>> {
        let mut last = None;
        let mut lines = self.lines()?;
        while let Some(raw) = lines.next()? {
            last = raw.line.map(|line| line.position());
        }
        Ok(last)
    }
}

/// Reader of a segment.
#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<File>,
    offset: u64,
    number: usize,
}

/// What stands between two ends of line.
#[derive(Debug)]
pub(super) struct RawLine {
    /// Number of the line in its file, from 1.
    pub(super) number: usize,
    /// Byte offset of its start.
    pub(super) offset: u64,
    /// The line, if it is whole and its own hash is right.
    pub(super) line: Option<Line>,
    /// Its bytes, without the end of line.
    pub(super) bytes: Vec<u8>,
    /// Whether it has an end of line.
    pub(super) ended: bool,
}

impl Lines {
    pub(super) fn next(&mut self) -> io::Result<Option<RawLine>> {
        let mut bytes = Vec::new();
        let read = self.reader.read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += u64::try_from(read).unwrap_or(u64::MAX);
        self.number += 1;
        // A line without its end is torn even if its hash is right: the next one would join it.
        let ended = bytes.pop_if(|last| *last == b'\n').is_some();
        let line = Line::parse(&bytes).filter(|_| ended);
        Ok(Some(RawLine { number: self.number, offset, line, bytes, ended }))
    }
}

/// The file `HEAD`: the position up to which lines are durable.
///
/// It is written after the lines are synced and is not synced itself, so it may lag after a power
/// cut but is never ahead: lines that it counts and that are not there have been removed. It shows
/// mistakes and careless tampering; against an attacker who can rewrite the whole directory only
/// the positions that devices have signed stand.
#[derive(Debug)]
pub(super) struct HeadFile(File);

impl HeadFile {
    const NAME: &str = "HEAD";

    /// Opens or creates the file and makes `position` its durable content.
    pub(super) fn create(dir: &Path, position: Position) -> io::Result<Self> {
        durable::write(&dir.join(Self::NAME), Self::format(position).as_bytes(), 0o600)?;
        Ok(Self(OpenOptions::new().write(true).open(dir.join(Self::NAME))?))
    }

    /// Records `position`. All records have one length, so that one never leaves a rest of another.
    pub(super) fn store(&self, position: Position) -> io::Result<()> {
        self.0.write_all_at(Self::format(position).as_bytes(), 0)
    }

    /// Makes what was stored durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// What the file says: `None` if there is no file, `Some(None)` if it is damaged.
    pub(super) fn load(dir: &Path) -> io::Result<Option<Option<Position>>> {
        match fs::read(dir.join(Self::NAME)) {
            Ok(bytes) => Ok(Some(std::str::from_utf8(&bytes).ok().and_then(Self::parse))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn format(position: Position) -> String {
        format!("{:020} {}\n", position.sequence, position.hash)
    }

    fn parse(text: &str) -> Option<Position> {
        let (sequence, hash) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Position { sequence: sequence.parse().ok()?, hash: LineHash::from_hex(hash)? })
    }
}
