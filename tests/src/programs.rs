//! Other people's programs: found or installed, and run against a daemon by a file of
//! `tests/clients/programs`.
//!
//! A program that a package registry has is installed, and the test fails if that does not work. A
//! program that has to be on the machine, and is not, is reported by [`skip`].

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::daemon::Daemon;
use crate::environment;

pub mod terraform;

/// Says that a test is left out, where nobody can miss it: not even a passing test's output is
/// hidden, and `cargo xtask test` repeats it in the end.
pub fn skip(program: &str, reason: &str) {
    // Not by `eprintln!`, which the test harness captures.
    let _ = writeln!(io::stderr(), "\nSKIPPED {program}: {reason}");
}

/// Whether tests that take minutes are to run: with `cargo xtask test --nightly`, and where their
/// suite is asked for by name.
///
/// # Errors
/// Says how to run them.
pub fn nightly() -> Result<(), String> {
    match std::env::var_os("STRONGROOM_NIGHTLY") {
        Some(_) => Ok(()),
        None => Err("takes minutes; runs with --nightly, or --suite NAME".to_owned()),
    }
}

/// The first of these programs that is on PATH.
#[must_use]
pub fn on_path(names: &[&str]) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths: Vec<_> = std::env::split_paths(&paths).collect();
    let files = names.iter().flat_map(|name| paths.iter().map(move |path| path.join(name)));
    files.into_iter().find(|file| file.is_file())
}

/// Runs pytest on `tests/clients/programs/<file>`, with further environment variables.
///
/// # Panics
/// If a test of the file fails or none ran; the daemon's log is shown as well.
pub fn run(file: &str, daemon: &Daemon, variables: &[(&str, &Path)]) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut python = Command::new(environment::python());
    python
        .args(["-B", "-m", "pytest", &format!("programs/{file}")])
        .current_dir(environment::root().join("tests/clients"))
        .envs(variables.iter().copied());
    daemon.describe_to(&mut python, home.path());
    if daemon.url().starts_with("http://") {
        // Of a daemon without TLS the file is not there, and SDKs for Go refuse to start then.
        python.env_remove("AWS_CA_BUNDLE");
    }
    let status = python.status().expect("Python starts");
    assert!(status.success(), "{file}: {status}\n--- kmsd\n{}", daemon.output());
}

/// Installs the Python packages of `tests/clients/programs/<name>.txt`, unless they are there, and
/// returns where: for `PYTHONPATH`, with programs in `bin`.
///
/// They stay under target/ until their list changes.
///
/// # Panics
/// If they cannot be installed.
#[must_use]
pub fn packages(name: &str) -> PathBuf {
    // Tests that want the same program wait for the one that installs it.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let list = environment::root().join(format!("tests/clients/programs/{name}.txt"));
    let wanted = fs::read(&list).expect("the list of packages");
    let directory = environment::target().join("programs").join(name);
    // Written last, so that an interrupted installation is done again.
    let stamp = directory.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return directory;
    }
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("what was installed goes");
    }
    let mut pip = Command::new(environment::python());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .arg("--target")
        .arg(&directory)
        .arg("--requirement")
        .arg(&list);
    let status = pip.status().expect("Python starts");
    assert!(status.success(), "pip install {name}: {status}; it needs the network once");
    fs::write(stamp, wanted).expect("written");
    directory
}

/// Ansible's collection for AWS, without the hundred others that are in its package: for
/// `ANSIBLE_COLLECTIONS_PATH`.
///
/// # Panics
/// If it cannot be downloaded.
#[must_use]
pub fn ansible_collections(version: &str) -> PathBuf {
    let directory = environment::target().join("programs").join(format!("collections-{version}"));
    let stamp = directory.join("complete");
    if stamp.exists() {
        return directory;
    }
    let wheel = tempfile::tempdir().expect("a temporary directory");
    let mut pip = Command::new(environment::python());
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .arg("--dest")
        .arg(wheel.path())
        .arg(format!("ansible=={version}"));
    let status = pip.status().expect("Python starts");
    assert!(status.success(), "pip download ansible: {status}; it needs the network once");
    let mut unpack = Command::new(environment::python());
    unpack.args(["-c", UNPACK]).arg(wheel.path()).arg(&directory);
    assert!(unpack.status().expect("Python starts").success(), "the collection is unpacked");
    fs::write(stamp, "").expect("written");
    directory
}

const UNPACK: &str = "
import glob, sys, zipfile
[wheel] = glob.glob(sys.argv[1] + '/*.whl')
with zipfile.ZipFile(wheel) as file:
    ours = [name for name in file.namelist() if name.startswith('ansible_collections/amazon/aws/')]
    assert ours
    file.extractall(sys.argv[2], ours)
";

#[cfg(test)]
mod tests {
    use super::*;

    /// Every test that is left out says so by [`skip`]: what goes through the harness is not seen.
    #[test]
    fn no_test_is_left_out_in_silence() {
        let mut found = Vec::new();
        for directory in ["tests/tests", "tests/src"] {
            let entries = fs::read_dir(environment::root().join(directory)).expect("it is there");
            for entry in entries {
                let path = entry.expect("an entry").path();
                let Ok(text) = fs::read_to_string(&path) else { continue };
                let lines = text.split(';').filter(|part| part.contains("print"));
                let said = lines.filter(|part| part.contains(concat!("\"SKIP", "PED")));
                found.extend(said.map(|part| format!("{}: {}", path.display(), part.trim())));
            }
        }
        assert_eq!(found, [""; 0]);
    }
}
