//! The log as a whole: durability, failure, recovery, and every way of tampering with it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::SystemTime;

use host_driver::audit::AuditSink;
use hsm_protocol::audit::{Details, Entry, Head, RequestDigest};
use hsm_protocol::id::{AuditTag, DeviceId, HostId, MaterialId};
use hsm_protocol::opcode::Opcode;
use proptest::prelude::*;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::*;
use crate::chain::Line;
use crate::segment::Segment;
use crate::{AuditFacts, Caller, Holds, Outcome, Report, StoreId, StoreMark, verify};
use kms_base::principal::Principal;

const DEVICE: DeviceId = DeviceId([7; 16]);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

fn open(dir: &Path) -> Result<(AuditLog, Opened), AuditError> {
    runtime().block_on(AuditLog::open(dir, json!({ "version": "test" })))
}

/// Entries 0 to `count` of the device's chain in boot `epoch`.
fn device_entries(epoch: u64, count: u64) -> Vec<DeviceReceipt> {
    let (mut head, request) = (Head::genesis(&DEVICE, epoch), RequestDigest([4; 32]));
    (0..count)
        .map(|index| {
            let entry = Entry {
                index,
                opcode: Opcode(0x0301),
                result: None,
                host: HostId([1; 16]),
                subject: MaterialId([2; 32]),
                tag: AuditTag([u8::try_from(index % 256).unwrap(); 16]),
                // Of firmware of before and of now.
                details: (epoch > 1).then_some(Details { time_ms: index, request }),
            };
            head = head.extend(&entry);
            DeviceReceipt { device: DEVICE, epoch, entry, head }
        })
        .collect()
}

async fn append(log: &AuditLog, event: u128, receipts: &[DeviceReceipt]) -> Result<(), AuditError> {
    let facts = AuditFacts { receipts: receipts.to_vec(), ..AuditFacts::default() };
    log.append_request(&request(event, &facts)).await.map(drop)
}

fn request(event: u128, facts: &AuditFacts) -> RequestRecord<'_> {
    RequestRecord {
        request_id: Uuid::from_u128(event),
        event_id: Uuid::from_u128(event),
        source: "kms.amazonaws.com",
        operation: "Sign",
        read_only: true,
        caller: Caller::Unverified(None),
        region: "us-east-1",
        account: "000000000000",
        source_ip: Ipv4Addr::LOCALHOST.into(),
        user_agent: None,
        tls: None,
        host: None,
        completed: SystemTime::now(),
        outcome: Outcome::Success,
        no_room: false,
        facts,
    }
}

/// A log with a `started` record and `count` requests, each with a device entry.
fn written(count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    runtime().block_on(async {
        for receipt in device_entries(1, count) {
            append(&log, u128::from(receipt.entry.index), &[receipt]).await.unwrap();
        }
    });
    drop(log);
    dir
}

fn file(dir: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

fn intact(dir: &Path) -> Report {
    let report = verify(dir).unwrap();
    assert_eq!(report.fault, None);
    report
}

#[test]
fn an_intact_log_verifies_across_restarts() {
    let dir = written(20);
    let report = intact(dir.path());
    assert_eq!((report.records, report.tip.sequence), (21, 21));
    assert_eq!((report.devices[0].entries, report.devices[0].lost), (20, 0));

    let (log, opened) = open(dir.path()).unwrap();
    assert_eq!((opened.position.sequence, opened.repair), (22, None));
    assert_eq!(AuditSink::position(&log, &DEVICE).unwrap().next, 20);
    drop(log);
    assert_eq!(intact(dir.path()).records, 22);
    assert!(matches!(verify(&dir.path().join("none")), Err(crate::VerifyError::Read { .. })));
}

#[test]
fn copies_for_other_accounts_are_lines_of_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    let mut facts = AuditFacts { receipts: device_entries(1, 1), ..AuditFacts::default() };
    facts.key("111122223333", "arn:theirs");
    let principal = Principal::root("000000000000", "AKIA");
    let record = RequestRecord { caller: Caller::Verified(&principal), ..request(1, &facts) };
    let recorded = runtime().block_on(log.append_request(&record)).unwrap();
    assert!(matches!(recorded, Recorded::Whole(position) if position.sequence == 3));
    assert_eq!(log.pending(), 0);
    drop(log);
    let report = intact(dir.path());
    assert_eq!((report.records, report.devices[0].entries), (3, 1));

    // They come together or not at all: the disk fails once, and all is kept.
    let (log, _) = open(dir.path()).unwrap();
    log.set_disk_full(true);
    let facts = AuditFacts { receipts: Vec::new(), ..facts };
    let record = RequestRecord { caller: Caller::Verified(&principal), ..request(2, &facts) };
    assert!(runtime().block_on(log.append_request(&record)).is_err());
    log.set_disk_full(false);
    runtime().block_on(log.ensure_writable()).unwrap();
    drop(log);
    let report = intact(dir.path());
    assert_eq!(report.records, 7, "started, resumed, the copy and the record");
    let lines = fs::read_to_string(file(dir.path())).unwrap();
    assert_eq!(lines.matches("responseWithheld").count(), 2);
}

