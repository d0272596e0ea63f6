use host_driver::audit::{AuditSink, DeviceReceipt};
use hsm_protocol::audit::{Details, Entry, Head, RequestDigest};
use hsm_protocol::id::{AuditTag, DeviceId, HostId, MaterialId};
use hsm_protocol::opcode::Opcode;
use serde_json::Value;

use super::*;
use crate::{LogOptions, Report, verify};

const DEVICE: DeviceId = DeviceId([7; 16]);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn open(dir: &Path, policy: Policy) -> AuditLog {
    let options = LogOptions { policy, ..LogOptions::default() };
    AuditLog::open_with(dir, json!({}), options).await.unwrap().0
}

/// A policy with a file for each record.
fn small() -> Policy {
    Policy { segment_size: 1, ..Policy::default() }
}

/// Entries 0 to `count` of the device's chain.
fn device_entries(count: u64) -> Vec<DeviceReceipt> {
    let mut head = Head::genesis(&DEVICE, 1);
    let entry = |index| Entry {
        index,
        opcode: Opcode(0x0301),
        result: None,
        host: HostId([1; 16]),
        subject: MaterialId([2; 32]),
        tag: AuditTag([3; 16]),
        details: Some(Details { time_ms: index, request: RequestDigest([4; 32]) }),
    };
    (0..count)
        .map(|index| {
            head = head.extend(&entry(index));
            DeviceReceipt { device: DEVICE, epoch: 1, entry: entry(index), head }
        })
        .collect()
}

async fn append(log: &AuditLog, receipts: &[DeviceReceipt]) {
    log.append(Kind::Request, &json!({ "eventID": "e" }), receipts).await.unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn files(dir: &Path) -> Vec<String> {
    names(dir).into_iter().filter(|name| name.starts_with("audit-")).collect()
}

fn intact(dir: &Path) -> Report {
    let report = verify(dir).unwrap();
    assert_eq!(report.fault, None);
    report
}

/// Every line of the log, those in compressed files too.
fn lines(dir: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    for segment in Segment::list(dir).unwrap() {
        let mut lines = segment.lines().unwrap();
        while let Some(raw) = lines.next().unwrap() {
            all.push(serde_json::from_slice(&raw.bytes).unwrap());
        }
    }
    all
}

#[tokio::test]
async fn files_are_begun_by_size_and_age() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Policy { segment_size: 4096, ..Policy::default() }).await;
    for _ in 0..50 {
        append(&log, &[]).await;
    }
    let written = fs::metadata(dir.path().join(&files(dir.path())[0])).unwrap().len();
    assert!((4096..4096 + 512).contains(&written), "{written}");
    let count = files(dir.path()).len();
    assert!((3..8).contains(&count), "{count}");
    drop(log);
    let log = open(dir.path(), Policy { segment_age: Duration::ZERO, ..Policy::default() }).await;
    append(&log, &[]).await;
    assert_eq!(files(dir.path()).len(), count + 2);
    drop(log);
    assert_eq!(intact(dir.path()).files, count + 2);
}

/// A file that is closed after the others were compressed waits for the next round, and counts as undelivered.
#[tokio::test]
async fn what_is_to_be_compressed_is_not_delivered_before() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [dir, far] = dirs.each_ref().map(tempfile::TempDir::path);
    let policy = Policy { compress: true, deliver: Some(far.to_owned()), ..small() };
    let log = open(dir, policy).await;
    for _ in 0..3 {
        append(&log, &[]).await;
    }
    log.deliver(far).await.unwrap();
    assert_eq!(files(far), [""; 0]);
    assert!(log.undelivered() > 0);
    log.keep_files(SystemTime::now()).await.unwrap();
    let delivered = files(far);
    assert!(delivered.len() >= 3, "{delivered:?}");
    assert!(delivered.iter().all(|name| name.ends_with(".jsonl.gz")), "{delivered:?}");
    intact(far);
}

#[tokio::test]
async fn compressed_files_are_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    let log =
        open(dir.path(), Policy { compress: true, segment_size: 4096, ..Policy::default() }).await;
    for receipt in device_entries(60) {
        append(&log, &[receipt]).await;
    }
    let before = lines(dir.path());
    log.keep_files(SystemTime::now()).await.unwrap();
    assert_eq!(lines(dir.path()), before);
    let names = files(dir.path());
    let (last, closed) = names.split_last().unwrap();
    assert!(!last.ends_with(".gz") && closed.iter().all(|name| name.ends_with(".jsonl.gz")));
    assert!(closed.len() > 3, "{closed:?}");
    log.keep_files(SystemTime::now()).await.unwrap();
    drop(log);
    let report = intact(dir.path());
    assert_eq!((report.devices[0].entries, report.removed), (60, 0));
    // A daemon goes on behind them.
    let log = open(dir.path(), Policy::default()).await;
    assert_eq!(AuditSink::position(&log, &DEVICE).unwrap().next, 60);
    drop(log);
    intact(dir.path());

    // Half compressed by a crash: the original counts, and the next round is done with it.
    let path = dir.path().join(&closed[1]);
    let whole = fs::read(&path).unwrap();
    let original = path.with_extension("");
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(&*whole).read_to_end(&mut plain).unwrap();
    fs::write(&original, &plain).unwrap();
    intact(dir.path());
    fs::write(path.with_extension("gz.new"), "torn").unwrap();
    let log = open(dir.path(), Policy { compress: true, ..Policy::default() }).await;
    log.keep_files(SystemTime::now()).await.unwrap();
    drop(log);
    assert!(!original.exists() && !path.with_extension("gz.new").exists());
    intact(dir.path());

    // Every byte of it counts but those of the header that say nothing of the content.
    for at in (0..whole.len()).step_by(5).chain(whole.len() - 8..whole.len()) {
        if (3..10).contains(&at) {
            continue; // flags, time, level, system
        }
        let mut changed = whole.clone();
        changed[at] ^= 4;
        fs::write(&path, &changed).unwrap();
        let fault = verify(dir.path()).unwrap().fault.unwrap_or_else(|| panic!("byte {at}"));
        assert_eq!(fault.file, path);
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(verify(dir.path()).unwrap().fault.unwrap().file, path);
}

