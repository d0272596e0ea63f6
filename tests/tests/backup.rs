//! Backups of a daemon that works, and what is left when a backup or a restore is cut off.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Answer, Request, call, get};
use hsm_tests::patience::{PATIENCE, until};
use hsm_tests::process::signal_process;
use hsm_tests::{ctl, environment, seed};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Times that something is cut off.
const CUTS: usize = 12;

#[path = "backup/rig.rs"]
mod rig;

use rig::{Rig, create_key, placed};

#[test]
fn what_was_answered_before_a_backup_is_in_it_while_others_work() {
    let rig = Rig::start();
    let stop = AtomicBool::new(false);
    let before: Vec<String> = (0..20).map(|_| create_key(&rig.daemon)).collect();
    let document = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    create_key(&rig.daemon);
                }
            });
        }
        let document = rig.back_up("busy.backup");
        stop.store(true, Ordering::Relaxed);
        document
    });
    assert_eq!(document["running"], true);
    assert_eq!(document["regions"][0]["flashes"], json!(["soft-0"]));

    let data = rig.path("data");
    let (code, restored, said) = rig.restore("busy.backup", &data);
    assert_eq!(code, 0, "{said}");
    assert_eq!(restored["auditSequence"], document["auditSequence"]);
    let mut daemon = placed(&data);
    daemon.restart();
    for key in &before {
        let sealed = call(&daemon, "Encrypt", &json!({ "KeyId": key, "Plaintext": "eA==" }));
        assert_eq!(sealed.status, 200, "{sealed:?}");
    }
    // The store has each key that the log tells of: the snapshot is of one moment.
    let mut listed = Vec::new();
    let mut marker = Value::Null;
    loop {
        let mut input = json!({ "Limit": 1000 });
        if let Value::String(_) = marker {
            input["Marker"] = marker;
        }
        let page = call(&daemon, "ListKeys", &input).json();
        let keys = page["Keys"].as_array().expect("a list").clone();
        listed.extend(keys.iter().filter_map(|key| key["KeyId"].as_str().map(str::to_owned)));
        marker = page["NextMarker"].clone();
        if page["Truncated"] != true {
            break;
        }
    }
    let told = created(daemon.data());
    assert!(told.len() >= before.len());
    let missing: Vec<_> = told.iter().filter(|key| !listed.contains(key)).collect();
    assert!(missing.is_empty(), "the log tells of {missing:?}, which the store does not have");
    // Requests that were under way may have been between store and log: one for each thread.
    assert!(listed.len() <= told.len() + 3, "{} keys, {} told of", listed.len(), told.len());
    let (intact, report) = ctl::verify(&daemon.data().join("audit"));
    assert!(intact, "{report}");
}

/// The ids of the keys that the log says were made.
fn created(data: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(data.join("audit")).expect("a log") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "jsonl") {
            continue;
        }
        for line in fs::read_to_string(path).expect("read").lines() {
            let record: Value = serde_json::from_str(line).unwrap_or_default();
            find_created(&record, &mut ids);
        }
    }
    ids
}

/// Records are within lines, whose form is not this test's business.
fn find_created(value: &Value, ids: &mut Vec<String>) {
    if value["eventName"] == "CreateKey" && value["errorCode"].is_null() {
        let arn = value["resources"][0]["ARN"].as_str().unwrap_or_default();
        ids.extend(arn.rsplit_once('/').map(|(_, id)| id.to_owned()));
        return;
    }
    match value {
        Value::Object(members) => members.values().for_each(|value| find_created(value, ids)),
        Value::Array(items) => items.iter().for_each(|value| find_created(value, ids)),
        _ => {}
    }
}

#[test]
fn a_backup_that_is_cut_off_never_verifies() {
    let rig = Rig::start();
    (0..50).for_each(|_| drop(create_key(&rig.daemon)));
    let mut random = seed::random("a_backup_that_is_cut_off_never_verifies");
    let began = Instant::now();
    rig.back_up("whole.backup");
    let takes = began.elapsed();
    assert!(rig.verifies(&rig.path("whole.backup")));
    let mut whole = 0;
    for cut in 0..CUTS {
        let name = format!("{cut}.backup");
        let arguments = rig.backup_command(&name);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut child = rig.command(&arguments).spawn().expect("kmsctl runs");
        thread::sleep(takes.mul_f64(random.f64() * 1.2));
        child.kill().expect("it is a child");
        child.wait().expect("it ended");
        let (file, partial) = (rig.path(&name), rig.path(&format!("{name}.partial")));
        assert!(!partial.exists() || !rig.verifies(&partial) || !file.exists(), "{cut}");
        match file.exists() {
            true => {
                assert!(rig.verifies(&file), "cut {cut}: there under its name, and not whole");
                whole += 1;
            }
            // What is left does not keep the next one from being made.
            false => drop(rig.back_up(&name)),
        }
        assert!(rig.verifies(&file), "cut {cut}");
    }
    eprintln!("{whole} of {CUTS} were whole when they were cut off, {takes:?} each");
    assert_eq!(rig.back_up("last.backup")["authentic"], true);
    assert!(!rig.daemon.data().join("backup").exists(), "no snapshot is left");
}

