//! What an audit log proves, and to whom: every tampering that somebody with the whole disk can do to it,
//! judged by `kmsctl audit verify` with a trust anchor, from the files alone and with the device's word.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{await_devices, call};
use hsm_tests::losses::{Backup, accept, await_problem, code_in, create, encrypt, events};
use hsm_tests::patience::PATIENCE;
use hsm_tests::{ctl, seed};
use serde_json::{Value, json};

#[path = "audit_proof/forger.rs"]
mod forger;

use forger::{Copy, Line, SelfMade};

const PROVEN: i32 = 0;
const BROKEN: i32 = 1;
const UNUSABLE: i32 = 2;
const UNPROVEN: i32 = 3;
const UNVOUCHED: i32 = 4;

/// A stopped daemon that served in two runs, and an anchor that was written during the first.
struct Rig {
    daemon: Daemon,
    /// Has the anchor.
    safe: tempfile::TempDir,
    blob: String,
}

impl Rig {
    fn new() -> Self {
        let mut daemon = Daemon::start(&["soft"]);
        let safe = tempfile::tempdir().expect("a directory");
        let blob = encrypt(&daemon, &create(&daemon));
        let by = Instant::now() + PATIENCE;
        while anchor(&daemon, &safe_path(&safe)) != 0 {
            assert!(Instant::now() < by, "no device has vouched: {}", daemon.output());
            thread::sleep(Duration::from_millis(50));
        }
        decrypt(&daemon, &blob, 3);
        assert!(daemon.stop().success());
        daemon.restart();
        decrypt(&daemon, &blob, 5);
        assert!(daemon.stop().success());
        Self { daemon, safe, blob }
    }

    fn log(&self) -> PathBuf {
        self.daemon.data().join("audit")
    }

    fn copy(&self) -> Copy {
        Copy::of(&self.log())
    }

    /// `kmsctl audit verify` of a directory with the anchor and more.
    fn verify(&self, dir: &std::path::Path, more: &[&str]) -> (i32, Value) {
        let anchor = safe_path(&self.safe);
        let mut arguments =
            vec!["audit", "verify", dir.to_str().expect("UTF-8"), "--trust-anchor", &anchor];
        arguments.extend(more);
        ctl::run(&arguments)
    }

    /// The same with the device's own word.
    fn with_device(&self, dir: &std::path::Path) -> (i32, Value) {
        let data = self.daemon.data().to_str().expect("UTF-8");
        self.verify(dir, &["--live", "soft-0", "--data", data])
    }

    /// The position that an untouched log ends with.
    fn end(&self) -> String {
        let (code, report) = self.verify(&self.log(), &[]);
        assert_eq!(code, PROVEN, "{report}");
        format!("{}:{}", report["tip"]["sequence"], text(&report["tip"]["hash"]))
    }
}

fn safe_path(safe: &tempfile::TempDir) -> String {
    safe.path().join("anchor.json").to_str().expect("UTF-8").to_owned()
}

fn anchor(daemon: &Daemon, path: &str) -> i32 {
    let data = daemon.data().to_str().expect("UTF-8");
    ctl::run(&["audit", "anchor", data, "--output", path]).0
}

