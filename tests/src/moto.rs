//! An S3-compatible service of somebody else's: moto's server, in a Python environment of its own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::environment;
use crate::patience::until;
use crate::process::Process;
use crate::programs::skip;

/// A running service. It takes any credentials, and keeps everything in memory.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    process: Process,
}

impl Moto {
    /// Starts one; `None`, and a word about it, if the registry of Python packages cannot be reached.
    #[must_use]
    pub fn start() -> Option<Self> {
        // Nobody else takes a port that was free just now.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        Self::start_on(port.expect("a free port").port())
    }

    /// The same, on a port.
    #[must_use]
    pub fn start_on(port: u16) -> Option<Self> {
        let server = server()?;
        let mut command = Command::new(server);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = Process::start(&mut command);
        until("moto listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Self { port, process })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it, with all that it has.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Installed once, as `tests/clients/moto.txt` pins it.
fn server() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let dir = environment::target().join("moto");
        let program = dir.join("bin/moto_server");
        let wanted = environment::root().join("tests/clients/moto.txt");
        if program.exists() {
            return Some(program);
        }
        let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let made = run(Command::new("python3").args(["-m", "venv"]).arg(&dir))
            && run(Command::new(dir.join("bin/pip")).args(["install", "-q", "-r"]).arg(wanted));
        made.then_some(program)
    });
    if program.is_none() {
        skip("trails to moto", "moto cannot be installed from the registry of Python packages");
    }
    program.as_deref()
}