#[test]
fn a_restore_that_is_cut_off_is_whole_or_refused() {
    let rig = Rig::start();
    (0..50).for_each(|_| drop(create_key(&rig.daemon)));
    rig.back_up("one.backup");
    let mut random = seed::random("a_restore_that_is_cut_off_is_whole_or_refused");
    let began = Instant::now();
    assert_eq!(rig.restore("one.backup", &rig.path("whole")).0, 0);
    let takes = began.elapsed();
    // Cut off while it wrote its mark: nothing was written yet.
    let marking = rig.path("marking");
    fs::create_dir(&marking).expect("made");
    fs::set_permissions(&marking, fs::Permissions::from_mode(0o700)).expect("private");
    fs::write(marking.join("restoring.new"), "A rest").expect("written");
    assert_eq!(rig.restore("one.backup", &marking).0, 0);
    assert!(!marking.join("restoring.new").exists());
    let mut refused = 0;
    for cut in 0..CUTS {
        let data = rig.path(&format!("data-{cut}"));
        let (file, to) = (rig.path("one.backup"), data.to_str().expect("UTF-8").to_owned());
        let arguments = ["restore", file.to_str().expect("UTF-8"), "--data", &to];
        let mut child = rig.command(&arguments).spawn().expect("kmsctl runs");
        thread::sleep(takes.mul_f64(random.f64() * 1.2));
        child.kill().expect("it is a child");
        child.wait().expect("it ended");
        if !data.join("store.redb").exists() && !data.join("restoring").exists() {
            // Nothing was written yet: it can be restored into.
            assert_eq!(rig.restore("one.backup", &data).0, 0);
        } else if data.join("restoring").exists() {
            refused += 1;
            let (code, _, said) = rig.restore("one.backup", &data);
            assert_eq!(code, 2);
            assert!(said.contains("restored in part"), "{said}");
            let said = placed(&data).restart_refused();
            assert!(said.contains("restored in part"), "{said}");
            continue;
        }
        let (intact, report) = ctl::verify(&data.join("audit"));
        assert!(intact, "{report}");
    }
    eprintln!("{refused} of {CUTS} were refused, {takes:?} each");
}

#[test]
fn a_daemon_that_dies_with_a_snapshot_removes_it_at_its_next_start() {
    let mut rig = Rig::start();
    create_key(&rig.daemon);
    rig.daemon.kill();
    let left = rig.daemon.data().join("backup/0123");
    fs::create_dir_all(&left).expect("made");
    fs::write(left.join("store.redb"), "half").expect("written");
    rig.daemon.restart();
    assert!(!rig.daemon.data().join("backup").exists());
    // Then without a daemon, and with one again.
    assert!(rig.daemon.stop().success());
    assert_eq!(rig.back_up("still.backup")["running"], false);
    rig.daemon.restart();
    assert_eq!(rig.back_up("running.backup")["running"], true);
    let (intact, report) = ctl::verify(&rig.daemon.data().join("audit"));
    assert!(intact, "{report}");
}

