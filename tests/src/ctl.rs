//! Runs `kmsctl`.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::environment;

/// The exit code of `kmsctl audit verify` for a log without a fault, if nobody vouches for its devices.
pub const UNVOUCHED: i32 = 4;

/// Runs `kmsctl --json` with these arguments: its exit code, and its document if it printed one.
///
/// # Panics
/// If it cannot be run, or was ended by a signal.
#[must_use]
pub fn run(arguments: &[&str]) -> (i32, Value) {
    let output = execute(arguments, true);
    let code = output.status.code().expect("an exit code");
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        assert_eq!(code, 2, "{output:?}");
        Value::Null
    });
    (code, document)
}

/// Runs `kmsctl` for a person: exit code and text.
///
/// # Panics
/// If it cannot be run, or was ended by a signal.
#[must_use]
pub fn text(arguments: &[&str]) -> (i32, String) {
    let output = execute(arguments, false);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code().expect("an exit code"), text)
}

/// The report of `kmsctl audit verify` without a trust anchor, and whether the chains of the log and of
/// the devices fit together; `tests/tests/audit_proof.rs` is about what that proves.
///
/// # Panics
/// If the log cannot be verified at all.
#[must_use]
pub fn verify(directory: &Path) -> (bool, Value) {
    let directory = directory.to_str().expect("UTF-8");
    let (code, report) = run(&["audit", "verify", directory]);
    assert!([1, UNVOUCHED].contains(&code), "the log could not be read, or was called proven");
    assert_eq!(code == UNVOUCHED, report["fault"].is_null(), "{report}");
    (code == UNVOUCHED, report)
}

fn execute(arguments: &[&str], json: bool) -> Output {
    let mut command = Command::new(environment::kmsctl());
    if json {
        command.arg("--json");
    }
    command.args(arguments).output().expect("kmsctl runs")
}