fn decrypt(daemon: &Daemon, blob: &str, times: u32) {
    for _ in 0..times {
        assert_eq!(call(daemon, "Decrypt", &json!({ "CiphertextBlob": blob })).status, 200);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn reason(report: &Value) -> &str {
    report["fault"]["reason"].as_str().unwrap_or_default()
}

#[test]
fn what_is_proven_is_told_by_exit_code_and_in_words() {
    let mut rig = Rig::new();
    let log = rig.log();
    let (code, report) = rig.verify(&log, &[]);
    assert_eq!((code, text(&report["verdict"])), (PROVEN, "proven"), "{report}");
    let proof = &report["proof"];
    assert_eq!(proof["sequence"].as_u64(), report["tip"]["sequence"].as_u64().map(|last| last - 1));
    assert!(text(&proof["time"]).ends_with('Z') && proof["closing"] == true, "{report}");
    assert_eq!(report["signers"][0]["device"], proof["device"]);
    assert_eq!(
        (&proof["kind"], &report["signers"][0]["kind"]),
        (&json!("in-process"), &proof["kind"])
    );
    assert_eq!((&report["unproven"], &report["signers"][0]["trusted"]), (&json!(0), &json!(true)));
    let (code, report) = rig.with_device(&log);
    assert_eq!(code, PROVEN, "{report}");
    let end = rig.end();
    assert_eq!(rig.verify(&log, &["--at-least", &end]).0, PROVEN);

    // Without an anchor nobody vouches for the devices, and it is not called intact.
    let dir = log.to_str().expect("UTF-8").to_owned();
    let (code, said) = ctl::text(&["audit", "verify", &dir]);
    assert_eq!(code, UNVOUCHED, "{said}");
    assert!(said.contains("nobody vouches") && !said.contains("intact"), "{said}");
    let anchor = safe_path(&rig.safe);
    let (code, said) = ctl::text(&["audit", "verify", &dir, "--trust-anchor", &anchor]);
    assert!(code == PROVEN && said.contains("proven to its end"), "{said}");
    assert!(said.contains("in-process: whoever owned its machine"), "{said}");

    // After a crash the last records are not proven, until the next start.
    rig.daemon.restart();
    decrypt(&rig.daemon, &rig.blob, 4);
    await_checkpoint(&rig);
    decrypt(&rig.daemon, &rig.blob, 4);
    rig.daemon.kill();
    let (code, report) = rig.verify(&log, &[]);
    assert_eq!((code, text(&report["verdict"])), (UNPROVEN, "unproven"), "{report}");
    assert!(report["unproven"].as_u64() >= Some(4), "{report}");
    let (code, said) = ctl::text(&["audit", "verify", &dir, "--trust-anchor", &anchor]);
    assert!(code == UNPROVEN && said.contains("not proven yet"), "{said}");
    rig.daemon.restart();
    await_devices(&rig.daemon, 1);
    assert!(rig.daemon.stop().success());
    let (code, report) = rig.verify(&log, &[]);
    assert_eq!(code, PROVEN, "{report}");
}

/// Waits until the device has vouched for the log in the run under way.
fn await_checkpoint(rig: &Rig) {
    let by = Instant::now() + PATIENCE;
    loop {
        let copy = rig.copy();
        let started = copy.last(|line| line.is("started"));
        if copy.lines[started..].iter().any(|line| line.is("checkpoint")) {
            return;
        }
        assert!(Instant::now() < by, "no checkpoint");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_cannot_be_verified_is_said_so() {
    let rig = Rig::new();
    let log = rig.log();
    let anchor = safe_path(&rig.safe);
    let original = fs::read_to_string(&anchor).expect("the anchor");
    for (from, to) in [
        ("\"format\": 1", "\"format\": 2"),
        ("\"kind\": \"devices\"", "\"kind\": \"device-ca\""),
        ("\"fingerprint\": \"", "\"fingerprint\": \"00"),
        ("\"devices\"", "\"device\""),
        ("{", "["),
    ] {
        assert!(original.contains(from), "{from} in {original}");
        fs::write(&anchor, original.replacen(from, to, 1)).expect("written");
        assert_eq!(rig.verify(&log, &[]).0, UNUSABLE, "{from} became {to}");
    }
    fs::write(&anchor, &original).expect("written");
    assert_eq!(rig.verify(&log, &[]).0, PROVEN);
    assert_eq!(rig.verify(&log, &["--at-least", "12"]).0, UNUSABLE);
    let empty = tempfile::tempdir().expect("a directory");
    assert_eq!(rig.verify(empty.path(), &[]).0, UNUSABLE);
    // An anchor is not replaced by mistake, and none is made of a broken log.
    let data = rig.daemon.data().to_str().expect("UTF-8");
    assert_eq!(ctl::run(&["audit", "anchor", data, "--output", &anchor]).0, UNUSABLE);
    let copy = rig.copy();
    fs::write(copy.dir().join("HEAD"), format!("{:020} {}\n", 9999, "0".repeat(64)))
        .expect("written");
    let dir = copy.dir().to_str().expect("UTF-8");
    assert_eq!(ctl::run(&["audit", "anchor", dir]).0, UNUSABLE);
}

/// A way to tamper with a log.
type Tampering = fn(&mut Copy);

fn cut(copy: &mut Copy, from: usize) {
    copy.lines.truncate(from);
    copy.write();
}

fn without_checkpoints(copy: &mut Copy) {
    copy.lines.retain(|line| !line.is("checkpoint"));
}

fn change_a_record(copy: &mut Copy) {
    let at = copy.last(|line| line.has("\"Decrypt\""));
    copy.lines[at].replace("\"Decrypt\"", "\"Encrypt\"");
}

fn remove_a_request(copy: &mut Copy) -> Line {
    // Not the last of them: checkpoints may stand between.
    let decrypts = copy.lines.iter().enumerate().filter(|(_, line)| line.has("\"Decrypt\""));
    let at = decrypts.map(|(at, _)| at).rev().nth(2).expect("some");
    assert_eq!(copy.lines[at].entries().len(), 1);
    copy.lines.remove(at)
}

/// A report that the entry of a removed request was lost, as the daemon writes it.
fn forge_a_loss(copy: &mut Copy, open: bool) {
    let removed = remove_a_request(copy);
    let entry = &removed.entries()[0];
    let (device, epoch, from) = (&entry["device"], &entry["epoch"], entry["index"].as_u64());
    let from = from.expect("a number");
    let lost = match open {
        true => json!({ "device": device, "epoch": epoch, "from": from }),
        false => json!({ "device": device, "epoch": epoch, "from": from, "to": from + 1 }),
    };
    let at = copy.last(|line| line.has("\"Decrypt\"")) - 1;
    copy.lines.insert(at, Line::new("device-entries", &json!({ "lost": lost })));
}

/// Those that show in the files alone, to whoever has an anchor.
const SHOWN_BY_THE_FILES: [(&str, Tampering); 17] = [
    ("a record is changed", |copy| {
        change_a_record(copy);
        copy.write();
    }),
    ("a record is changed, and the checkpoints are gone", |copy| {
        change_a_record(copy);
        without_checkpoints(copy);
        copy.write();
    }),
    ("a record is changed, and a self-made device signs", |copy| {
        change_a_record(copy);
        let mut device = SelfMade::new();
        copy.write_with(&mut |line, tip| {
            line.is("checkpoint").then(|| device.sign(&line.record(), tip))
        });
    }),
    ("a self-made device signs an unchanged log", |copy| {
        let mut device = SelfMade::new();
        copy.write_with(&mut |line, tip| {
            line.is("checkpoint").then(|| device.sign(&line.record(), tip))
        });
    }),
    ("the first half is gone", |copy| {
        let middle = copy.lines.len() / 2;
        copy.lines.drain(1..middle);
        copy.write();
    }),
    ("the first half is gone, and every checkpoint", |copy| {
        let middle = copy.lines.len() / 2;
        copy.lines.drain(1..middle);
        without_checkpoints(copy);
        copy.write();
    }),
    ("the middle is gone with its checkpoints", |copy| {
        let first = copy.lines.iter().position(|line| line.is("checkpoint")).expect("one");
        let last = copy.last(|line| line.is("started"));
        copy.lines.drain(first + 1..last);
        copy.write();
    }),
    ("one checkpoint is gone", |copy| {
        let at = copy.last(|line| line.is("checkpoint"));
        let at = copy.lines[..at].iter().rposition(|line| line.is("checkpoint")).expect("one");
        copy.lines.remove(at);
        copy.write();
    }),
    ("a request is gone with its device entry", |copy| {
        remove_a_request(copy);
        copy.write();
    }),
    ("a request is gone with its device entry, and the checkpoints", |copy| {
        remove_a_request(copy);
        without_checkpoints(copy);
        copy.write();
    }),
    ("a request is gone, and its entry is said to be lost", |copy| {
        forge_a_loss(copy, false);
        without_checkpoints(copy);
        copy.write();
    }),
    ("a request is gone, its entry is said to be lost, and the last checkpoint is gone", |copy| {
        forge_a_loss(copy, false);
        let at = copy.last(|line| line.is("checkpoint"));
        copy.lines.truncate(at);
        copy.write();
    }),
    ("a request is gone, and the device is said to have restarted", |copy| {
        forge_a_loss(copy, true);
        copy.write();
    }),
    ("all but the first record are gone", |copy| cut(copy, 1)),
    ("a device of the daemon is said to be hardware", |copy| {
        let at = copy.last(|line| line.is("checkpoint"));
        copy.lines[at].replace("\"kind\":\"in-process\"", "\"kind\":\"hardware\"");
        copy.write();
    }),
    ("what was asked for is changed in the device's entry", |copy| change_an_entry(copy, 1)),
    ("the time is changed in the device's entry", |copy| change_an_entry(copy, 65)),
];

/// Changes a digit of the last device entry, so many before its end.
fn change_an_entry(copy: &mut Copy, before_the_end: usize) {
    let at = copy.last(|line| line.has("\"Decrypt\""));
    let entry = text(&copy.lines[at].entries()[0]["entry"]).to_owned();
    let (front, rest) = entry.split_at(entry.len() - before_the_end);
    let other = if rest.starts_with('0') { "1" } else { "0" };
    copy.lines[at].replace(&entry, &format!("{front}{other}{}", &rest[1..]));
    copy.write();
}

#[test]
fn what_the_files_show() {
    let rig = Rig::new();
    for (what, tamper) in SHOWN_BY_THE_FILES {
        let mut copy = rig.copy();
        tamper(&mut copy);
        let (code, report) = rig.verify(copy.dir(), &[]);
        assert_eq!(code, BROKEN, "{what}, and: {report}");
        assert!(!reason(&report).is_empty(), "{report}");
        eprintln!("{what}: {}", reason(&report));
    }
}

/// Without its last checkpoints, which nobody but the device can miss.
fn end_unsigned(copy: &mut Copy) {
    let from = copy.last(|line| line.is("started"));
    let mut at = 0;
    copy.lines.retain(|line| {
        at += 1;
        at <= from || !line.is("checkpoint")
    });
    copy.write();
}

/// Those that leave a log that might be of a daemon that crashed: it is not proven, and the device knows
/// better.
const SHOWN_BY_THE_DEVICE: [(&str, Tampering); 5] = [
    ("the last checkpoints are gone", end_unsigned),
    ("a record is changed, and the last checkpoints are gone", |copy| {
        change_a_record(copy);
        end_unsigned(copy);
    }),
    ("a request is gone with its device entry, and the last checkpoints", |copy| {
        remove_a_request(copy);
        end_unsigned(copy);
    }),
    (
        "a request is gone, the device is said to have restarted, the last checkpoints are gone",
        |copy| {
            forge_a_loss(copy, true);
            end_unsigned(copy);
        },
    ),
    ("the last run is gone", |copy| {
        let from = copy.last(|line| line.is("started"));
        cut(copy, from + 1);
    }),
];

#[test]
fn what_only_the_device_shows() {
    let rig = Rig::new();
    let end = rig.end();
    for (what, tamper) in SHOWN_BY_THE_DEVICE {
        let mut copy = rig.copy();
        tamper(&mut copy);
        let (code, report) = rig.verify(copy.dir(), &[]);
        assert_eq!(code, UNPROVEN, "{what}: {report}");
        assert_eq!(rig.verify(copy.dir(), &["--at-least", &end]).0, BROKEN, "{what}");
        let (code, report) = rig.with_device(copy.dir());
        assert_eq!(code, BROKEN, "{what}, with the device: {report}");
        eprintln!("{what}: {}", reason(&report));
    }
}

/// Wherever its tail is cut, with or without `HEAD`, a log is not proven to its end by its files unless it
/// ends where a daemon was stopped; and who knows a later position, the device included, sees the cut.
#[test]
fn a_tail_that_was_cut_is_never_taken_for_the_end() {
    let rig = Rig::new();
    let end = rig.end();
    let count = rig.copy().lines.len();
    let mut random = seed::random("a_tail_that_was_cut");
    let (mut stopped, mut broken) = (0, 0);
    for keep in 1..count {
        let mut copy = rig.copy();
        let closing = copy.lines[keep - 1].has("\"closing\":true");
        cut(&mut copy, keep);
        let has_head = random.bool();
        if !has_head {
            copy.remove_head();
        }
        let (code, report) = rig.verify(copy.dir(), &[]);
        match closing {
            true => stopped += 1,
            false => assert!([BROKEN, UNPROVEN].contains(&code), "{keep} of {count}: {report}"),
        }
        broken += u32::from(code == BROKEN);
        let (code, report) = rig.verify(copy.dir(), &["--at-least", &end]);
        assert_eq!(code, BROKEN, "{keep} of {count} with the position: {report}");
        // All that the device has vouched for: the last record is its own last checkpoint.
        if keep + 1 < count && (closing || random.u8(..4) == 0) {
            let (code, report) = rig.with_device(copy.dir());
            assert_eq!(code, BROKEN, "{keep} of {count} with the device: {report}");
            assert!(
                reason(&report).contains("cut") || reason(&report).contains("anchor"),
                "{report}"
            );
        }
    }
    assert_eq!(stopped, 1, "that of the first stop");
    assert!(broken > 0, "what ends before the anchor is broken by the files alone");
}

/// The whole disk is put back to an earlier day, except for the device: the start notices.
#[test]
fn a_log_that_was_cut_against_its_device_is_noticed_at_the_start() {
    let mut rig = Rig::new();
    let old = Backup::of(&rig.daemon);
    rig.daemon.restart();
    await_devices(&rig.daemon, 1);
    decrypt(&rig.daemon, &rig.blob, 5);
    assert!(rig.daemon.stop().success());
    let new = Backup::of(&rig.daemon);

    let disk = ["store.redb", "audit", "hsm/us-east-1/mark.json"];
    old.restore(&rig.daemon, &disk);
    rig.daemon.restart();
    await_problem(&rig.daemon, Some("has vouched for"));
    let (_, problems, _) = hsm_tests::losses::readiness(&rig.daemon);
    assert!(problems.contains("Records were cut off"), "{problems}");
    let refused = call(&rig.daemon, "Decrypt", &json!({ "CiphertextBlob": rig.blob }));
    assert_eq!(refused.status, 500, "no device serves");
    let code = code_in(&problems);
    assert!(rig.daemon.stop().success());
    // It does not help that the log has grown past the record meanwhile.
    for _ in 0..3 {
        rig.daemon.restart();
        for _ in 0..5 {
            let refused = call(&rig.daemon, "Decrypt", &json!({ "CiphertextBlob": rig.blob }));
            assert_eq!(refused.status, 500);
        }
        await_problem(&rig.daemon, Some("has vouched for"));
        assert!(rig.daemon.stop().success());
    }

    // What belongs together starts as before.
    new.restore(&rig.daemon, &["store.redb", "audit", "hsm/us-east-1/mark.json"]);
    rig.daemon.restart();
    await_devices(&rig.daemon, 1);
    decrypt(&rig.daemon, &rig.blob, 1);
    assert!(rig.daemon.stop().success());
    assert_eq!(rig.verify(&rig.log(), &[]).0, PROVEN);

    // Somebody goes on with the cut log: on record, and never proven to the anchor's holder.
    old.restore(&rig.daemon, &disk);
    rig.daemon.restart();
    await_problem(&rig.daemon, Some("has vouched for"));
    let (_, problems, _) = hsm_tests::losses::readiness(&rig.daemon);
    let again = code_in(&problems);
    assert_ne!(again, code, "the device has vouched for more since");
    accept(&rig.daemon, &again);
    await_devices(&rig.daemon, 1);
    decrypt(&rig.daemon, &rig.blob, 1);
    assert!(rig.daemon.stop().success());
    assert_eq!(events(&rig.daemon, "AcceptCutLog").len(), 1);
    rig.daemon.restart();
    await_devices(&rig.daemon, 1);
    assert!(rig.daemon.stop().success());
    let (code, report) = rig.verify(&rig.log(), &[]);
    assert_eq!(code, BROKEN, "{report}");
    assert!(reason(&report).contains("are missing"), "{report}");
    // Who anchors it anew has decided to begin there.
    let later = rig.safe.path().join("later.json");
    let later = later.to_str().expect("UTF-8");
    assert_eq!(anchor(&rig.daemon, later), 0);
    let log = rig.log();
    let arguments = ["audit", "verify", log.to_str().expect("UTF-8"), "--trust-anchor", later];
    let (code, report) = ctl::run(&arguments);
    assert_eq!(code, PROVEN, "{report}");
}
