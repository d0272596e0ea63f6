//! A `kmsd` of the tests: started, stopped, killed and started again on one data directory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::environment;
use crate::patience::PATIENCE;
use crate::process::Process;

/// Region that the daemons of the tests serve.
pub const REGION: &str = "us-east-1";
/// Their account.
pub const ACCOUNT: &str = "000000000000";

/// Any free port.
const LOOPBACK: &str = "127.0.0.1:0";

/// A temporary directory that nobody else may read: a data directory.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn private_dir() -> TempDir {
    let private = PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().expect("a temporary directory")
}

/// An address to listen on that has to be known before anybody does. A port that the system has chosen,
/// and that was given back to be taken again later, may be somebody else's by then; this is an address of
/// the loopback network that is this process's alone, with a port that the system chooses for nobody.
///
/// # Panics
/// If there are no more of them.
#[must_use]
pub fn reserved_address() -> SocketAddrV4 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);

    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(port < 32_000, "beyond these are ports that the system chooses");
    // Process ids have 22 bits.
    SocketAddrV4::new(Ipv4Addr::new(127, 0x40 | (high & 0x3f), middle, low), port)
}

/// A daemon and its data directory, which outlives the daemon's process.
#[derive(Debug)]
pub struct Daemon {
    data: TempDir,
    listen: &'static str,
    hsms: Vec<String>,
    more: Vec<String>,
    variables: Vec<(String, String)>,
    program: Option<PathBuf>,
    process: Option<Process>,
    url: String,
}

/// The account root's access key.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
}