#[test]
fn concurrent_records_share_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    let log = Arc::new(log);
    let runtime = runtime();
    runtime.block_on(async {
        let tasks: Vec<_> = device_entries(1, 200)
            .into_iter()
            .rev()
            .map(|receipt| {
                let log = Arc::clone(&log);
                let event = u128::from(receipt.entry.index);
                tokio::spawn(async move { append(&log, event, &[receipt]).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    assert_eq!((log.pending(), log.sequence()), (0, 201));
    assert_eq!(log.positions().of(&DEVICE).unwrap().0.next, 200);
    drop(log);
    assert_eq!(intact(dir.path()).devices[0].entries, 200);
}

#[test]
fn a_full_disk_fails_the_request_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    let receipts = device_entries(1, 3);
    runtime().block_on(async {
        append(&log, 0, &receipts[..1]).await.unwrap();
        log.set_disk_full(true);
        assert!(matches!(append(&log, 1, &receipts[1..2]).await, Err(AuditError::Unwritable)));
        assert!(!log.is_writable());
        assert!(log.ensure_writable().await.is_err());
        assert!(log.ensure_writable().await.is_err());
        assert_eq!(log.positions().of(&DEVICE).unwrap().0.next, 1);
        log.set_disk_full(false);
        log.ensure_writable().await.unwrap();
        assert!(log.is_writable());
        append(&log, 2, &receipts[2..]).await.unwrap();
    });
    drop(log);
    let report = intact(dir.path());
    assert_eq!((report.records, report.devices[0].entries), (5, 3));
    let text = fs::read_to_string(file(dir.path())).unwrap();
    let resumed = text.lines().nth(2).unwrap();
    assert!(resumed.contains(r#""keptRecords":1,"lostRecords":0,"refusedRequests":2"#));
    assert!(text.lines().nth(3).unwrap().contains(r#""responseWithheld":true"#));
}

#[test]
fn a_torn_tail_is_kept_apart() {
    let dir = written(3);
    let path = file(dir.path());
    let whole = fs::read(&path).unwrap();
    for torn in ["{\"sequence\":5,\"prev", "\0\0\0\0\n\0\0\n", "x\n"] {
        fs::write(&path, [whole.as_slice(), torn.as_bytes()].concat()).unwrap();
        let found = AuditLog::find(dir.path(), &[]).unwrap();
        let repair = found.end.repair.unwrap();
        assert_eq!(repair.bytes, u64::try_from(torn.len()).unwrap());
        assert_eq!(fs::read(dir.path().join(repair.kept_in)).unwrap(), torn.as_bytes());
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    fs::write(&path, [whole.as_slice(), b"half a line"].concat()).unwrap();
    let (log, opened) = open(dir.path()).unwrap();
    assert!(opened.repair.is_some());
    drop(log);
    assert_eq!(intact(dir.path()).records, 5);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().last().unwrap().contains("torn-000000000005.bin"));
}

#[test]
fn a_log_knows_what_it_had() {
    let dir = written(3);
    let tip = AuditLog::find(dir.path(), &[]).unwrap().tip();
    let nothing = Position::default();
    let other = Position { hash: nothing.hash, ..tip };
    let beyond = Position { sequence: tip.sequence + 1, ..tip };
    let found = AuditLog::find(dir.path(), &[tip, nothing, other, beyond]).unwrap();
    assert_eq!(found.holds(), [Holds::Yes, Holds::Yes, Holds::Differs, Holds::Ends]);
    assert_eq!(found.store(), None);
}

/// What the lines say of the store is what it had before they were written, said once, and again in
/// each file.
#[tokio::test(flavor = "multi_thread")]
async fn lines_speak_of_the_store_when_it_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let revision = Arc::new(AtomicU64::new(5));
    let (id, now) = (StoreId([3; 16]), Arc::clone(&revision));
    let mark = move || StoreMark { id, revision: now.load(Ordering::SeqCst) };
    let policy = Policy { segment_size: 1, ..Policy::default() };
    let options = |policy| LogOptions {
        policy,
        store: Some(StoreNow(Arc::new(mark.clone()))),
        ..LogOptions::default()
    };
    let said = || -> Vec<Option<u64>> {
        let segments = Segment::list(dir.path()).unwrap();
        let texts = segments.iter().map(|segment| fs::read_to_string(&segment.path).unwrap());
        let text: String = texts.collect();
        let lines = text.lines().map(|line| Line::parse(line.as_bytes()).unwrap());
        lines.map(|line| line.store.map(|mark| mark.revision)).collect()
    };
    let append = async |log: &AuditLog| {
        log.append(Kind::ServiceEvent, &json!({}), &[]).await.unwrap();
    };
    let (log, _) =
        AuditLog::open_with(dir.path(), json!({}), options(Policy::default())).await.unwrap();
    append(&log).await;
    revision.store(6, Ordering::SeqCst);
    append(&log).await;
    append(&log).await;
    drop(log);
    assert_eq!(said(), [Some(5), None, Some(6), None]);
    // After a start it is known what was said, and each file begins with it.
    let (log, _) = AuditLog::open_with(dir.path(), json!({}), options(policy)).await.unwrap();
    append(&log).await;
    drop(log);
    let all = said();
    assert_eq!(all[4..].iter().filter(|said| **said == Some(6)).count(), 2, "{all:?}");
    let found = AuditLog::find(dir.path(), &[]).unwrap();
    assert_eq!(found.store(), Some(StoreMark { id, revision: 6 }));
    assert_eq!(verify(dir.path()).unwrap().fault, None);
}

#[test]
fn damage_before_the_durable_end_keeps_the_daemon_from_starting() {
    let dir = written(3);
    let path = file(dir.path());
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replacen("Sign", "Sing", 1)).unwrap();
    assert!(matches!(open(dir.path()), Err(AuditError::Damaged { line: 2, .. })));

    let lines: Vec<_> = whole.lines().collect();
    fs::write(&path, format!("{}\n", lines[..3].join("\n"))).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, AuditError::Missing { last: 3, expected: 4, .. }));
    assert!(error.to_string().starts_with("audit records 4 to 4 are missing"));

    fs::remove_file(&path).unwrap();
    assert!(matches!(open(dir.path()), Err(AuditError::Missing { last: 0, expected: 4, .. })));
}

#[test]
fn missed_and_lost_entries_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    let (first, second) = (device_entries(1, 10), device_entries(2, 4));
    // Boot 1: 0 came with a response, 1 to 3 are lost, 4 to 6 were missed; the rest is not known.
    runtime().block_on(append(&log, 0, &first[..1])).unwrap();
    log.lost(&DEVICE, 1, 1..4).unwrap();
    assert_eq!(log.position(&DEVICE).unwrap().next, 1);
    log.missed(&first[4..7]).unwrap();
    assert_eq!(log.position(&DEVICE).unwrap().next, 7);
    // The device restarts while the answer to 9 is being recorded.
    runtime().block_on(append(&log, 1, &first[9..])).unwrap();
    log.lost(&DEVICE, 1, 7..u64::MAX).unwrap();
    let sequence = log.sequence();
    log.lost(&DEVICE, 1, 7..u64::MAX).unwrap();
    assert_eq!(log.sequence(), sequence, "said once");
    log.missed(&second).unwrap();
    drop(log);

    let report = intact(dir.path());
    let chains: Vec<_> = report.devices.iter().map(|c| (c.epoch, c.entries, c.lost)).collect();
    assert_eq!(chains, [(1, 4, 3), (2, 4, 0)]);
    assert_eq!(report.notes.len(), 1);
    let (log, _) = open(dir.path()).unwrap();
    let position = log.position(&DEVICE).unwrap();
    assert_eq!((position.epoch, position.next, position.head), (2, 4, second[3].head));
}

#[test]
fn a_forged_device_entry_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    let mut receipts = device_entries(1, 3);
    receipts[1].entry.opcode = Opcode(0x0302);
    runtime().block_on(async {
        for (event, receipt) in receipts.iter().enumerate() {
            append(&log, event as u128, &[*receipt]).await.unwrap();
        }
    });
    drop(log);
    let fault = verify(dir.path()).unwrap().fault.unwrap();
    assert_eq!(fault.line, 3);
    assert_eq!(fault.event_id.unwrap(), Uuid::from_u128(1).to_string());
    assert!(fault.reason.contains("continue its chain"));
}

#[test]
fn a_device_entry_that_was_never_recorded_is_named_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    let receipts = device_entries(1, 3);
    runtime().block_on(append(&log, 0, &receipts[..1])).unwrap();
    runtime().block_on(append(&log, 2, &receipts[2..])).unwrap();
    drop(log);
    assert_eq!(intact(dir.path()).notes.len(), 1);
    drop(open(dir.path()).unwrap());
    let fault = verify(dir.path()).unwrap().fault.unwrap();
    assert_eq!(fault.line, 3);
    assert!(fault.reason.contains("entries 1 to 1"), "{}", fault.reason);
}

#[test]
fn files_change_with_the_day_and_the_chain_goes_on() {
    let dir = written(3);
    let path = file(dir.path());
    let name = path.file_name().unwrap().to_str().unwrap();
    let yesterday = path.with_file_name(format!("{}20000101.jsonl", &name[..19]));
    fs::rename(&path, &yesterday).unwrap();
    let (log, opened) = open(dir.path()).unwrap();
    assert_eq!(opened.position.sequence, 6, "behind the line that tells where devices stand");
    drop(log);
    let report = intact(dir.path());
    assert_eq!((report.files, report.records), (2, 6));
    let (log, _) = open(dir.path()).unwrap();
    assert_eq!(log.position(&DEVICE).unwrap().next, 3, "from the last file alone");
    drop(log);

    fs::remove_file(yesterday).unwrap();
    let fault = verify(dir.path()).unwrap().fault.unwrap();
    assert_eq!(
        (fault.line, fault.reason.as_str()),
        (1, "records 1 to 4 were removed before this one")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_change_is_named(
        kind in 0..5,
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let dir = written(8);
        let path = file(dir.path());
        let content = fs::read(&path).unwrap();
        let mut lines: Vec<Vec<u8>> = content.split_inclusive(|c| *c == b'\n').map(<[u8]>::to_vec).collect();
        prop_assert_eq!(lines.len(), 9);
        let at = a.index(lines.len());
        let (expected, word) = match kind {
            0 => {
                let place = b.index(lines[at].len());
                lines[at][place] ^= 1u8 << bit;
                (at, "changed")
            }
            1 => {
                lines.remove(at);
                // The last one is missed behind its predecessor.
                (at.min(lines.len() - 1), "removed")
            }
            2 => {
                let other = (at + 1 + b.index(lines.len() - 1)) % lines.len();
                lines.swap(at, other);
                (at.min(other), "belongs here")
            }
            3 => {
                let copied = b.index(lines.len());
                lines.insert(at + 1, lines[copied].clone());
                // Of two equal neighbours the second one is too many.
                (if copied == at + 1 { at + 2 } else { at + 1 }, "belongs here")
            }
            _ => {
                // The record is rewritten with a hash that fits it.
                let previous = lines[..at].last().map_or(Position::default(), |line| {
                    crate::chain::Line::parse(line.trim_ascii_end()).unwrap().position()
                });
                lines[at].clear();
                Body::new(Kind::Request, &json!({ "forged": bit }), &[])
                    .append_to(previous, None, &mut lines[at]);
                (at, "replaced")
            }
        };
        fs::write(&path, lines.concat()).unwrap();
        let fault = verify(dir.path()).unwrap().fault.unwrap();
        prop_assert_eq!(fault.line, expected + 1, "{:?}", fault);
        prop_assert!(fault.reason.contains(word), "{:?}", fault);
    }
}
