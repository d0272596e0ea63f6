//! Start-up: finds the end of the chain and repairs what a crash has left.
//!
//! Bytes behind the last good line can only be of a batch that was never acknowledged, because a
//! batch is synced before it is acknowledged and before the next one is written. They are kept in
//! a file of their own and cut off. Lines that were acknowledged and that a power cut has taken from the
//! last file are in the journal, and are put back. Damage at or before the position in `HEAD` is no such thing:
//! then nothing is touched and the daemon does not start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::AuditError;
use super::chain::Position;
use super::journal::{Continuation, JOURNAL};
use super::keeping::removed_up_to;
use super::mark::StoreMark;
use super::positions::Positions;
use super::segment::{HeadFile, Segment};
use kms_base::{durable, hex};

/// The end of a log that may be appended to.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) tip: Position,
    /// The file of the last line, if it can take more.
    pub(super) segment: Option<Segment>,
    pub(super) repair: Option<Repair>,
    /// Lines that were put back from the journal.
    pub(super) recovered: usize,
    pub(super) positions: Positions,
    /// What the log says last of the store.
    pub(super) store: Option<StoreMark>,
}

/// A log that was found and may be opened.
#[derive(Debug)]
pub struct Found {
    pub(super) dir: PathBuf,
    pub(super) end: End,
    holds: Vec<Holds>,
}

/// Whether a log has a line that something else says it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It has, or that part of it was removed as its policy says.
    Yes,
    /// It ends before.
    Ends,
    /// It has another line in its place.
    Differs,
}

impl Found {
    /// Finds the log in `dir`, which is made if it is missing, and repairs a torn tail. `witnesses`
    /// are positions that something else says the log had.
    ///
    /// # Errors
    /// [`AuditError::Damaged`] or [`AuditError::Missing`] if durable records were tampered with.
    pub(super) fn find(dir: &Path, witnesses: &[Position]) -> Result<Self, AuditError> {
        let io = |source| AuditError::Directory { path: dir.to_owned(), source };
        durable::create_private_dir(dir).map_err(io)?;
        let mut seen = Vec::new();
        let end = find_end(dir, witnesses, &mut seen)?;
        let segments = Segment::list(dir).map_err(io)?;
        let judge = |witness: &Position| {
            if witness.sequence == 0 {
                return Ok(Holds::Yes);
            }
            if witness.sequence > end.tip.sequence {
                return Ok(Holds::Ends);
            }
            let position = match seen.iter().find(|seen| seen.sequence == witness.sequence) {
                Some(position) => Some(*position),
                None => look_up(&segments, witness.sequence).map_err(io)?,
            };
            Ok(match position {
                Some(position) if position.hash != witness.hash => Holds::Differs,
                _ => Holds::Yes,
            })
        };
        let holds = witnesses.iter().map(judge).collect::<Result<_, _>>()?;
        Ok(Self { dir: dir.to_owned(), end, holds })
    }

    /// The end of the log.
    #[must_use]
    pub fn tip(&self) -> Position {
        self.end.tip
    }

    /// What the log says last of the store.
    #[must_use]
    pub fn store(&self) -> Option<StoreMark> {
        self.end.store
    }

    /// Whether it has what the witnesses say, in their order.
    #[must_use]
    pub fn holds(&self) -> &[Holds] {
        &self.holds
    }
}

/// Whether the log in `dir`, which ends with `tip`, has a line. One whose file was removed as the policy
/// says is taken for there.
pub(super) fn holds(dir: &Path, tip: Position, wanted: Position) -> io::Result<Holds> {
    if wanted.sequence > tip.sequence {
        return Ok(Holds::Ends);
    }
    let found = match wanted.sequence {
        0 => return Ok(Holds::Yes),
        last if last == tip.sequence => Some(tip),
        sequence => look_up(&Segment::list(dir)?, sequence)?,
    };
    let differs = found.is_some_and(|found| found.hash != wanted.hash);
    Ok(if differs { Holds::Differs } else { Holds::Yes })
}