#[tokio::test]
async fn delivered_files_are_whole_confirmed_and_sent_once() {
    let (dir, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = far.path().join("new/logs");
    let policy = Policy { deliver: Some(target.clone()), ..small() };
    let log = open(dir.path(), policy.clone()).await;
    for _ in 0..3 {
        append(&log, &[]).await;
    }
    let closed: Vec<_> = log.closed().unwrap();
    log.keep_files(SystemTime::now()).await.unwrap();
    assert!(files(&target).len() >= closed.len());
    let beside: Vec<_> = files(&target).into_iter().chain(["AWSLogs".to_owned()]).collect();
    let mut there = names(&target);
    there.sort_by_key(|name| name == "AWSLogs");
    assert_eq!(there, beside, "nothing is half there");
    for segment in &closed {
        let there = target.join(segment.file_name());
        assert_eq!(fs::read(&there).unwrap(), fs::read(&segment.path).unwrap());
        let event = lines(dir.path())
            .into_iter()
            .find(|line| line["record"]["serviceEventDetails"]["file"] == segment.file_name());
        let record = &event.unwrap()["record"];
        assert_eq!(record["eventName"], "DeliverAuditSegment");
        let digest = hex::encode(&Sha256::digest(fs::read(&there).unwrap()));
        assert_eq!(record["serviceEventDetails"]["sha256"], digest);
        // The same in CloudTrail's form, where there is something to tell.
        for file in record["serviceEventDetails"]["cloudTrailFiles"].as_array().unwrap() {
            let bytes = fs::read(target.join(file["file"].as_str().unwrap())).unwrap();
            assert_eq!(file["sha256"], hex::encode(&Sha256::digest(&bytes)));
            let text = io::read_to_string(flate2::read::GzDecoder::new(&*bytes)).unwrap();
            let trail: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(trail["Records"].as_array().map(Vec::len), Some(1), "{trail}");
            assert_eq!(file["records"], 1);
        }
    }
    // What was taken away from there does not come again.
    for name in files(&target) {
        fs::remove_file(target.join(name)).unwrap();
    }
    let delivered = delivered(&dir.path().join(DELIVERED)).unwrap().sequence;
    drop(log);
    let log = open(dir.path(), policy).await;
    log.keep_files(SystemTime::now()).await.unwrap();
    let again = Segment::list(&target).unwrap();
    assert!(!again.is_empty() && again.iter().all(|segment| segment.first > delivered));
    drop(log);
    // The delivered files are verified as they are.
    intact(dir.path());
}

/// A log whose first files were removed, with a device's entries before and behind.
async fn trimmed(dir: &Path) -> Vec<DeviceReceipt> {
    let log = open(dir, small()).await;
    let entries = device_entries(40);
    for receipt in &entries[..20] {
        append(&log, &[*receipt]).await;
    }
    // 21 is recorded before 20, which comes behind the removal.
    append(&log, &entries[21..22]).await;
    append(&log, &[]).await;
    drop(log);
    age(dir, 23);
    let log = open(dir, Policy { keep: Some(30), ..small() }).await;
    log.keep_files(SystemTime::now()).await.unwrap();
    append(&log, &entries[20..21]).await;
    for receipt in &entries[22..30] {
        append(&log, &[*receipt]).await;
    }
    entries
}

/// Makes all files but the last ones seem to be of long ago.
fn age(dir: &Path, count: usize) {
    let segments = Segment::list(dir).unwrap();
    for segment in segments.iter().take(count) {
        let name = format!("audit-{:012}-20200101.jsonl", segment.first);
        fs::rename(&segment.path, dir.join(name)).unwrap();
    }
}

#[tokio::test]
async fn what_remains_after_a_removal_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    trimmed(dir.path()).await;
    let report = intact(dir.path());
    assert!(report.removed > 20, "{report:?}");
    let first = &Segment::list(dir.path()).unwrap()[0];
    assert_eq!(first.first, report.removed + 1);
    assert_eq!(report.notes, Vec::<String>::new());
    let event = lines(dir.path()).into_iter();
    let event = event.map(|mut line| line["record"].take());
    let event =
        event.filter(|record| record["eventName"] == "RemoveAuditSegments").collect::<Vec<_>>();
    assert_eq!(event.len(), 1);
    assert_eq!(event[0]["eventType"], "AwsServiceEvent");
    assert_eq!(event[0]["serviceEventDetails"]["keptDays"], 30);
    // The daemon starts again, and knows where the device stands.
    let log = open(dir.path(), small()).await;
    assert_eq!(AuditSink::position(&log, &DEVICE).unwrap().next, 30);
    drop(log);
    intact(dir.path());
}

