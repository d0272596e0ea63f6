//! The audit log: what it says, and that `kmsctl audit verify` names the first record that was
//! changed, removed, repeated or moved.

use std::fs;
use std::path::{Path, PathBuf};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Request, call};
use hsm_tests::{ctl, seed};
use serde_json::{Value, json};

/// A daemon that served some requests of each kind and was stopped. All of its log is of one day, so it is
/// one file: a daemon that lived past midnight gives way to another.
fn used_daemon() -> Daemon {
    loop {
        let daemon = daemon_of_now();
        if files(&log_of(&daemon)).len() == 1 {
            return daemon;
        }
    }
}

fn daemon_of_now() -> Daemon {
    let mut daemon = Daemon::start(&["soft"]);
    let made = call(&daemon, "CreateKey", &json!({ "Description": "audited" })).json();
    let key = made["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned();
    let context = json!({ "Purpose": "audit" });
    let body = json!({ "KeyId": key, "Plaintext": "c2VjcmV0", "EncryptionContext": context });
    let sealed = call(&daemon, "Encrypt", &body).json();
    let blob = &sealed["CiphertextBlob"];
    for (operation, body, status) in [
        ("Decrypt", json!({ "CiphertextBlob": blob, "EncryptionContext": context }), 200),
        ("Decrypt", json!({ "CiphertextBlob": blob }), 400),
        ("DescribeKey", json!({ "KeyId": key }), 200),
        ("DescribeKey", json!({ "KeyId": "alias/absent" }), 400),
        ("GenerateRandom", json!({ "NumberOfBytes": 8 }), 200),
    ] {
        assert_eq!(call(&daemon, operation, &body).status, status, "{operation}");
    }
    assert_eq!(Request::new("ListKeys", "{}").send(&daemon).status, 400, "not signed");
    assert!(daemon.stop().success());
    daemon
}

fn log_of(daemon: &Daemon) -> PathBuf {
    daemon.data().join("audit")
}

fn files(log: &Path) -> Vec<PathBuf> {
    fs::read_dir(log)
        .expect("the log")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect()
}

/// The log's only file, and its lines.
fn lines(log: &Path) -> (PathBuf, Vec<String>) {
    let file = files(log).remove(0);
    let text = fs::read_to_string(&file).expect("the file");
    (file, text.lines().map(str::to_owned).collect())
}

fn requests(log: &Path) -> Vec<Value> {
    let parsed = lines(log).1.into_iter().map(|line| serde_json::from_str(&line).expect("JSON"));
    parsed
        .filter(|line: &Value| line["kind"] == "request")
        .map(|mut line| line["record"].take())
        .collect()
}

#[test]
fn every_request_has_a_record_refused_ones_included() {
    let daemon = used_daemon();
    let records = requests(&log_of(&daemon));
    let seen: Vec<(&str, &str)> = records
        .iter()
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or("");
            (text("eventName"), text("errorCode"))
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("CreateKey", ""),
            ("Encrypt", ""),
            ("Decrypt", ""),
            ("Decrypt", "InvalidCiphertextException"),
            ("DescribeKey", ""),
            ("DescribeKey", "NotFoundException"),
            ("GenerateRandom", ""),
            ("ListKeys", "MissingAuthenticationTokenException"),
        ]
    );
    for record in &records {
        assert_eq!(record["eventSource"], "kms.amazonaws.com");
        assert_eq!(record["eventType"], "AwsApiCall");
        assert_eq!(record["eventCategory"], "Management");
        assert!(record["eventVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
        for id in ["eventID", "requestID"] {
            assert_eq!(record[id].as_str().map(str::len), Some(36), "{record}");
        }
    }
    assert_eq!(records[0]["readOnly"], false);
    assert_eq!(records[1]["readOnly"], true);
    assert_eq!(records[1]["requestParameters"]["encryptionContext"]["Purpose"], "audit");
    assert_eq!(records[1]["requestParameters"]["encryptionAlgorithm"], "SYMMETRIC_DEFAULT");
    assert_eq!(records[6]["requestParameters"], Value::Null);
}

#[test]
fn nothing_secret_is_logged() {
    let daemon = used_daemon();
    let secret = daemon.credentials().secret;
    let (_, lines) = lines(&log_of(&daemon));
    for line in lines {
        for forbidden in ["c2VjcmV0", "secret\"", "CiphertextBlob", "Plaintext", &secret] {
            assert!(!line.contains(forbidden), "{forbidden} in {line}");
        }
    }
}

#[test]
fn an_untouched_log_is_intact() {
    let daemon = used_daemon();
    let (intact, report) = ctl::verify(&log_of(&daemon));
    assert!(intact, "{report}");
    let count = lines(&log_of(&daemon)).1.len();
    assert_eq!(report["records"], count);
    let devices = report["devices"].as_array().expect("devices");
    assert!(devices.iter().any(|device| device["entries"].as_u64() > Some(3)), "{report}");
}

#[test]
fn a_directory_without_a_log_is_not_called_intact() {
    let empty = tempfile::tempdir().expect("a directory");
    let (code, _) = ctl::run(&["audit", "verify", empty.path().to_str().expect("UTF-8")]);
    assert_eq!(code, 2);
}

/// A way to tamper with record `at` (from 0) of a log; returns the line that must be named
/// (from 1).
type Tampering = fn(&mut Vec<String>, usize, &mut fastrand::Rng) -> usize;

/// What a forger can do to any record.
const TAMPERINGS: [(&str, Tampering); 6] = [
    ("a bit is flipped", |lines, at, random| {
        let byte = random.usize(..lines[at].len());
        let mut bytes = lines[at].clone().into_bytes();
        bytes[byte] ^= 1; // keeps ASCII text ASCII, and makes no end of line
        lines[at] = String::from_utf8(bytes).expect("ASCII");
        at + 1
    }),
    ("a member is rewritten", |lines, at, _| {
        lines[at] = lines[at].replacen("\"record\":{", "\"record\":{\"forged\":1,", 1);
        at + 1
    }),
    ("it is replaced by an empty object", |lines, at, _| {
        lines[at] = "{}".to_owned();
        at + 1
    }),
    ("its end is cut off", |lines, at, random| {
        let keep = random.usize(..lines[at].len());
        lines[at].truncate(keep);
        at + 1
    }),
    ("it is repeated", |lines, at, _| {
        lines.insert(at, lines[at].clone());
        at + 2
    }),
    ("another is moved before it", |lines, at, random| {
        let from = random.usize(at + 1..lines.len());
        let moved = lines.remove(from);
        lines.insert(at, moved);
        at + 1
    }),
];

fn copy_of(log: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(log).expect("the log") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("a copy");
    }
    copy
}

