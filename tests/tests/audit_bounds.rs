//! What the audit log takes of the disk: floods, files that are rotated, compressed, delivered and
//! removed, and a disk that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use hsm_tests::daemon::Daemon;
use hsm_tests::disk::Disk;
use hsm_tests::http::{Answer, Connection, Request, call, get};
use hsm_tests::patience::until;
use hsm_tests::{ctl, programs};
use serde_json::{Value, json};

fn log_of(daemon: &Daemon) -> PathBuf {
    daemon.data().join("audit")
}

/// The files of lines in a directory, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let name = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("audit-"))
    };
    files.retain(name);
    files.sort();
    files
}

/// The records in the files that are not compressed.
fn records(directory: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    for file in files(directory) {
        if file.extension().is_some_and(|extension| extension == "jsonl") {
            let text = fs::read_to_string(file).expect("text");
            all.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
    }
    all.into_iter().map(|mut line| line["record"].take()).collect()
}

/// How many requests summaries of this name tell of.
fn counted(records: &[Value], name: &str) -> u64 {
    let of_name = records.iter().filter(|record| record["eventName"] == name);
    of_name.filter_map(|record| record["serviceEventDetails"]["requests"].as_u64()).sum()
}

fn intact(directory: &Path) -> Value {
    let (intact, report) = ctl::verify(directory);
    assert!(intact, "{report}");
    report
}

fn make_key(daemon: &Daemon) -> String {
    let made = call(daemon, "CreateKey", &json!({}));
    assert_eq!(made.status, 200, "{made:?}");
    made.json()["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned()
}

fn encrypt(daemon: &Daemon, key: &str) -> Answer {
    call(daemon, "Encrypt", &json!({ "KeyId": key, "Plaintext": "c2VjcmV0" }))
}

#[test]
fn a_kill_in_a_flood_loses_no_more_than_the_log_tells_of() {
    let mut daemon = Daemon::start(&["soft"]);
    let before = records(&log_of(&daemon)).len();
    let answered = AtomicU64::new(0);
    let request = Request::new("ListKeys", "{}").to_bytes(daemon.address());
    let mut connection = Connection::open(&daemon);
    thread::scope(|scope| {
        scope.spawn(|| {
            while connection.write(&request).is_ok() {
                let Ok(answer) = connection.read() else { break };
                assert_eq!(answer.status, 400);
                answered.fetch_add(1, Ordering::AcqRel);
            }
        });
        until("the flood", || answered.load(Ordering::Acquire) > 3000);
        daemon.kill();
    });
    let answered = answered.into_inner();
    let written = records(&log_of(&daemon));
    let whole = written[before..].iter().filter(|record| record["eventName"] == "ListKeys").count();
    let told = counted(&written, "UnauthenticatedRequests") + whole as u64;
    assert!(told <= answered + 1 && answered - told.min(answered) <= told, "{told} of {answered}");
    println!("killed after {answered} answers: the log tells of {told}");
    daemon.restart();
    assert_eq!(call(&daemon, "ListKeys", &json!({})).status, 200);
    assert!(daemon.stop().success());
    intact(&log_of(&daemon));
}

#[test]
fn counts_are_written_within_a_minute_and_are_no_faults() {
    let mut daemon = Daemon::start(&["soft"]);
    let mut connection = Connection::open(&daemon);
    let request = Request::new("ListKeys", "{}").to_bytes(daemon.address());
    for _ in 0..15 {
        connection.write(&request).expect("sent");
        assert_eq!(
            connection.read().expect("an answer").code(),
            "MissingAuthenticationTokenException"
        );
    }
    let told = |daemon: &Daemon| counted(&records(&log_of(daemon)), "UnauthenticatedRequests");
    assert_eq!(told(&daemon), 0, "ten are whole, five are not worth a record yet");
    until("the count is written", || told(&daemon) > 0);
    assert_eq!(told(&daemon), 5);
    let directory = log_of(&daemon);
    let (_, used) = ctl::run(&["usage", directory.to_str().expect("UTF-8")]);
    assert_eq!(used["failed"], 15);
    assert!(daemon.stop().success());
    intact(&directory);
}

#[test]
fn files_are_rotated_compressed_delivered_and_removed_as_configured() {
    let far = tempfile::tempdir().expect("a directory");
    let target = far.path().to_str().expect("UTF-8").to_owned();
    let arguments =
        ["--audit-segment-size", "64K", "--audit-compress", "gzip", "--audit-deliver", &target];
    let mut daemon = Daemon::start_with(&["soft"], &arguments);
    let mut sent = 0;
    until("three files are delivered", || {
        for _ in 0..50 {
            assert_eq!(
                call(&daemon, "DescribeKey", &json!({ "KeyId": "alias/absent" })).status,
                400
            );
            sent += 1;
        }
        files(far.path()).len() >= 3
    });
    // What is being delivered when the daemon stops may be there in part.
    until("none is being delivered", || {
        metrics(&daemon, ["strongroom_audit_undelivered_bytes"]) == [0]
    });
    let directory = log_of(&daemon);
    assert!(daemon.stop().success());
    let report = intact(&directory);
    assert!(report["records"].as_u64().expect("a number") > sent);
    let delivered = files(far.path());
    for file in &delivered {
        let name = file.file_name().expect("a name");
        assert!(name.to_string_lossy().ends_with(".jsonl.gz"), "{name:?}");
        assert_eq!(fs::read(file).expect("it"), fs::read(directory.join(name)).expect("it"));
    }
    assert!(files(&directory).len() > delivered.len(), "the file that is written is not delivered");
    intact(far.path());

    // As if the delivered ones were of long ago.
    let mut old = Vec::new();
    for file in &files(&directory)[..delivered.len()] {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        old.push(directory.join(format!("{}-20200101.jsonl.gz", &name[..18])));
        fs::rename(file, &old[old.len() - 1]).expect("renamed");
    }
    // The last line of a file may be as young as the first one of the next.
    let stays = old.pop().expect("three were delivered");
    let keep = ["--audit-keep", "30"].map(str::to_owned);
    let arguments: Vec<String> =
        arguments.iter().map(|&argument| argument.to_owned()).chain(keep).collect();
    daemon.replace_arguments(&arguments);
    daemon.restart();
    until("files are removed", || !old.iter().any(|file| file.exists()));
    assert!(stays.exists());
    let key = make_key(&daemon);
    assert_eq!(encrypt(&daemon, &key).status, 200);
    assert!(daemon.stop().success());
    let report = intact(&directory);
    assert!(report["removed"].as_u64().expect("a number") > 0, "{report}");
    let (code, text) = ctl::text(&["audit", "verify", directory.to_str().expect("UTF-8")]);
    assert!(code == ctl::UNVOUCHED && text.contains("removed records 1 to"), "{text}");
    let (_, used) = ctl::run(&["usage", directory.to_str().expect("UTF-8")]);
    assert_eq!(used["removed"], report["removed"]);

    // What remains is protected as before.
    let last = files(&directory).pop().expect("a file");
    let content = fs::read_to_string(&last).expect("text");
    fs::write(&last, content.replacen("\"eventName\"", "\"eventnamE\"", 1)).expect("written");
    assert!(!ctl::verify(&directory).0);
    fs::write(&last, content).expect("written");
    intact(&directory);
    let first = files(&directory).remove(0);
    fs::remove_file(first).expect("removed");
    let (intact, report) = ctl::verify(&directory);
    assert!(
        !intact && report["fault"]["reason"].as_str().expect("a text").contains("removed"),
        "{report}"
    );
}

/// A disk for a data directory; without one the test is left out.
fn mounted(directory: &Path, megabytes: u64) -> Option<Disk> {
    Disk::mount(directory, megabytes)
        .inspect_err(|reason| programs::skip("a full disk", reason))
        .ok()
}

/// Metrics of one moment.
fn metrics<const N: usize>(daemon: &Daemon, names: [&str; N]) -> [u64; N] {
    let page = String::from_utf8(get(daemon, "/metrics").body).expect("text");
    names.map(|name| {
        let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
        let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in {page}"))
    })
}

const UNTIL_RESERVE: &str = "strongroom_disk_until_reserve_bytes";

fn disk_space(daemon: &Daemon) -> (u16, String) {
    let answer = get(daemon, "/readyz");
    (answer.status, answer.json()["diskSpace"].as_str().expect("a text").to_owned())
}

#[test]
fn administration_works_on_a_full_disk_and_everything_is_recorded() {
    let mut daemon = Daemon::stopped(&["soft"]);
    let directory = daemon.data().to_owned();
    let Some(disk) = mounted(&directory, 48) else { return };
    daemon.restart();
    let keys: Vec<String> = (0..3).map(|_| make_key(&daemon)).collect();
    assert_eq!(encrypt(&daemon, &keys[0]).status, 200);
    assert_eq!(disk_space(&daemon), (200, "enough".to_owned()));
    let [free, until_reserve, log] = metrics(
        &daemon,
        ["strongroom_disk_free_bytes", UNTIL_RESERVE, "strongroom_audit_log_bytes"],
    );
    assert!((20 << 20..32 << 20).contains(&free), "{free}: the reserve is taken");
    assert_eq!(until_reserve, free - (4 << 20));
    assert!(log > 1000);

    // It shows before it is too late.
    disk.fill(8 << 20);
    until("room is low", || disk_space(&daemon) == (200, "low".to_owned()));
    assert_eq!(encrypt(&daemon, &keys[0]).status, 200);
    until("the log warns", || daemon.output().contains("the disk is filling up"));
    let [left] = metrics(&daemon, [UNTIL_RESERVE]);
    assert!((3 << 20..=4 << 20).contains(&left), "{left}");

    // Not a byte is free. Only administration is served, and strangers write next to nothing.
    disk.fill(0);
    until("the reserve is reached", || disk_space(&daemon) == (503, "reserve".to_owned()));
    let mut refused = 0;
    for _ in 0..30 {
        let answer = encrypt(&daemon, &keys[0]);
        assert_eq!(answer.code(), "KMSInternalException");
        let text = answer.json()["message"].to_string();
        assert!(text.contains("--audit-keep") && text.contains("disk is full"), "{text}");
        refused += 1;
    }
    for operation in ["CreateKey", "GenerateRandom"] {
        assert_eq!(
            call(&daemon, operation, &json!({ "NumberOfBytes": 1 })).status / 100,
            5,
            "{operation}"
        );
        refused += 1;
    }
    for (operation, body) in [
        ("ListKeys", json!({})),
        ("DescribeKey", json!({ "KeyId": keys[1] })),
        ("DisableKey", json!({ "KeyId": keys[1] })),
        ("ScheduleKeyDeletion", json!({ "KeyId": keys[2] })),
    ] {
        let answer = call(&daemon, operation, &body);
        assert_eq!(answer.status, 200, "{operation}: {answer:?}");
    }
    let state = call(&daemon, "DescribeKey", &json!({ "KeyId": keys[1] })).json();
    assert_eq!(state["KeyMetadata"]["KeyState"], "Disabled");
    let (code, text) = ctl::text(&["status", "--url", daemon.url()]);
    assert!(code == 1 && text.contains("NOT READY") && text.contains("reserve"), "{text}");
    assert_eq!(get(&daemon, "/healthz").status, 200);
    intact(&log_of(&daemon));

    // A daemon starts in the reserve, and on a disk without a free byte.
    assert!(daemon.stop().success());
    daemon.restart();
    assert_eq!(disk_space(&daemon), (503, "reserve".to_owned()));
    assert_eq!(call(&daemon, "EnableKey", &json!({ "KeyId": keys[1] })).status, 200);
    disk.free();
    until("there is room again", || encrypt(&daemon, &keys[0]).status == 200);
    until("it is said", || disk_space(&daemon) == (200, "enough".to_owned()));
    assert!(daemon.stop().success());
    disk.fill(0);
    daemon.restart();
    assert_eq!(disk_space(&daemon), (503, "reserve".to_owned()));
    assert_eq!(call(&daemon, "DisableKey", &json!({ "KeyId": keys[1] })).status, 200);

    // Even the reserve is taken, by another program: nothing is served, and nothing is lost.
    disk.fill(0);
    until("nothing is served", || {
        call(&daemon, "EnableKey", &json!({ "KeyId": keys[1] })).status == 500
    });
    disk.free();
    until("administration is served", || {
        call(&daemon, "EnableKey", &json!({ "KeyId": keys[1] })).status == 200
    });
    until("there is room again", || encrypt(&daemon, &keys[1]).status == 200);
    assert!(daemon.stop().success());
    intact(&log_of(&daemon));
    let records = records(&log_of(&daemon));
    for name in ["DisableKey", "ScheduleKeyDeletion", "EnableKey"] {
        assert!(
            records
                .iter()
                .any(|record| record["eventName"] == name && record["errorCode"].is_null()),
            "{name}"
        );
    }
    let counted = counted(&records, "RequestsRefusedOnFullDisk");
    assert!(counted >= refused, "{counted} of {refused}");
}

#[test]
fn without_a_reserve_a_full_disk_fails_requests_and_loses_none() {
    let mut daemon = Daemon::stopped(&["soft"]);
    let directory = daemon.data().to_owned();
    let Some(disk) = mounted(&directory, 32) else { return };
    daemon.replace_arguments(&["--disk-reserve".to_owned(), "0".to_owned()]);
    daemon.restart();
    let key = make_key(&daemon);
    disk.fill(0);
    let mut served = 0;
    until("the disk is full", || {
        let answer = encrypt(&daemon, &key);
        served += u64::from(answer.status == 200);
        answer.status == 500
    });
    assert_eq!(get(&daemon, "/readyz").status, 503);
    disk.free();
    until("there is room again", || encrypt(&daemon, &key).status == 200);
    assert!(daemon.stop().success());
    intact(&log_of(&daemon));
    let records = records(&log_of(&daemon));
    let recorded = records
        .iter()
        .filter(|record| record["eventName"] == "Encrypt" && record["errorCode"].is_null());
    assert!(recorded.count() as u64 > served);
}
