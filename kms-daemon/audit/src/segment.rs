//! The files of an audit directory.
//!
//! | name | content |
//! |---|---|
//! | `audit-<first sequence>-<YYYYMMDD>.jsonl` | lines; a new file as [`Policy`](super::Policy) says |
//! | `audit-<first sequence>-<YYYYMMDD>.jsonl.gz` | the same, closed and compressed |
//! | `JOURNAL` | the last lines once more, see [`super::journal`]; not while nobody writes |
//! | `HEAD` | the last position known to be durable, see [`HeadFile`] |
//! | `DELIVERED` | the last position that was delivered, in the same form |
//! | `torn-<sequence>.bin` | unacknowledged bytes that a crash left behind the last line |

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::chain::{Line, LineHash, Position};
use super::disk::DiskFile;
use super::journal::{Continuation, JOURNAL};
use kms_base::durable;

/// End of the name of a file of lines, and what a compressed one has behind it.
const PLAIN: &str = ".jsonl";
pub(super) const COMPRESSED: &str = ".gz";
/// Longest line that is read, in bytes; none is written that is nearly as long.
const MAX_LINE: u64 = 64 << 20;

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
        // A crash can leave a file beside its compressed form. It sorts before that.
        segments.dedup_by(|next, kept| {
            (next.first, &next.day) == (kept.first, &kept.day) && next.is_compressed()
        });
        Ok(segments)
    }

    fn parse_name(name: &str) -> Option<(u64, &str)> {
        let name = name.strip_suffix(COMPRESSED).unwrap_or(name);
        let (first, day) = name.strip_prefix("audit-")?.strip_suffix(PLAIN)?.split_once('-')?;
        Some((first.parse().ok()?, day))
    }

    /// Its name in the directory.
    pub(crate) fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The same in its compressed form, which may be there instead.
    pub(super) fn compressed(&self) -> Self {
        let mut path = self.path.clone().into_os_string();
        if !self.is_compressed() {
            path.push(COMPRESSED);
        }
        Self { path: path.into(), ..self.clone() }
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.path.as_os_str().as_encoded_bytes().ends_with(COMPRESSED.as_bytes())
    }

    /// Creates the file; its name is durable when this returns. An empty one, left by a creation
    /// that failed, is taken over.
    pub(super) fn create(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&self.path)?;
        if file.metadata()?.len() > 0 {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        durable::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(file)
    }

    /// Reads the file line by line.
    pub(super) fn lines(&self) -> io::Result<Lines> {
        let file = File::open(&self.path)?;
        let reader = match self.is_compressed() {
            true => Reader::Compressed(BufReader::new(MultiGzDecoder::new(file))),
            false => Reader::Plain(BufReader::new(file)),
        };
        Ok(Lines { reader, offset: 0, number: 0 })
    }

    /// The same of the last file of a log whose writer may have been killed: with what a journal beside it
    /// has, and without what a power cut has left behind that.
    pub(super) fn lines_with_journal(&self, before: Position) -> io::Result<Lines> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        if self.is_compressed() || !directory.join(JOURNAL).try_exists()? {
            return self.lines();
        }
        let mut content = fs::read(&self.path)?;
        let before = match before.sequence + 1 == self.first {
            true => Some(before),
            // The files before it were removed.
            false => match self.before()? {
                None => Continuation::before(directory, self.first)?,
                before => before,
            },
        };
        let (mut tip, mut end) = (before.unwrap_or_default(), 0);
        for bytes in content.split_inclusive(|byte| *byte == b'\n') {
            let line = bytes.strip_suffix(b"\n").and_then(Line::parse);
            let next =
                line.filter(|line| line.sequence == tip.sequence + 1 && line.previous == tip.hash);
            let Some(line) = next else { break };
            (tip, end) = (line.position(), end + bytes.len());
        }
        let more = Continuation::find(directory, tip)?;
        if !more.bytes.is_empty() {
            content.truncate(end);
            content.extend_from_slice(&more.bytes);
        }
        Ok(Lines { reader: Reader::Memory(Cursor::new(content)), offset: 0, number: 0 })
    }

    /// The position before its first line, as that line says; `None` if it has no good first line.
    pub(super) fn before(&self) -> io::Result<Option<Position>> {
        let line = self.lines()?.next()?.and_then(|raw| raw.line);
        let line = line.filter(|line| line.sequence == self.first);
        Ok(line.map(|line| Position { sequence: line.sequence - 1, hash: line.previous }))
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
    reader: Reader,
    offset: u64,
    number: usize,
}