/// Whole and authentic as it is, it is told from the last one that the installation made.
#[test]
fn an_older_backup_in_the_place_of_the_last_one_is_told() {
    let mut rig = Rig::start();
    create_key(&rig.daemon);
    rig.back_up("first.backup");
    let data = rig.daemon.data().to_str().expect("UTF-8").to_owned();
    let look = |rig: &Rig, name: &str, data: &str| {
        let (file, url) = (rig.path(name), rig.daemon.url().to_owned());
        let file = file.to_str().expect("UTF-8");
        let (code, report, said) =
            rig.ctl(&["backup", "verify", file, "--data", data, "--url", &url]);
        assert_eq!(code, 0, "{said}");
        assert_eq!(report["authentic"], true);
        report["installation"].clone()
    };
    assert_eq!(look(&rig, "first.backup", &data)["isLast"], true);
    create_key(&rig.daemon);
    rig.back_up("second.backup");
    for running in [true, false] {
        let known = look(&rig, "first.backup", &data);
        assert_eq!(known["isLast"], false, "{running}: {known}");
        let path = rig.path("second.backup");
        assert_eq!(known["lastBackup"]["path"], path.to_str().expect("UTF-8"));
        assert_eq!(look(&rig, "second.backup", &data)["isLast"], true, "{running}");
        fs::rename(&path, rig.path("kept")).expect("renamed");
        fs::copy(rig.path("first.backup"), &path).expect("copied");
        assert_eq!(look(&rig, "second.backup", &data)["isLast"], false, "{running}");
        fs::rename(rig.path("kept"), &path).expect("renamed");
        if running {
            assert!(rig.daemon.stop().success());
        }
    }
    let first = rig.path("first.backup");
    let output = Command::new(environment::kmsctl())
        .args(["backup", "verify", first.to_str().expect("UTF-8"), "--data", &data])
        .env("STRONGROOM_PASSPHRASE_FILE", rig.path("passphrase"))
        .output()
        .expect("kmsctl runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("whole and authentic") && said.contains("NOT THE LAST: a newer"),
        "{said}"
    );
    // What it came out of is not asked unless it is named.
    let (_, report, _) = rig.ctl(&["backup", "verify", first.to_str().expect("UTF-8")]);
    assert!(report.get("installation").is_none(), "{report}");
    let other = Rig::start();
    let file = rig.path("first.backup");
    let other_data = other.daemon.data().to_str().expect("UTF-8").to_owned();
    let arguments = ["backup", "verify", file.to_str().expect("UTF-8"), "--data", &other_data];
    let (code, _, said) = rig.ctl(&[&arguments[..], &["--url", other.daemon.url()]].concat());
    assert_eq!(code, 0, "{said}");
}

#[test]
fn refusals_say_what_to_do() {
    let rig = Rig::start();
    create_key(&rig.daemon);
    rig.back_up("one.backup");
    let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (one, data) = (text(rig.path("one.backup")), rig.daemon.data().to_owned());
    let url = rig.daemon.url().to_owned();
    let refused = |arguments: &[&str], because: &str| {
        let (code, _, said) = rig.ctl(arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(said.contains(because), "{arguments:?}: {said}");
    };
    let own = ["--data", data.to_str().expect("UTF-8"), "--url", &url];
    let with = |arguments: &[&str]| {
        let all = arguments.iter().chain(&own).map(|text| (*text).to_owned());
        all.collect::<Vec<String>>()
    };
    for (arguments, because) in [
        (with(&["backup", &one, "--with-devices"]), "exists and is not overwritten"),
        (with(&["backup", &text(rig.path("x"))]), "--with-devices"),
        (with(&["backup", &text(rig.path("no/x")), "--with-devices"]), "no/x"),
    ] {
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), because);
    }
    assert!(!rig.path("x").exists());
    let here = data.to_str().expect("UTF-8");
    refused(&["restore", &one, "--data", here], "another kmsd or kmsctl is running");
    refused(&["backup", "verify", &text(rig.path("passphrase"))], "not a backup of Strongroom");
    fs::write(rig.path("other"), "another passphrase\n").expect("written");
    let other = text(rig.path("other"));
    let wrong = ["backup", "verify", &one, "--passphrase-file", &other];
    refused(&wrong, "not the passphrase");
    fs::write(rig.path("short"), "short\n").expect("written");
    let short = text(rig.path("short"));
    refused(&["backup", "verify", &one, "--passphrase-file", &short], "at least 12 bytes");
    // Another daemon answers than that of the directory.
    let second = Rig::start();
    let files = ["--credentials".to_owned(), text(second.daemon.credentials_file())];
    let mut arguments = rig.backup_command("y.backup");
    let place = arguments.iter().position(|word| *word == url).expect("it is there");
    arguments[place] = second.daemon.url().to_owned();
    arguments.extend(files);
    let (code, _, said) = rig.ctl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(code == 2 && said.contains("does not run on"), "{said}");
}

/// As somebody does before they try something: the copy is as good as the flash.
#[test]
fn a_copy_of_a_flash_is_in_no_backup_without_devices() {
    let rig = Rig::start();
    create_key(&rig.daemon);
    let region = rig.daemon.data().join("hsm/us-east-1");
    fs::copy(region.join("soft-0.flash"), region.join("soft-0.flash.old")).expect("copied");
    let mut arguments = rig.backup_command("without.backup");
    let with = arguments.iter_mut().find(|word| *word == "--with-devices").expect("it is there");
    *with = "--without-devices".to_owned();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (code, document, said) = rig.ctl(&arguments);
    assert_eq!(code, 0, "{said}");
    let left_out = ["hsm/us-east-1/soft-0.flash", "hsm/us-east-1/soft-0.flash.old"];
    assert_eq!(document["leftOut"], json!(left_out));
    let data = rig.path("data");
    let (code, _, said) = rig.restore("without.backup", &data);
    assert_eq!(code, 0, "{said}");
    let restored: Vec<_> = fs::read_dir(data.join("hsm/us-east-1"))
        .expect("the registry is there")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().contains("flash"))
        .collect();
    assert!(restored.is_empty(), "{restored:?}");
}

