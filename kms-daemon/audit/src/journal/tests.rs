//! Power cuts at every step, and failures of the disk.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;

use super::*;
use crate::chain::{Body, Kind, Position};
use crate::disk::trace::Trace;
use crate::recovery::Found;
use crate::segment::HeadFile;
use crate::{AuditError, AuditLog, Holds, LogOptions, Policy, verify};

/// So small that every way through the journal is taken in a few records.
const SMALL: u64 = 2048;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

fn options(segment_size: u64) -> LogOptions {
    let policy = Policy { segment_size, ..Policy::default() };
    LogOptions { policy, journal_half: SMALL, ..LogOptions::default() }
}

async fn open(directory: &Path) -> AuditLog {
    let found = AuditLog::find(directory, &[]).unwrap();
    AuditLog::open_found(found, json!({}), options(9000)).await.unwrap().0
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A log that was written with bursts of records, and what of it was acknowledged when.
struct Written {
    before: BTreeMap<String, Vec<u8>>,
    trace: Trace,
    /// Steps that had been done when a position was acknowledged.
    acknowledged: Vec<(usize, Position)>,
}

impl Written {
    /// `bursts`: records handed over at once, and the length of each. A burst of none is a disk that is
    /// full for a while.
    fn new(bursts: &[(usize, usize)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut acknowledged = Vec::new();
        let (before, trace) = runtime().block_on(async {
            drop(open(directory.path()).await);
            let before = files(directory.path());
            let trace = Trace::begin(directory.path());
            let log = open(directory.path()).await;
            for (count, length) in bursts {
                if *count == 0 {
                    log.set_disk_full(true);
                    let refused = log.append(Kind::ServiceEvent, &json!({ "kept": 1 }), &[]).await;
                    assert!(matches!(refused, Err(AuditError::Unwritable)));
                    log.set_disk_full(false);
                    log.ensure_writable().await.unwrap();
                    continue;
                }
                let record = json!({ "padding": "x".repeat(*length) });
                let mut waiting = Vec::new();
                for _ in 0..*count {
                    waiting.push(log.append(Kind::ServiceEvent, &record, &[]));
                }
                for position in futures(waiting).await {
                    acknowledged.push((trace.len(), position));
                }
            }
            drop(log);
            (before, trace)
        });
        assert!(!directory.path().join(JOURNAL).exists(), "closed in order");
        assert_eq!(verify(directory.path()).unwrap().fault, None);
        Self { before, trace, acknowledged }
    }

    /// Cuts the power behind so many steps, and looks at what is there.
    fn cut(&self, steps: usize, keeps: &mut dyn FnMut() -> bool) {
        let place = tempfile::tempdir().unwrap();
        self.trace.after_power_cut((&self.before, place.path()), steps, keeps);
        let acknowledged: Vec<_> = self
            .acknowledged
            .iter()
            .filter(|(done, _)| *done <= steps)
            .map(|(_, position)| *position)
            .collect();
        let last = acknowledged.last().copied().unwrap_or_default();

        // As it lies there, without having been repaired.
        let report = verify(place.path()).unwrap();
        assert!(report.tip.sequence >= last.sequence, "{report:?}");

        let found = Found::find(place.path(), &acknowledged).unwrap();
        assert!(found.holds().iter().all(|holds| *holds == Holds::Yes));
        let report = verify(place.path()).unwrap();
        assert_eq!((report.fault, report.tip), (None, found.tip()));
        assert!(!place.path().join(JOURNAL).exists());
        // Once more, as if the power had failed at the end of that.
        let again = Found::find(place.path(), &acknowledged).unwrap();
        assert_eq!((again.tip(), again.holds()), (found.tip(), found.holds()));
    }
}

/// What each of them gives, all of them being waited for at once.
async fn futures(
    waiting: Vec<impl Future<Output = Result<Position, AuditError>>>,
) -> Vec<Position> {
    let mut waiting: Vec<_> = waiting.into_iter().map(Box::pin).collect();
    let mut positions = vec![None; waiting.len()];
    std::future::poll_fn(|context| {
        for (future, position) in waiting.iter_mut().zip(&mut positions) {
            if position.is_none()
                && let std::task::Poll::Ready(outcome) = future.as_mut().poll(context)
            {
                *position = Some(outcome.unwrap());
            }
        }
        match positions.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    let mut positions: Vec<_> = positions.into_iter().flatten().collect();
    positions.sort_by_key(|position| position.sequence);
    positions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// After a power cut at any step, whichever sectors that were not synced the disk has kept, every
    /// acknowledged record is there.
    #[test]
    fn a_power_cut_at_any_step_loses_no_acknowledged_record(
        bursts in prop::collection::vec((0_usize..7, 0_usize..900), 4..24),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0_u32..=4), 24),
    ) {
        let written = Written::new(&bursts);
        for (step, seed, share) in cuts {
            let mut state = seed | 1;
            let mut keeps = || {
                // xorshift64
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                u32::try_from(state >> 33).unwrap() % 4 < share
            };
            written.cut(step.index(written.trace.len() + 1), &mut keeps);
        }
    }
}

/// So many lines of one log, and where each ends.
fn some_lines(count: usize) -> (Vec<u8>, Vec<Position>) {
    let (mut lines, mut tip, mut positions) = (Vec::new(), Position::default(), Vec::new());
    for number in 0..count {
        let body = Body::new(Kind::ServiceEvent, &json!({ "number": number }), &[]);
        tip = body.append_to(tip, None, &mut lines);
        positions.push(tip);
    }
    (lines, positions)
}

/// A journal that is made, and a file of the log.
fn rig(directory: &Path) -> (Journal, DiskFile, PathBuf) {
    let path = directory.join("audit-000000000001-20261101.jsonl");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    let mut journal = Journal::new(directory, SMALL, 0).unwrap();
    journal.look_for_file(true).unwrap();
    assert!(matches!(journal.file, State::Open(_)));
    (journal, DiskFile::new(file, &path), path)
}

#[test]
fn pages_that_a_failed_sync_has_lost_are_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, segment, path) = rig(directory.path());
    let (lines, _) = some_lines(12);
    let mut size = 0;
    // One and a half halves, so that lines stand in both.
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        segment.write_at(line, size).unwrap();
        size += line.len() as u64;
        journal.commit(&segment, size, line).unwrap();
    }
    assert!(size > SMALL && size < 2 * SMALL, "{size}");
    if let State::Open(Halves { other: Some(other), .. }) = &mut journal.file {
        // As if that sync had failed.
        assert!(matches!(journal.done.recv().unwrap(), Done::Synced(Ok(()))));
        other.syncing = false;
    }
    segment.write_at(&vec![0; lines.len()], 0).unwrap();
    segment.write_at(b"half a batch that was not acknowledged", size).unwrap();
    let reason = journal.settle(&segment, size).unwrap_err();
    assert!(reason.to_string().contains("earlier sync"), "{reason}");

    journal.mend(&segment, size).unwrap();
    assert_eq!(fs::read(&path).unwrap(), lines);
    assert_eq!(journal.settled, size);
    journal.close(Some((&segment, size))).unwrap();
    assert!(!directory.path().join(JOURNAL).exists());
}

