//! Support for tests of lost and replaced data: keys to lose, copies to put back, and the messages
//! that follow.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ctl;
use crate::daemon::Daemon;
use crate::http::{Answer, call, get};
use crate::patience::{PATIENCE, until};

/// Makes a key and returns its ARN.
///
/// # Panics
/// If that is refused.
pub fn create(daemon: &Daemon) -> String {
    let made = call(daemon, "CreateKey", &json!({}));
    assert_eq!(made.status, 200, "{made:?}");
    made.json()["KeyMetadata"]["Arn"].as_str().expect("an ARN").to_owned()
}

/// Encrypts "secret" and returns the ciphertext, in Base64.
///
/// # Panics
/// If that is refused.
#[must_use]
pub fn encrypt(daemon: &Daemon, key: &str) -> String {
    let sealed = call(daemon, "Encrypt", &json!({ "KeyId": key, "Plaintext": "c2VjcmV0" }));
    assert_eq!(sealed.status, 200, "{sealed:?}");
    sealed.json()["CiphertextBlob"].as_str().expect("a blob").to_owned()
}

/// Asks for what a ciphertext holds.
#[must_use]
pub fn decrypt(daemon: &Daemon, blob: &str) -> Answer {
    call(daemon, "Decrypt", &json!({ "CiphertextBlob": blob }))
}

/// A ciphertext of [`encrypt`] opens.
///
/// # Panics
/// If not.
pub fn assert_opens(daemon: &Daemon, blob: &str) {
    let opened = decrypt(daemon, blob);
    assert_eq!((opened.status, &opened.json()["Plaintext"]), (200, &json!("c2VjcmV0")));
}

/// How many keys there are, of up to 1,000.
///
/// # Panics
/// If they are not listed.
#[must_use]
pub fn keys(daemon: &Daemon) -> usize {
    let listed = call(daemon, "ListKeys", &json!({ "Limit": 1000 }));
    listed.json()["Keys"].as_array().expect("a list").len()
}

/// What `/readyz` says: whether it is ready, and the problems.
///
/// # Panics
/// If it says something else than its status code.
#[must_use]
pub fn readiness(daemon: &Daemon) -> (bool, String, Value) {
    let answer = get(daemon, "/readyz");
    let report = answer.json();
    let problems = report["problems"].as_array().cloned().unwrap_or_default();
    let texts: Vec<&str> = problems.iter().filter_map(Value::as_str).collect();
    assert_eq!(answer.status == 200, report["ready"] == true, "{report}");
    (answer.status == 200, texts.join("\n"), report)
}

/// Waits until `/readyz` names such a problem, or none at all.
///
/// # Panics
/// If that does not come.
pub fn await_problem(daemon: &Daemon, wanted: Option<&str>) {
    let by = Instant::now() + PATIENCE;
    loop {
        let (_, problems, report) = readiness(daemon);
        let is_there = wanted.map_or(problems.is_empty(), |wanted| problems.contains(wanted));
        if is_there {
            return;
        }
        assert!(Instant::now() < by, "{wanted:?} is not in {report:#}\n{}", daemon.output());
        thread::sleep(Duration::from_millis(50));
    }
}

/// The daemon serves health and reports, and refuses everything else so that clients try again.
///
/// # Panics
/// If not.
pub fn assert_without_devices(daemon: &Daemon, blob: &str) {
    assert_eq!(get(daemon, "/healthz").status, 200);
    assert!(!readiness(daemon).0, "ready without a device");
    let made = call(daemon, "CreateKey", &json!({}));
    assert_eq!((made.status, made.code().as_str()), (500, "DependencyTimeoutException"));
    let opened = decrypt(daemon, blob);
    assert_eq!((opened.status, opened.code().as_str()), (500, "KeyUnavailableException"));
    // What needs no device is served.
    assert_eq!(call(daemon, "ListKeys", &json!({})).status, 200);
    let (code, status) = ctl::text(&["status", "--url", daemon.url()]);
    assert!(code == 1 && status.contains("NOT READY"), "{status}");
}

/// Copies a file or a directory to where nothing is.
fn copy(from: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    let copied = cp.args(["-a", "-T"]).arg(from).arg(to).status().expect("cp runs").success();
    assert!(copied, "{} is not copied to {}", from.display(), to.display());
}

/// Puts a copy of a file or a directory in the place of another one. It is copied elsewhere before: a
/// daemon that runs there finds all of it, or nothing.
fn put(from: &Path, to: &Path) {
    let stage = tempfile::tempdir().expect("a directory");
    let copied = stage.path().join("copy");
    copy(from, &copied);
    until(format_args!("{} is in its place", to.display()), || {
        if to.is_dir() {
            // A daemon may write something there meanwhile: then once more.
            let _ = fs::remove_dir_all(to);
        }
        fs::rename(&copied, to).is_ok()
    });
}

/// A copy of a stopped daemon's data, which can be put back in whole or in part.
#[derive(Debug)]
pub struct Backup {
    copy: tempfile::TempDir,
}

impl Backup {
    /// Of all that is there now.
    ///
    /// # Panics
    /// If it cannot be copied.
    #[must_use]
    pub fn of(daemon: &Daemon) -> Self {
        let copy_dir = tempfile::tempdir().expect("a directory");
        copy(daemon.data(), &copy_dir.path().join("data"));
        Self { copy: copy_dir }
    }

    /// Puts back these files and directories.
    ///
    /// # Panics
    /// If that fails.
    pub fn restore(&self, daemon: &Daemon, names: &[&str]) {
        for name in names {
            put(&self.path().join(name), &daemon.data().join(name));
        }
    }

    /// Puts everything back, and takes away what was not there. The daemon must not run.
    ///
    /// # Panics
    /// If that fails.
    pub fn restore_all(&self, daemon: &Daemon) {
        for entry in fs::read_dir(daemon.data()).expect("a directory") {
            let path = entry.expect("an entry").path();
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("removed");
        }
        for entry in fs::read_dir(self.path()).expect("a directory") {
            let entry = entry.expect("an entry");
            copy(&entry.path(), &daemon.data().join(entry.file_name()));
        }
    }

    fn path(&self) -> PathBuf {
        self.copy.path().join("data")
    }
}

/// The code of the command that a refusal names.
///
/// # Panics
/// If it names none.
#[must_use]
pub fn code_in(said: &str) -> String {
    let at = said.find("kmsctl accept ").unwrap_or_else(|| panic!("no way on in: {said}"));
    said[at + 14..].chars().take_while(char::is_ascii_hexdigit).collect()
}

/// Accepts what was refused under this code.
///
/// # Panics
/// If that is not possible.
pub fn accept(daemon: &Daemon, code: &str) -> Value {
    let data = daemon.data().to_str().expect("UTF-8");
    let (exit, accepted) = ctl::run(&["accept", code, "--data", data]);
    assert_eq!(exit, 0, "{accepted}");
    accepted
}

/// Audit events of this name.
///
/// # Panics
/// If the log cannot be read.
#[must_use]
pub fn events(daemon: &Daemon, name: &str) -> Vec<Value> {
    let mut files: Vec<PathBuf> = fs::read_dir(daemon.data().join("audit"))
        .expect("a log")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    files.sort();
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("text")).collect();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.map(|line| line["record"].clone()).filter(|record| record["eventName"] == name).collect()
}

/// The audit log is whole.
///
/// # Panics
/// If not.
pub fn assert_intact(daemon: &Daemon) {
    let (intact, report) = ctl::verify(&daemon.data().join("audit"));
    assert!(intact, "{report}");
}