#[derive(Debug)]
enum Reader {
    Plain(BufReader<File>),
    Compressed(BufReader<MultiGzDecoder<File>>),
    Memory(Cursor<Vec<u8>>),
    /// A compressed file that cannot be read any further.
    Damaged,
}

impl Reader {
    fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.take(MAX_LINE).read_until(b'\n', line),
            Self::Memory(reader) => reader.take(MAX_LINE).read_until(b'\n', line),
            Self::Compressed(reader) => {
                let read = reader.take(MAX_LINE).read_until(b'\n', line);
                // What does not decompress is a change of the file, not a failure to read it.
                let damage = |error: &io::Error| {
                    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
                    [InvalidData, InvalidInput, UnexpectedEof].contains(&error.kind())
                };
                match read {
                    Err(error) if damage(&error) => {
                        *self = Self::Damaged;
                        line.clear();
                        Ok(1)
                    }
                    read => read,
                }
            }
            Self::Damaged => Ok(0),
        }
    }
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
    /// Goes back to the start of a line that was read just now, because it is not to be read yet.
    /// Only files that are not compressed grow.
    pub(super) fn rewind(&mut self, offset: u64, number: usize) -> io::Result<()> {
        if let Reader::Plain(reader) = &mut self.reader {
            reader.seek(SeekFrom::Start(offset))?;
        }
        (self.offset, self.number) = (offset, number.saturating_sub(1));
        Ok(())
    }

    pub(super) fn next(&mut self) -> io::Result<Option<RawLine>> {
        let mut bytes = Vec::new();
        let read = self.reader.read_line(&mut bytes)?;
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
pub(super) struct HeadFile(DiskFile);

/// The file that tells up to where lines were delivered, in the form of `HEAD`.
pub(super) const DELIVERED: &str = "DELIVERED";

impl HeadFile {
    pub(super) const NAME: &str = "HEAD";

    /// Opens or creates the file and makes `position` its durable content.
    pub(super) fn create(dir: &Path, position: Position) -> io::Result<Self> {
        let path = dir.join(Self::NAME);
        durable::write(&path, Self::format(position).as_bytes(), 0o600)?;
        Ok(Self(DiskFile::new(OpenOptions::new().write(true).open(&path)?, &path)))
    }

    /// Records `position`. All records have one length, so that one never leaves a rest of another.
    pub(super) fn store(&self, position: Position) -> io::Result<()> {
        self.0.write_at(Self::format(position).as_bytes(), 0)
    }

    /// Makes what was stored durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// What the file says: `None` if there is no file, `Some(None)` if it is damaged.
    pub(super) fn load(dir: &Path) -> io::Result<Option<Option<Position>>> {
        Self::load_from(&dir.join(Self::NAME))
    }

    /// The same, of a file in the form of `HEAD`.
    pub(super) fn load_from(path: &Path) -> io::Result<Option<Option<Position>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(std::str::from_utf8(&bytes).ok().and_then(Self::parse))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn format(position: Position) -> String {
        format!("{:020} {}\n", position.sequence, position.hash)
    }

    fn parse(text: &str) -> Option<Position> {
        let (sequence, hash) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Position { sequence: sequence.parse().ok()?, hash: LineHash::from_hex(hash)? })
    }
}
