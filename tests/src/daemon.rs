//! A `kmsd` of the tests: started, stopped, killed and started again on one data directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::environment;
use crate::process::Process;

/// Region that the daemons of the tests serve.
pub const REGION: &str = "us-east-1";
/// Their account.
pub const ACCOUNT: &str = "000000000000";

/// How long a start may take: emulators boot, run their self-tests and are provisioned.
const START: Duration = Duration::from_secs(60);
/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(20);

/// A daemon and its data directory, which outlives the daemon's process.
#[derive(Debug)]
pub struct Daemon {
    data: TempDir,
    arguments: Vec<String>,
    process: Option<Process>,
    address: String,
}

/// The account root's access key.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
}

impl Daemon {
    /// Starts a daemon on fresh data with these `--hsm` values.
    #[must_use]
    pub fn start(hsms: &[&str]) -> Self {
        Self::start_with(hsms, &[])
    }

    /// The same, with further arguments.
    #[must_use]
    pub fn start_with(hsms: &[&str], more: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut arguments = Vec::new();
        for hsm in hsms {
            arguments.extend(["--hsm".to_owned(), (*hsm).to_owned()]);
        }
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let mut daemon = Self { data, arguments, process: None, address: String::new() };
        daemon.restart();
        daemon
    }

    /// Starts the daemon again after [`Daemon::kill`] or [`Daemon::stop`], on a port of its own.
    ///
    /// # Panics
    /// If it runs, or does not get ready.
    pub fn restart(&mut self) {
        let mut process = self.spawn();
        let url = process.expect_line("listening on ", START);
        self.address = url.strip_prefix("http://").expect("plain HTTP on loopback").to_owned();
        self.process = Some(process);
    }

    /// Starts the daemon where it must refuse to; returns what it said.
    ///
    /// # Panics
    /// If it runs, or starts after all.
    #[must_use]
    pub fn restart_refused(&mut self) -> String {
        let mut process = self.spawn();
        let status = process.wait(START);
        assert!(!status.success(), "the daemon ended without an error");
        process.output()
    }

    fn spawn(&self) -> Process {
        assert!(self.process.is_none(), "the daemon runs");
        let mut command = Command::new(environment::kmsd());
        command
            .args(["--listen", "127.0.0.1:0", "--region", REGION, "--account", ACCOUNT])
            .arg("--data")
            .arg(self.data())
            .args(&self.arguments)
            .current_dir(environment::root());
        Process::start(&mut command)
    }

    /// Ends the daemon as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks the daemon to stop and waits until it has.
    ///
    /// # Panics
    /// If it does not run, or takes too long.
    pub fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the daemon runs");
        process.signal(Signal::TERM);
        process.wait(STOP)
    }

    /// The process id.
    ///
    /// # Panics
    /// If the daemon does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the daemon runs").id()
    }

    /// What the daemon wrote since its last start.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The endpoint's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The shared-credentials file that the first start made.
    #[must_use]
    pub fn credentials_file(&self) -> PathBuf {
        self.data().join("credentials")
    }

    /// What is in it.
    ///
    /// # Panics
    /// If the file is missing or incomplete.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        let text = fs::read_to_string(self.credentials_file()).expect("the daemon made it");
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_else(|| panic!("no {name} in the credentials file"))
        };
        Credentials { id: value("aws_access_key_id"), secret: value("aws_secret_access_key") }
    }
}
