//! A daemon, and `kmsctl` that backs it up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsm_tests::daemon::Daemon;
use hsm_tests::environment;
use hsm_tests::http::call;
use serde_json::{Value, json};

/// A daemon with a directory for its backups.
pub(crate) struct Rig {
    pub(crate) daemon: Daemon,
    pub(crate) dir: tempfile::TempDir,
}

impl Rig {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("passphrase"), "a passphrase for tests\n").expect("written");
        Self { daemon: Daemon::start(&["soft"]), dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
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
    pub(crate) fn ctl(&self, arguments: &[&str]) -> (i32, Value, String) {
        let output = self.command(arguments).output().expect("kmsctl runs");
        let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("an exit code"), document, said)
    }

    pub(crate) fn backup_command(&self, name: &str) -> Vec<String> {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let url = self.daemon.url().to_owned();
        let data = text(self.daemon.data());
        let file = text(&self.path(name));
        ["backup", &file, "--with-devices", "--data", &data, "--url", &url]
            .map(str::to_owned)
            .into()
    }

    pub(crate) fn back_up(&self, name: &str) -> Value {
        let arguments = self.backup_command(name);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (code, document, said) = self.ctl(&arguments);
        assert_eq!(code, 0, "{said}");
        document
    }

    pub(crate) fn restore(&self, name: &str, to: &Path) -> (i32, Value, String) {
        let (file, to) = (self.path(name), to.to_str().expect("UTF-8").to_owned());
        self.ctl(&["restore", file.to_str().expect("UTF-8"), "--data", &to])
    }

    pub(crate) fn verifies(&self, path: &Path) -> bool {
        self.ctl(&["backup", "verify", path.to_str().expect("UTF-8")]).0 == 0
    }
}

pub(crate) fn create_key(daemon: &Daemon) -> String {
    let made = call(daemon, "CreateKey", &json!({})).json();
    made["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned()
}

/// A daemon, not started, on a directory that was restored.
pub(crate) fn placed(data: &Path) -> Daemon {
    let daemon = Daemon::stopped(&["soft"]);
    let own = daemon.data().to_owned();
    fs::remove_dir(&own).expect("it is empty");
    fs::rename(data, &own).expect("put in its place");
    daemon
}