#[test]
fn what_somebody_put_beside_the_flashes_is_told() {
    let mut rig = Rig::start();
    assert!(rig.daemon.stop().success());
    let region = rig.daemon.data().join("hsm/us-east-1");
    let copy = region.join("soft-0.flash.old");
    fs::copy(region.join("soft-0.flash"), &copy).expect("copied");
    rig.daemon.restart();
    let problems = get(&rig.daemon, "/readyz").json()["problems"].to_string();
    assert!(problems.contains("may be a copy of a device's flash"), "{problems}");
    let advice = format!("shred -u {}", copy.display());
    rig.daemon.await_output(&advice);
    fs::remove_file(copy).expect("removed");
    assert!(get(&rig.daemon, "/readyz").json()["problems"].is_null());
}

#[test]
fn what_is_in_the_place_of_a_backup_is_not_written_to() {
    let rig = Rig::start();
    create_key(&rig.daemon);
    let (victim, partial) = (rig.path("victim"), rig.path("b.backup.partial"));
    fs::write(&victim, "somebody's").expect("written");
    std::os::unix::fs::symlink(&victim, &partial).expect("linked");
    let arguments = rig.backup_command("b.backup");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (code, _, said) = rig.ctl(&arguments);
    assert!(code == 2 && said.contains("it is a link"), "{said}");
    assert_eq!(fs::read(&victim).expect("it is there"), b"somebody's");
    assert!(!rig.path("b.backup").exists());
    // No snapshot is left of what was refused.
    assert!(!has_snapshot(&rig));
    fs::remove_file(&partial).expect("removed");
    rig.back_up("b.backup");
    let mode = fs::metadata(rig.path("b.backup")).expect("made").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_backup_is_not_put_into_what_it_is_of() {
    let rig = Rig::start();
    create_key(&rig.daemon);
    let mut arguments = rig.backup_command("x");
    arguments[1] = rig.daemon.data().join("x.backup").display().to_string();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (code, _, said) = rig.ctl(&arguments);
    assert!(code == 2 && said.contains("outside the data directory"), "{said}");
    assert!(!rig.daemon.data().join("x.backup").exists() && !has_snapshot(&rig));
}

fn has_snapshot(rig: &Rig) -> bool {
    let backup = rig.daemon.data().join("backup");
    fs::read_dir(backup).is_ok_and(|mut entries| entries.next().is_some())
}

/// The exit code of a backup that a signal ends while it is written. One that came to its end before was
/// not interrupted: then another one is.
fn interrupted(rig: &Rig, name: &str, signal: Signal) -> Option<i32> {
    let arguments = rig.backup_command(name);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (file, partial) = (rig.path(name), rig.path(&format!("{name}.partial")));
    let mut code = None;
    until("a backup is interrupted", || {
        let mut child = rig.command(&arguments).spawn().expect("kmsctl runs");
        let mut over = false;
        until("it is written", || {
            over = child.try_wait().expect("a child").is_some();
            over || partial.exists()
        });
        if !over {
            assert!(has_snapshot(rig), "of what it is written");
            signal_process(child.id(), signal);
        }
        code = child.wait().expect("it ended").code();
        let whole = file.exists();
        if whole {
            fs::remove_file(&file).expect("removed");
        }
        !whole
    });
    code
}

#[test]
fn an_interrupted_backup_leaves_no_snapshot() {
    let mut rig = Rig::start();
    create_key(&rig.daemon);
    // To write this takes long enough for a signal to come meanwhile.
    let ballast = fs::File::create(rig.daemon.data().join("ballast")).expect("made");
    ballast.set_len(64 << 20).expect("made");
    for (name, signal, code) in
        [("int", Signal::INT, 130), ("term", Signal::TERM, 143), ("hup", Signal::HUP, 129)]
    {
        assert_eq!(interrupted(&rig, name, signal), Some(code), "{name}");
        assert!(!has_snapshot(&rig), "{name}: a snapshot is left");
        assert!(!rig.path(&format!("{name}.partial")).exists(), "{name}");
    }
    // What cannot be caught is removed with the daemon, whose stop it outlived before.
    assert_eq!(interrupted(&rig, "kill", Signal::KILL), None);
    assert!(has_snapshot(&rig));
    assert!(rig.daemon.stop().success());
    assert!(!rig.daemon.data().join("backup").exists());
    // Without a daemon as well.
    assert_eq!(interrupted(&rig, "alone", Signal::INT), Some(130));
    assert!(!has_snapshot(&rig));
    rig.daemon.restart();
    let (intact, report) = ctl::verify(&rig.daemon.data().join("audit"));
    assert!(intact, "{report}");
}

/// A call of the first account's root, with nothing but its access key.
fn by_root(daemon: &Daemon, action: &str, parameters: &[(&str, &str)]) -> Answer {
    let form = Request::form("2026-11-26", action, parameters);
    form.signed_for("strongroom", &daemon.credentials(), daemon).send(daemon)
}

#[test]
fn a_backup_that_was_never_made_silences_nothing() {
    let rig = Rig::start();
    create_key(&rig.daemon);
    let report = get(&rig.daemon, "/readyz").json();
    let domain = report["devices"][0]["domain"].as_str().expect("it has one").to_owned();
    assert_eq!(report["losses"][0]["devices"], json!(["soft-0"]), "{report}");
    let prepared = by_root(&rig.daemon, "PrepareBackup", &[]);
    assert_eq!(prepared.status, 200, "{prepared:?}");
    let prepared = &prepared.json()["PrepareBackupResponse"]["PrepareBackupResult"];
    let id = prepared["BackupId"].as_str().expect("an id").to_owned();
    let zero = "00".repeat(32);
    let claimed = [
        ("BackupId", id.as_str()),
        ("Path", "%2Fnowhere"),
        ("Bytes", "1"),
        ("Sha256", zero.as_str()),
        ("Domains", domain.as_str()),
    ];
    let guessed = [&claimed[..], &[("Proof", zero.as_str())]].concat();
    for claim in [&claimed[..], &guessed] {
        let refused = by_root(&rig.daemon, "CompleteBackup", claim);
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    // The store is asked every five seconds.
    thread::sleep(Duration::from_secs(6));
    let report = get(&rig.daemon, "/readyz").json();
    assert_eq!(report["losses"][0]["devices"], json!(["soft-0"]), "{report}");
    assert!(report["lastBackup"].is_null(), "{report}");
    // The proof is where only who makes backups can read.
    let proof = rig.daemon.data().join("backup").join(id).join("proof");
    let mode = fs::metadata(&proof).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn strangers_are_not_told_where_things_are() {
    let rig = Rig::start();
    let region = rig.daemon.data().join("hsm/us-east-1");
    create_key(&rig.daemon);
    let mut daemon = rig.daemon;
    assert!(daemon.stop().success());
    // A flash that nobody uses, and a copy of one, are reported with their paths.
    for name in ["soft-1.flash", "soft-0.flash.old"] {
        fs::copy(region.join("soft-0.flash"), region.join(name)).expect("copied");
    }
    daemon.restart();
    let rig = Rig { daemon, ..rig };
    rig.back_up("told.backup");
    let by = Instant::now() + PATIENCE;
    let report = loop {
        let report = get(&rig.daemon, "/readyz").json();
        if !report["lastBackup"].is_null() {
            break report;
        }
        assert!(Instant::now() < by, "{report:#}");
        thread::sleep(Duration::from_millis(100));
    };
    let members: Vec<_> = report["lastBackup"].as_object().expect("told").keys().collect();
    assert_eq!(members, ["created"], "{report:#}");
    let text = report.to_string();
    assert!(text.contains("soft-1 of us-east-1 is not in use"), "{text}");
    for path in [rig.daemon.data(), rig.dir.path()] {
        assert!(!text.contains(path.to_str().expect("UTF-8")), "{text}");
    }
    assert!(text.contains("DIR/hsm/us-east-1/soft-1.flash"), "{text}");
    // Who can read the data directory is.
    let data = rig.daemon.data().display().to_string();
    let ask = ["status", "--url", rig.daemon.url()];
    let (code, told, said) = rig.ctl(&[&ask[..], &["--data", &data]].concat());
    assert_eq!(code, 0, "{said}");
    let path = fs::canonicalize(rig.path("told.backup")).expect("made").display().to_string();
    assert_eq!(told["lastBackup"]["path"], path);
    assert_eq!(told["lastBackup"]["sha256"].as_str().map(str::len), Some(64));
    let text = ctl::text(&[&ask[..], &["--data", &data]].concat()).1;
    assert!(text.contains(&path), "{text}");
}
