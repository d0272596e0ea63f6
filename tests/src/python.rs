//! Runs a file of `tests/clients` against a daemon.

use std::process::Command;

use crate::daemon::{Daemon, REGION};
use crate::environment;

/// Runs pytest on `tests/clients/<file>`.
///
/// # Panics
/// If a test of the file fails or none ran; the daemon's log is shown as well.
pub fn run(file: &str, daemon: &Daemon) {
    let clients = environment::root().join("tests/clients");
    let home = tempfile::tempdir().expect("a temporary directory");
    let status = Command::new(environment::python())
        .args(["-B", "-m", "pytest", file])
        .current_dir(clients)
        .env("HOME", home.path())
        .env("AWS_ENDPOINT_URL_KMS", daemon.url())
        .env("AWS_SHARED_CREDENTIALS_FILE", daemon.credentials_file())
        .env("AWS_CONFIG_FILE", home.path().join("config"))
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_PAGER", "")
        .env("AWS_CA_BUNDLE", daemon.data().join("tls/certificate.pem"))
        // A retry would hide a request that failed.
        .env("AWS_MAX_ATTEMPTS", "1")
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env_remove("AWS_SESSION_TOKEN")
        .status()
        .expect("Python starts");
    assert!(status.success(), "{file}: {status}\n--- kmsd\n{}", daemon.output());
}