fn write(log: &Path, changed: &[String]) {
    let (file, _) = lines(log);
    fs::write(file, changed.join("\n") + "\n").expect("written");
}

#[test]
fn the_first_record_tampered_with_is_named() {
    let mut random = seed::random("tampering");
    let daemon = used_daemon();
    let log = log_of(&daemon);
    let original = lines(&log).1;
    for at in 0..original.len() {
        for (what, tamper) in TAMPERINGS {
            if what.starts_with("another") && at + 1 == original.len() {
                continue;
            }
            let copy = copy_of(&log);
            let mut changed = original.clone();
            let named = tamper(&mut changed, at, &mut random);
            if changed == original {
                continue; // cut off at its very end
            }
            write(copy.path(), &changed);
            let (intact, report) = ctl::verify(copy.path());
            assert!(!intact, "record {at}: {what}, and nobody noticed");
            assert_eq!(report["fault"]["line"], named, "record {at}: {what}: {report}");
            assert_eq!(report["records"], named - 1, "record {at}: {what}: {report}");
        }
    }
}

#[test]
fn a_removed_record_is_named_by_its_neighbour() {
    let daemon = used_daemon();
    let log = log_of(&daemon);
    let original = lines(&log).1;
    for at in 0..original.len() {
        let copy = copy_of(&log);
        let mut changed = original.clone();
        changed.remove(at);
        write(copy.path(), &changed);
        let (intact, report) = ctl::verify(copy.path());
        assert!(!intact, "record {at} was removed, and nobody noticed");
        let reason = report["fault"]["reason"].as_str().expect("a reason");
        assert!(reason.contains(&(at + 1).to_string()), "record {}: {reason}", at + 1);
        assert!(reason.contains("removed"), "{reason}");
    }
}

#[test]
fn an_end_cut_off_is_noticed() {
    let daemon = used_daemon();
    let log = log_of(&daemon);
    let original = lines(&log).1;
    for keep in 1..original.len() {
        let copy = copy_of(&log);
        write(copy.path(), &original[..keep]);
        let (intact, report) = ctl::verify(copy.path());
        assert!(!intact, "all behind record {keep} were removed, and nobody noticed");
        assert_eq!(report["fault"]["line"], keep, "{report}");
    }
}

#[test]
fn a_person_is_told_which_record_and_why() {
    let daemon = used_daemon();
    let copy = copy_of(&log_of(&daemon));
    let (_, mut changed) = lines(copy.path());
    let at = changed.iter().position(|line| line.contains("\"readOnly\"")).expect("a request");
    changed[at] = changed[at].replacen("\"readOnly\"", "\"readOnlY\"", 1);
    let event = serde_json::from_str::<Value>(&changed[at]).expect("still JSON");
    write(copy.path(), &changed);
    let (code, text) = ctl::text(&["audit", "verify", copy.path().to_str().expect("UTF-8")]);
    assert_eq!(code, 1);
    assert!(text.contains("NOT INTACT") && text.contains(&format!(":{}", at + 1)), "{text}");
    if let Some(id) = event["record"]["eventID"].as_str() {
        assert!(text.contains(id), "{text}");
    }
}

#[test]
fn a_daemon_does_not_start_on_a_damaged_log() {
    let daemon = used_daemon();
    let (file, mut changed) = lines(&log_of(&daemon));
    let last = changed.len() - 1;
    changed[last] = changed[last].replacen("\"kind\"", "\"Kind\"", 1);
    fs::write(&file, changed.join("\n") + "\n").expect("written");
    let said = daemon.restart_refused();
    assert!(said.contains("audit"), "{said}");
}
