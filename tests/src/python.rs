//! Runs a file of `tests/clients` against a daemon.

use std::process::Command;

use crate::daemon::Daemon;
use crate::environment;

/// Runs pytest on `tests/clients/<file>`.
///
/// # Panics
/// If a test of the file fails or none ran; the daemon's log is shown as well.
pub fn run(file: &str, daemon: &Daemon) {
    run_with(file, daemon, &[]);
}

/// The same, with more variables in its environment.
///
/// # Panics
/// As [`run`].
pub fn run_with(file: &str, daemon: &Daemon, variables: &[(&str, &str)]) {
    let clients = environment::root().join("tests/clients");
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut python = Command::new(environment::python());
    python.args(["-B", "-m", "pytest", file]).current_dir(clients);
    daemon.describe_to(&mut python, home.path());
    python.envs(variables.iter().copied());
    let status = python.status().expect("Python starts");
    assert!(status.success(), "{file}: {status}\n--- kmsd\n{}", daemon.output());
}