impl Credentials {
    /// The access key in a profile of the AWS CLI, as `kmsctl iam key create` prints one.
    ///
    /// # Panics
    /// If there is none in it.
    #[must_use]
    pub fn of_profile(profile: &str) -> Self {
        let value = |name: &str| {
            let mut lines = profile.lines().filter_map(|line| line.split_once('='));
            let found = lines.find(|(key, _)| key.trim() == name);
            found.map(|(_, value)| value.trim().to_owned()).expect("a profile")
        };
        Self { id: value("aws_access_key_id"), secret: value("aws_secret_access_key") }
    }
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
        let mut daemon = Self::new(LOOPBACK, hsms, more);
        daemon.restart();
        daemon
    }

    /// A daemon on fresh data that is yet to be started, by [`Daemon::restart`].
    #[must_use]
    pub fn stopped(hsms: &[&str]) -> Self {
        Self::new(LOOPBACK, hsms, &[])
    }

    /// Sets the further arguments of the next start.
    pub fn replace_arguments(&mut self, more: &[String]) {
        self.more = more.to_vec();
    }

    /// Sets the program of the next start; `None` is that of this tree.
    pub fn set_program(&mut self, program: Option<PathBuf>) {
        self.program = program;
    }

    /// Sets a variable in the environment of the next start.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The same as [`Daemon::start`], listening elsewhere than on loopback.
    #[must_use]
    pub fn start_on(listen: &'static str, hsms: &[&str]) -> Self {
        let mut daemon = Self::new(listen, hsms, &[]);
        daemon.restart();
        daemon
    }

    /// Starts a daemon on fresh data where it must refuse to; returns what it said.
    ///
    /// # Panics
    /// If it starts after all.
    #[must_use]
    pub fn refused(arguments: &[&str]) -> String {
        Self::new(LOOPBACK, &[], arguments).restart_refused()
    }

    fn new(listen: &'static str, hsms: &[&str], more: &[&str]) -> Self {
        let data = private_dir();
        let owned = |list: &[&str]| list.iter().map(|&item| item.to_owned()).collect();
        let (hsms, more) = (owned(hsms), owned(more));
        let (variables, url) = (Vec::new(), String::new());
        Self { data, listen, hsms, more, variables, program: None, process: None, url }
    }

    /// Sets the `--hsm` values of the next start.
    pub fn replace_hsms(&mut self, hsms: &[&str]) {
        self.hsms = hsms.iter().map(|&hsm| hsm.to_owned()).collect();
    }

    /// Starts the daemon again after [`Daemon::kill`] or [`Daemon::stop`], on a port of its own.
    ///
    /// # Panics
    /// If it runs, or does not get ready.
    pub fn restart(&mut self) {
        if let Err((status, said)) = self.starts() {
            panic!("the daemon ended with {status}:\n{said}");
        }
    }

    /// Starts the daemon, which may refuse to.
    ///
    /// # Errors
    /// How it ended, and what it said.
    ///
    /// # Panics
    /// If it runs, or neither gets ready nor ends.
    pub fn starts(&mut self) -> Result<(), (ExitStatus, String)> {
        assert!(self.process.is_none(), "the daemon runs");
        let mut process = self.spawn();
        match process.line_or_end("listening on ", PATIENCE) {
            Some(url) => self.url = url.replace("//0.0.0.0:", "//127.0.0.1:"),
            None => return Err((process.wait(PATIENCE), process.output())),
        }
        self.process = Some(process);
        Ok(())
    }

    /// Starts the daemon, or another one on the same data, where it must refuse to; returns what
    /// it said.
    ///
    /// # Panics
    /// If it starts after all.
    #[must_use]
    pub fn restart_refused(&self) -> String {
        let mut process = self.spawn();
        let status = process.wait(PATIENCE);
        assert!(!status.success(), "the daemon ended without an error");
        process.output()
    }

    /// Starts the daemon and ends it after a while as a power cut would, wherever it is by then; returns
    /// what it said.
    ///
    /// # Panics
    /// If it runs.
    #[must_use]
    pub fn kill_while_starting(&self, after: Duration) -> String {
        assert!(self.process.is_none(), "the daemon runs");
        let mut process = self.spawn();
        thread::sleep(after);
        process.signal(Signal::KILL);
        process.wait(PATIENCE);
        process.output()
    }

    fn spawn(&self) -> Process {
        let mut command = Command::new(self.program.clone().unwrap_or_else(environment::kmsd));
        // In the environment, so that arguments of a test come before them.
        command
            .env("STRONGROOM_LISTEN", self.listen)
            .env("STRONGROOM_REGION", REGION)
            .env("STRONGROOM_ACCOUNT", ACCOUNT)
            // Pairs that no test asks for would take a tenth of the time of all tests.
            .env("STRONGROOM_RSA_STOCK", "0,0,0")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .arg("--data")
            .arg(self.data())
            // One device, however many processors there are.
            .args(
                self.hsms
                    .iter()
                    .flat_map(|hsm| ["--hsm", if hsm == "soft" { "soft:1" } else { hsm }]),
            )
            .args(&self.more)
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
        self.stop_and_read().0
    }

    /// As [`Daemon::stop`]; returns what the daemon wrote as well.
    ///
    /// # Panics
    /// If it does not run, or takes too long.
    pub fn stop_and_read(&mut self) -> (ExitStatus, String) {
        self.process.as_ref().expect("the daemon runs").signal(Signal::TERM);
        self.await_end()
    }

    /// Waits for the end of a daemon that was asked to stop; returns what it wrote as well.
    ///
    /// # Panics
    /// If it does not run, or takes too long.
    pub fn await_end(&mut self) -> (ExitStatus, String) {
        let mut process = self.process.take().expect("the daemon runs");
        (process.wait(PATIENCE), process.output())
    }

    /// Whether it was started and not ended by the test since.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
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

    /// Waits until the daemon has said something since its last start. What it says is read by a thread
    /// of its own, for each stream another one: what was said before an answer may be read after it.
    ///
    /// # Panics
    /// If it never says that.
    pub fn await_output(&self, part: &str) {
        let by = Instant::now() + PATIENCE;
        while !self.output().contains(part) {
            assert!(Instant::now() < by, "{part:?} is not in {}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// `host:port`.
    ///
    /// # Panics
    /// If the daemon never ran.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.split_once("://").expect("the daemon has told its URL").1
    }

    /// The endpoint's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Sets the environment variables by which AWS's SDKs find this daemon and its credentials, and
    /// nothing of the person who runs the tests.
    pub fn describe_to(&self, client: &mut Command, home: &Path) {
        client
            .env("HOME", home)
            .env("AWS_ENDPOINT_URL_KMS", self.url())
            .env("AWS_SHARED_CREDENTIALS_FILE", self.credentials_file())
            .env("AWS_CONFIG_FILE", home.join("config"))
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_PAGER", "")
            .env("AWS_CA_BUNDLE", self.data().join("tls/certificate.pem"))
            // A retry would hide a request that failed.
            .env("AWS_MAX_ATTEMPTS", "1")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env_remove("AWS_SESSION_TOKEN");
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