#[test]
fn a_log_without_room_for_a_journal_is_as_durable() {
    let directory = tempfile::tempdir().unwrap();
    // What stands in the way of the file.
    fs::create_dir(directory.path().join(JOURNAL)).unwrap();
    let path = directory.path().join("audit-000000000001-20261101.jsonl");
    let trace = Trace::begin(directory.path());
    let file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    let segment = DiskFile::new(file, &path);
    let mut journal = Journal::new(directory.path(), SMALL, 0).unwrap();
    journal.look_for_file(true).unwrap();
    assert!(matches!(journal.file, State::Absent));
    let (lines, _) = some_lines(3);
    segment.write_at(&lines, 0).unwrap();
    journal.commit(&segment, lines.len() as u64, &lines).unwrap();
    let place = tempfile::tempdir().unwrap();
    trace.after_power_cut((&BTreeMap::new(), place.path()), trace.len(), &mut || false);
    assert_eq!(fs::read(place.path().join(path.file_name().unwrap())).unwrap(), lines);
}

#[test]
fn only_the_very_lines_that_follow_are_taken_from_a_journal() {
    let directory = tempfile::tempdir().unwrap();
    let (lines, positions) = some_lines(6);
    let find = |content: &[u8], tip| {
        fs::write(directory.path().join(JOURNAL), content).unwrap();
        Continuation::find(directory.path(), tip).unwrap()
    };
    let mut content = lines.clone();
    content.resize(usize::try_from(2 * SMALL).unwrap(), 0);
    let found = find(&content, Position::default());
    assert_eq!((found.bytes, found.positions), (lines.clone(), positions.clone()));
    assert_eq!(find(&content, positions[3]).positions, positions[4..]);
    assert!(find(&content, positions[5]).positions.is_empty());
    // Behind another line than the one that was there.
    let other = Position { hash: positions[0].hash, ..positions[3] };
    assert!(find(&content, other).positions.is_empty());
    // A changed line ends it.
    let second = lines.iter().position(|byte| *byte == b'\n').unwrap() + 40;
    content[second] ^= 1;
    assert_eq!(find(&content, Position::default()).positions, positions[..1]);
    // The last line at the end of one half, the first in the other.
    let half = usize::try_from(SMALL).unwrap();
    let split = lines.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut content = vec![b'?'; 2 * half];
    content[..lines.len() - split].copy_from_slice(&lines[split..]);
    content[half..half + split].copy_from_slice(&lines[..split]);
    assert_eq!(find(&content, Position::default()).positions, positions);
    for length in [0, 1, 2, 3, 100] {
        assert!(find(&vec![b'{'; length], Position::default()).positions.is_empty());
    }
}

/// A journal that has another line in the place that `HEAD` names is damage, and nothing is touched.
#[test]
fn a_journal_that_contradicts_head_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let (lines, positions) = some_lines(4);
    let split = lines.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let path = directory.path().join("audit-000000000001-20261101.jsonl");
    fs::write(&path, &lines[..split]).unwrap();
    let mut content = lines[split..].to_vec();
    content.resize(usize::try_from(2 * SMALL).unwrap(), 0);
    fs::write(directory.path().join(JOURNAL), &content).unwrap();
    let changed = Position { hash: positions[0].hash, ..positions[2] };
    fs::write(directory.path().join("HEAD"), HeadFile::format(changed)).unwrap();
    let before = files(directory.path());
    let refused = Found::find(directory.path(), &[]).unwrap_err();
    assert!(matches!(&refused, AuditError::Damaged { path, line: 2 } if path.ends_with(JOURNAL)));
    assert_eq!(files(directory.path()), before);

    fs::write(directory.path().join("HEAD"), HeadFile::format(positions[3])).unwrap();
    assert_eq!(verify(directory.path()).unwrap().tip, positions[3]);
    assert_eq!(Found::find(directory.path(), &[]).unwrap().tip(), positions[3]);
    assert_eq!(fs::read(&path).unwrap(), lines);
}
