use std::fs;

use serde_json::json;

use super::*;
use crate::query::Query;
use crate::{AuditLog, LogOptions, Policy, export};

/// A log with a file for each record.
async fn open(dir: &Path, policy: Policy) -> AuditLog {
    let options = LogOptions { policy, ..LogOptions::default() };
    AuditLog::open_with(dir, json!({}), options).await.unwrap().0
}

fn small() -> Policy {
    Policy { segment_size: 1, ..Policy::default() }
}

async fn append(log: &AuditLog, event: usize) {
    let record = json!({
        "eventID": event,
        "eventTime": format!("2026-11-27T12:00:{event:02}Z"),
        "eventName": "Decrypt",
        "recipientAccountId": if event.is_multiple_of(2) { "111122223333" } else { "444455556666" },
        "awsRegion": "us-east-1",
    });
    log.append(Kind::Request, &record, &[]).await.unwrap();
}

/// The events that are read, and the reports of gaps.
fn read(directories: &[&Path]) -> (Vec<u64>, Vec<String>) {
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    let directories: Vec<_> = directories.iter().map(|dir| dir.to_path_buf()).collect();
    read_log(&directories, None, &mut |item| {
        match item {
            // The daemon's own records have no number.
            Item::Record(record) => events.extend(record["eventID"].as_u64()),
            Item::Gap(text) => gaps.push(text),
        }
        true
    })
    .unwrap();
    (events, gaps)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    Segment::list(dir).unwrap().into_iter().map(|segment| segment.path).collect()
}

#[tokio::test]
async fn plain_compressed_and_delivered_files_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (own, far) = (dir.path().join("own"), dir.path().join("far"));
    let policy = Policy { compress: true, deliver: Some(far.clone()), ..small() };
    let log = open(&own, policy).await;
    for event in 0..20 {
        append(&log, event).await;
        if event == 12 {
            log.keep_files(std::time::SystemTime::now()).await.unwrap();
        }
    }
    drop(log);
    assert!(files(&own).iter().any(|path| path.extension().is_some_and(|end| end == "gz")));
    let all: Vec<u64> = (0..20).collect();
    assert_eq!(read(&[&own]), (all.clone(), Vec::new()));
    // Delivered are those that were closed then; together nothing is there twice.
    let (delivered, gaps) = read(&[&far]);
    assert_eq!((delivered.first(), gaps), (Some(&0), Vec::new()));
    assert!(delivered.len() >= 12 && delivered.len() < 20, "{delivered:?}");
    assert_eq!(read(&[&own, &far]), (all.clone(), Vec::new()));
    // What is left here and what was delivered are the log.
    for path in &files(&own)[..5] {
        fs::remove_file(path).unwrap();
    }
    let (left, gaps) = read(&[&own]);
    assert!(left.len() < 20 && gaps.len() == 1 && gaps[0].contains("are not here"), "{gaps:?}");
    assert_eq!(read(&[&own, &far]), (all, Vec::new()));

    // The same in CloudTrail's form, which is delivered beside.
    let trail = far.join("AWSLogs");
    let (mut events, gaps) = read(&[&trail]);
    events.sort_unstable();
    assert_eq!((events, gaps), (delivered, Vec::new()));
}

#[tokio::test]
async fn what_is_missing_or_damaged_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small()).await;
    for event in 0..10 {
        append(&log, event).await;
    }
    drop(log);
    assert_eq!(read(&[dir.path()]).0.len(), 10);
    let files = files(dir.path());
    let holding = |event: usize| {
        let named = format!("\"eventID\":{event},");
        let holds =
            |path: &&PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(&named));
        files.iter().find(holds).unwrap()
    };
    // A file that is gone.
    fs::remove_file(holding(3)).unwrap();
    let (events, gaps) = read(&[dir.path()]);
    assert_eq!(events, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert!(gaps.len() == 1 && gaps[0].contains("missing"), "{gaps:?}");
    // A record that was changed.
    let path = holding(6);
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.replace("\"eventID\":6,", "\"eventID\":60,")).unwrap();
    let (events, gaps) = read(&[dir.path()]);
    assert_eq!(events, [0, 1, 2, 4, 5, 7, 8, 9]);
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(gaps.iter().any(|gap| gap.contains(name)), "{gaps:?}");
    // A record of another log in its place.
    let elsewhere = tempfile::tempdir().unwrap();
    let log = open(elsewhere.path(), small()).await;
    for event in 30..40 {
        append(&log, event).await;
    }
    drop(log);
    let twin = elsewhere.path().join(holding(8).file_name().unwrap());
    fs::copy(twin, holding(8)).unwrap();
    let (_, gaps) = read(&[dir.path()]);
    assert!(gaps.iter().any(|gap| gap.contains("does not continue")), "{gaps:?}");
}