/// The position of a line in an earlier file; `None` if the file is there no more.
fn look_up(segments: &[Segment], sequence: u64) -> io::Result<Option<Position>> {
    let Some(segment) = segments.iter().rfind(|segment| segment.first <= sequence) else {
        return Ok(None);
    };
    let mut lines = segment.lines()?;
    while let Some(raw) = lines.next()? {
        let position = raw.line.map(|line| line.position());
        if let Some(position) = position.filter(|position| position.sequence == sequence) {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

/// What was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// File the bytes were cut from.
    pub file: String,
    /// Name of the file, in the same directory, that keeps them.
    pub kept_in: String,
    /// Number of bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, hexadecimal.
    pub sha256: String,
}

/// Finds the end of the log in `dir`, repairing a torn tail. Of the last file, the positions of the
/// witnesses go to `seen`.
fn find_end(
    dir: &Path,
    witnesses: &[Position],
    seen: &mut Vec<Position>,
) -> Result<End, AuditError> {
    let io = |source| AuditError::Directory { path: dir.to_owned(), source };
    let head = HeadFile::load(dir).map_err(AuditError::at(&dir.join(HeadFile::NAME)))?;
    let segments = Segment::list(dir).map_err(io)?;
    let known = match head {
        Some(Some(position)) => position,
        Some(None) => {
            tracing::warn!(path = %dir.join(HeadFile::NAME).display(), "damaged, taking the log's own end");
            Position::default()
        }
        None => Position::default(),
    };
    let Some((last, earlier)) = segments.split_last() else {
        return if known.sequence == 0 {
            Ok(End::default())
        } else {
            Err(AuditError::Missing { path: dir.to_owned(), last: 0, expected: known.sequence })
        };
    };
    // With none before it, it follows files that were removed, and must say so: see `Scan`.
    let trimmed = earlier.is_empty() && last.first > 1;
    let before = match earlier.last() {
        None if trimmed => {
            let before = match last.before().map_err(io)? {
                None => Continuation::before(dir, last.first).map_err(io)?,
                before => before,
            };
            before.ok_or_else(|| damaged(&last.path, 1))?
        }
        None => Position::default(),
        Some(segment) => segment.last().map_err(io)?.ok_or_else(|| damaged(&segment.path, 0))?,
    };
    if before.sequence + 1 != last.first {
        return Err(damaged(&last.path, 1));
    }
    let closed = last.is_compressed();
    let mut scan = Scan::run(last, before, known, (witnesses, seen))?;
    let more = match closed {
        true => Continuation::default(),
        false => Continuation::find(dir, scan.tip).map_err(io)?,
    };
    let tip = more.positions.last().copied().unwrap_or(scan.tip);
    let other = |position: &Position| position.sequence == known.sequence && *position != known;
    if let Some(line) = more.positions.iter().position(other) {
        return Err(damaged(&dir.join(JOURNAL), line + 1));
    }
    if tip.sequence < known.sequence {
        return Err(match scan.torn {
            Some(torn) => damaged(&last.path, torn.line),
            None => AuditError::Missing {
                path: last.path.clone(),
                last: tip.sequence,
                expected: known.sequence,
            },
        });
    }
    if let Some(torn) = scan.torn.as_ref().filter(|_| closed) {
        return Err(damaged(&last.path, torn.line));
    }
    if trimmed && !scan.removal && more.bytes.is_empty() {
        return Err(damaged(&last.path, 1));
    }
    let repair = scan.torn.take().map(|torn| cut(dir, last, &torn, scan.tip));
    let repair = repair.transpose().map_err(io)?;
    if !more.bytes.is_empty() {
        put_back(last, &more).map_err(io)?;
        seen.clear();
        scan = Scan::run(last, before, known, (witnesses, seen))?;
        if trimmed && !scan.removal {
            return Err(damaged(&last.path, 1));
        }
    }
    Continuation::settle(dir, last).map_err(io)?;
    let segment = (!closed).then(|| last.clone());
    let recovered = more.positions.len();
    let Scan { tip, positions, store, .. } = scan;
    Ok(End { tip, segment, repair, recovered, positions, store })
}

/// Writes the journal's lines to the end of the file they were meant for.
fn put_back(segment: &Segment, more: &Continuation) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(&segment.path)?;
    file.write_all(&more.bytes)?;
    file.sync_all()?;
    tracing::warn!(
        file = segment.file_name(),
        records = more.positions.len(),
        "put back from JOURNAL what a power cut had taken"
    );
    Ok(())
}

struct Scan {
    tip: Position,
    /// Whether it is recorded here that the lines before this file were removed.
    removal: bool,
    torn: Option<Torn>,
    positions: Positions,
    store: Option<StoreMark>,
}

struct Torn {
    line: usize,
    offset: u64,
}

impl Scan {
    /// Follows the chain through `segment` up to its first fault.
    fn run(
        segment: &Segment,
        before: Position,
        known: Position,
        (witnesses, seen): (&[Position], &mut Vec<Position>),
    ) -> Result<Self, AuditError> {
        let io = |source| AuditError::Directory { path: segment.path.clone(), source };
        let mut positions = Positions::default();
        let (mut tip, mut removal, mut store) = (before, false, None);
        let mut lines = segment.lines().map_err(io)?;
        while let Some(raw) = lines.next().map_err(io)? {
            let next = raw
                .line
                .filter(|line| line.sequence == tip.sequence + 1 && line.previous == tip.hash);
            let Some(line) = next else {
                let torn = Torn { line: raw.number, offset: raw.offset };
                return Ok(Self { tip, removal, torn: Some(torn), positions, store });
            };
            positions.follow(&line);
            store = line.store.or(store);
            removal |= removed_up_to(&line, before);
            tip = line.position();
            if witnesses.iter().any(|witness| witness.sequence == tip.sequence) {
                seen.push(tip);
            }
            if tip.sequence == known.sequence && tip.hash != known.hash {
                return Err(damaged(&segment.path, raw.number));
            }
        }
        Ok(Self { tip, removal, torn: None, positions, store })
    }
}

/// Moves the bytes from `torn` on into a file of their own. A crash in between repeats it.
fn cut(dir: &Path, segment: &Segment, torn: &Torn, tip: Position) -> io::Result<Repair> {
    use sha2::{Digest, Sha256};

    let content = fs::read(&segment.path)?;
    let start = usize::try_from(torn.offset).unwrap_or(usize::MAX);
    let tail = content.get(start..).unwrap_or_default();
    let kept_in = format!("torn-{:012}.bin", tip.sequence + 1);
    durable::write(&dir.join(&kept_in), tail, 0o600)?;
    let file = OpenOptions::new().write(true).open(&segment.path)?;
    file.set_len(torn.offset)?;
    file.sync_all()?;
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tracing::warn!(
        file = name,
        line = torn.line,
        bytes = tail.len(),
        kept_in,
        "cut off what a crash had left unfinished"
    );
    Ok(Repair {
        file: name,
        kept_in,
        bytes: u64::try_from(tail.len()).unwrap_or(u64::MAX),
        sha256: hex::encode(&Sha256::digest(tail)),
    })
}

fn damaged(path: &Path, line: usize) -> AuditError {
    AuditError::Damaged { path: PathBuf::from(path), line }
}
