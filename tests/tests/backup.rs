//! Backups of a daemon that works, and what is left when a backup or a restore is cut off.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hsm_tests::daemon::Daemon;
use hsm_tests::http::call;
use hsm_tests::{ctl, environment, seed};
use serde_json::{Value, json};

/// Times that something is cut off.
const CUTS: usize = 12;

/// A daemon with a directory for its backups.
struct Rig {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl Rig {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("passphrase"), "a passphrase for tests\n").expect("written");
        Self { daemon: Daemon::start(&["soft"]), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(environment::kmsctl());
        command
            .args(["--json"])
            .args(arguments)
            .env("STRONGROOM_PASSPHRASE_FILE", self.path("passphrase"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Exit code, document, and what is said on standard error.
    fn ctl(&self, arguments: &[&str]) -> (i32, Value, String) {
        let output = self.command(arguments).output().expect("kmsctl runs");
        let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("an exit code"), document, said)
    }

    fn backup_command(&self, name: &str) -> Vec<String> {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let url = self.daemon.url().to_owned();
        let data = text(self.daemon.data());
        let file = text(&self.path(name));
        ["backup", &file, "--with-devices", "--data", &data, "--url", &url]
            .map(str::to_owned)
            .into()
    }

    fn back_up(&self, name: &str) -> Value {
        let arguments = self.backup_command(name);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (code, document, said) = self.ctl(&arguments);
        assert_eq!(code, 0, "{said}");
        document
    }

    fn restore(&self, name: &str, to: &Path) -> (i32, Value, String) {
        let (file, to) = (self.path(name), to.to_str().expect("UTF-8").to_owned());
        self.ctl(&["restore", file.to_str().expect("UTF-8"), "--data", &to])
    }

    fn verifies(&self, path: &Path) -> bool {
        self.ctl(&["backup", "verify", path.to_str().expect("UTF-8")]).0 == 0
    }
}

fn create_key(daemon: &Daemon) -> String {
    let made = call(daemon, "CreateKey", &json!({})).json();
    made["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned()
}

/// A daemon, not started, on a directory that was restored.
fn placed(data: &Path) -> Daemon {
    let daemon = Daemon::stopped(&["soft"]);
    let own = daemon.data().to_owned();
    fs::remove_dir(&own).expect("it is empty");
    fs::rename(data, &own).expect("put in its place");
    daemon
}

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
    assert!(missing.is_empty(), "the log tells of {missing:?}, which the store has not");
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
    let began = std::time::Instant::now();
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
    let began = std::time::Instant::now();
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
    refused(&["backup", "verify", &text(rig.path("passphrase"))], "no backup of Strongroom");
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