#[tokio::test]
async fn a_damaged_compressed_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Policy { compress: true, ..small() }).await;
    for event in 0..6 {
        append(&log, event).await;
    }
    log.keep_files(std::time::SystemTime::now()).await.unwrap();
    drop(log);
    let all = files(dir.path());
    let last = all.iter().rfind(|path| path.extension().is_some_and(|end| end == "gz")).unwrap();
    let bytes = fs::read(last).unwrap();
    fs::write(last, &bytes[..bytes.len() / 2]).unwrap();
    for path in all.iter().filter(|path| *path > last) {
        // It is the last one now.
        fs::remove_file(path).unwrap();
    }
    let (_, gaps) = read(&[dir.path()]);
    assert!(gaps.len() == 1 && gaps[0].contains("not a record"), "{gaps:?}");
}

#[tokio::test]
async fn who_follows_sees_what_is_durable_and_survives_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let policy = Policy { segment_size: 600, compress: true, ..Policy::default() };
    let log = open(dir.path(), policy).await;
    let directories = [dir.path().to_owned()];
    append(&log, 0).await;
    let mut reader = Reader::open(&directories, None).unwrap().at_last_file().unwrap();
    let mut seen = Vec::new();
    let look = |reader: &mut Reader, seen: &mut Vec<u64>| {
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Record(record) => seen.extend(record["eventID"].as_u64()),
                Item::Gap(text) => panic!("{text}"),
            }
        }
    };
    look(&mut reader, &mut seen);
    for event in 1..40 {
        append(&log, event).await;
        if event % 7 == 0 {
            // Closed files are compressed meanwhile, also the one that is being read.
            log.keep_files(std::time::SystemTime::now()).await.unwrap();
        }
        if event % 3 == 0 {
            look(&mut reader, &mut seen);
        }
    }
    // A write that fails half-way leaves lines that are taken back.
    log.set_disk_full(true);
    let record = json!({ "eventID": 1000 });
    assert!(log.append(Kind::Request, &record, &[]).await.is_err());
    look(&mut reader, &mut seen);
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    log.set_disk_full(false);
    append(&log, 40).await;
    append(&log, 41).await;
    look(&mut reader, &mut seen);
    // The one that was kept in memory is written after all, before them.
    assert_eq!(seen[40..], [1000, 40, 41]);
}

#[tokio::test]
async fn an_export_is_what_was_asked_for_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let (own, far) = (dir.path().join("own"), dir.path().join("far"));
    let log = open(&own, Policy::default()).await;
    for event in 0..10 {
        append(&log, event).await;
    }
    let once = || {
        let mut written = Vec::new();
        export(std::slice::from_ref(&own), &far, Query::new(), &mut |file| written.push(file))
            .unwrap();
        written
    };
    let first = once();
    assert_eq!(first.len(), 2, "of two accounts");
    let name = &first[0].file;
    let start = "AWSLogs/111122223333/CloudTrail/us-east-1/2026/11/27/\
                 111122223333_CloudTrail_us-east-1_20261127T1200Z_";
    assert!(name.starts_with(start) && name.ends_with(".json.gz"), "{name}");
    assert_eq!(name.len(), start.len() + 16 + ".json.gz".len());
    assert_eq!(first, once());
    // There is more by now: the same files, with more in them.
    append(&log, 10).await;
    let more = once();
    assert_eq!(more[0].file, first[0].file);
    assert_eq!((first[0].records, more[0].records), (5, 6));
    let mut events = read(&[&far]).0;
    events.sort_unstable();
    assert_eq!(events, (0..11).collect::<Vec<_>>());
    drop(log);
}