#[tokio::test]
async fn tampering_with_what_remains_is_found() {
    let dir = tempfile::tempdir().unwrap();
    trimmed(dir.path()).await;
    let removed = intact(dir.path()).removed;
    let segments = Segment::list(dir.path()).unwrap();
    let fault = || verify(dir.path()).unwrap().fault;
    for (at, segment) in segments.iter().enumerate() {
        let content = fs::read_to_string(&segment.path).unwrap();
        // One more file removed, as if that had been told, too.
        fs::remove_file(&segment.path).unwrap();
        let found = fault().unwrap_or_else(|| panic!("file {at} was removed"));
        if at == 0 {
            assert!(
                found.reason.contains(&format!(
                    "records 1 to {}",
                    removed + content.lines().count() as u64
                ))
            );
        }
        for (from, to) in [("\"kind\"", "\"kinD\""), ("\"previous\":\"", "\"previous\":\"0")] {
            fs::write(&segment.path, content.replacen(from, to, 1)).unwrap();
            assert!(fault().is_some(), "file {at}: {from}");
        }
        fs::write(&segment.path, &content).unwrap();
    }
    assert_eq!(fault(), None);
    // The record of the removal is rewritten: somebody removes more, and says so.
    let event = segments
        .iter()
        .find(|segment| fs::read_to_string(&segment.path).unwrap().contains("RemoveAuditSegments"));
    let content = fs::read_to_string(&event.unwrap().path).unwrap();
    fs::write(
        &event.unwrap().path,
        content.replacen("RemoveAuditSegments", "RemoveAuditSegmentS", 1),
    )
    .unwrap();
    assert!(fault().is_some());
}

#[tokio::test]
async fn a_daemon_does_not_start_behind_files_that_nobody_was_to_remove() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), small()).await);
    drop(open(dir.path(), small()).await);
    let segments = Segment::list(dir.path()).unwrap();
    assert!(segments.len() > 1);
    for segment in &segments[..segments.len() - 1] {
        fs::remove_file(&segment.path).unwrap();
    }
    let error = AuditLog::open(dir.path(), json!({})).await.unwrap_err();
    assert!(matches!(error, AuditError::Damaged { .. }), "{error}");
    let fault = verify(dir.path()).unwrap().fault.unwrap();
    assert!(fault.reason.contains("removed before this one"), "{fault:?}");
}

#[tokio::test]
async fn nothing_is_removed_before_it_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    fs::write(&target, "no directory").unwrap();
    let log_dir = dir.path().join("audit");
    let policy = Policy { keep: Some(1), deliver: Some(target.clone()), ..small() };
    let log = open(&log_dir, policy).await;
    for _ in 0..3 {
        append(&log, &[]).await;
    }
    let later = SystemTime::now() + 3 * DAY;
    let before = files(&log_dir);
    let error = log.keep_files(later).await.unwrap_err().to_string();
    assert!(error.contains("target"), "{error}");
    assert_eq!(files(&log_dir), before);
    fs::remove_file(&target).unwrap();
    log.keep_files(later).await.unwrap();
    let delivered = Segment::list(&target).unwrap();
    assert!(before.iter().take(3).all(|name| !log_dir.join(name).exists()));
    drop(log);
    assert!(delivered.len() >= 3);
    assert!(intact(&log_dir).removed > 0);
}

#[tokio::test]
async fn a_damaged_file_is_neither_compressed_delivered_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small()).await;
    for _ in 0..3 {
        append(&log, &[]).await; // the daemon reads the last file and the one before
    }
    drop(log);
    let victim = Segment::list(dir.path()).unwrap().remove(0);
    let content = fs::read_to_string(&victim.path).unwrap();
    let forged = content.replacen("\"kind\"", "\"kinD\"", 1);
    fs::write(&victim.path, &forged).unwrap();
    let far = dir.path().join("far");
    for policy in [
        Policy { compress: true, ..small() },
        Policy { deliver: Some(far.clone()), ..small() },
        Policy { keep: Some(1), ..small() },
    ] {
        let log = open(dir.path(), policy).await;
        let error = log.keep_files(SystemTime::now() + 9 * DAY).await.unwrap_err();
        assert!(matches!(error, KeepingError::Damaged(_)), "{error}");
        assert_eq!(fs::read_to_string(&victim.path).unwrap(), forged);
    }
    assert!(!far.exists());
}
