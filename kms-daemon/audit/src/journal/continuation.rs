//! What a journal has that the log's last file may lack after a power cut.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{JOURNAL, remove};
use crate::chain::{Line, Position};
use crate::segment::Segment;

/// Lines of a journal that follow the end of the log's last file.
#[derive(Debug, Default)]
pub(crate) struct Continuation {
    /// With their ends of line.
    pub(crate) bytes: Vec<u8>,
    /// Where they stand.
    pub(crate) positions: Vec<Position>,
}

impl Continuation {
    /// Those of the journal in `directory` behind `tip`; none if there is no journal.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn find(directory: &Path, tip: Position) -> io::Result<Self> {
        let Some(content) = read(directory)? else { return Ok(Self::default()) };
        let mut candidates: HashMap<u64, Vec<&[u8]>> = HashMap::new();
        for line in lines(&content) {
            if let Some(sequence) = sequence(line).filter(|sequence| *sequence > tip.sequence) {
                candidates.entry(sequence).or_default().push(line);
            }
        }
        let mut found = Self::default();
        let mut tip = tip;
        while let Some(lines) = candidates.get(&(tip.sequence + 1)) {
            let next = lines.iter().find_map(|bytes| {
                let line = Line::parse(bytes.strip_suffix(b"\n")?)?;
                let follows = line.sequence == tip.sequence + 1 && line.previous == tip.hash;
                follows.then(|| (*bytes, line.position()))
            });
            let Some((bytes, position)) = next else { break };
            found.bytes.extend_from_slice(bytes);
            found.positions.push(position);
            tip = position;
        }
        Ok(found)
    }

    /// The position before the line `first`, as that line in the journal says.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn before(directory: &Path, first: u64) -> io::Result<Option<Position>> {
        let Some(content) = read(directory)? else { return Ok(None) };
        let mut lines = lines(&content).filter(|line| sequence(line) == Some(first));
        let line = lines.find_map(|line| Line::parse(line.strip_suffix(b"\n")?));
        Ok(line.map(|line| Position { sequence: first.saturating_sub(1), hash: line.previous }))
    }

    /// Makes the log's last file durable, which has what the journal beside it had, and removes that.
    ///
    /// # Errors
    /// Any failure of the file system.
    pub(crate) fn settle(directory: &Path, last: &Segment) -> io::Result<()> {
        let journal = directory.join(JOURNAL);
        if !journal.try_exists()? {
            return Ok(());
        }
        // A daemon that was killed may have written lines and never synced them.
        File::open(&last.path)?.sync_all()?;
        remove(&journal)
    }
}

fn read(directory: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(directory.join(JOURNAL)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        content => content.map(Some),
    }
}

/// What stands between ends of line. A line never reaches from one half into the other.
fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let halves = content.chunks(content.len().div_ceil(2).max(1));
    halves.flat_map(|half| half.split_inclusive(|byte| *byte == b'\n'))
}

/// What a line says its sequence is, before anything of it is checked.
fn sequence(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"{\"sequence\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}
