//! Runs the suites of `tests/clients/javascript` against a daemon, and installs packages of npm.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::Daemon;
use crate::environment;

/// Oldest Node.js that the SDK runs on.
const NODE: u32 = 20;

/// Runs every suite.
///
/// # Panics
/// If a test of a suite fails, and where Node.js or npm is missing: a test that needs them never
/// passes without. The daemon's log is shown as well.
pub fn run(daemon: &Daemon) {
    let installed = install("clients/javascript");
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter", "spec"]).current_dir(installed);
    daemon.describe_to(&mut node, home.path());
    // It asks for a Node.js that is newer than Debian's.
    node.env("AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED", "true");
    let status = node.status().expect("node starts");
    assert!(status.success(), "node --test: {status}\n--- kmsd\n{}", daemon.output());
}

/// Where the packages of the SDK's suites are, for programs that are elsewhere.
///
/// # Panics
/// As [`install`].
#[must_use]
pub fn modules() -> PathBuf {
    require();
    packages("clients/javascript").join("node_modules")
}

/// Installs the packages of a directory of `tests` and copies the scripts there beside them, where
/// they find them; returns where.
///
/// The packages stay under target/ until their list changes.
///
/// # Panics
/// If they cannot be installed.
#[must_use]
pub fn install(directory: &str) -> PathBuf {
    require();
    let source = environment::root().join("tests").join(directory);
    let installed = packages(directory);
    for old in suites(&installed) {
        fs::remove_file(old).expect("an old suite goes");
    }
    let copy = |file: &Path| {
        let name = file.file_name().expect("a name");
        fs::copy(file, installed.join(name)).expect("copied");
    };
    suites(&source).iter().for_each(|suite| copy(suite));
    installed
}

/// Installs the packages of a directory of `tests` alone; returns where.
fn packages(directory: &str) -> PathBuf {
    let source = environment::root().join("tests").join(directory);
    let installed = environment::target().join(source.file_name().expect("a name"));
    fs::create_dir_all(&installed).expect("a directory");
    // Another test program may be at it.
    let lock = fs::File::create(installed.join("lock")).expect("a file");
    lock.lock().expect("it can be locked");
    for list in [".npmrc", "package.json", "package-lock.json"] {
        fs::copy(source.join(list), installed.join(list)).expect("copied");
    }

    let wanted = fs::read(source.join("package-lock.json")).expect("the list of packages");
    // Written last, and removed first by npm, so that an interrupted installation is done again.
    let stamp = installed.join("node_modules/installed.json");
    if !fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&installed);
        let status = npm.status().expect("npm starts");
        assert!(status.success(), "npm ci: {status}; it needs the network once, or its cache");
        fs::write(&stamp, wanted).expect("written");
    }
    installed
}

/// Suites in a directory.
fn suites(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension() == Some(OsStr::new("js")))
        .collect()
}

fn require() {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    if let Err(reason) = check(version("node").as_deref(), version("npm").as_deref()) {
        panic!("{reason}");
    }
}

/// Says what to install if something is missing.
fn check(node: Option<&str>, npm: Option<&str>) -> Result<(), String> {
    let major = |version: &str| version.strip_prefix('v')?.split('.').next()?.parse::<u32>().ok();
    let found = match node {
        None => "there is no node on PATH".to_owned(),
        Some(version) if major(version).is_none_or(|major| major < NODE) => {
            format!("node on PATH is {}", version.trim())
        }
        Some(_) if npm.is_none() => "there is no npm on PATH".to_owned(),
        Some(_) => return Ok(()),
    };
    Err(format!(
        "{found}: the JavaScript programs of the tests need Node.js {NODE} or newer and npm; install both, on \
         Debian with: apt-get install nodejs npm"
    ))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(check(Some("v20.20.2\n"), Some("11.0.0\n")), Ok(()));
        assert_eq!(check(Some("v100.0.0"), Some("11.0.0")), Ok(()));
        for (node, npm, reason) in [
            (None, Some("11.0.0"), "there is no node on PATH: "),
            (Some("v18.20.4\n"), Some("11.0.0"), "node on PATH is v18.20.4: "),
            (Some("nonsense"), Some("11.0.0"), "node on PATH is nonsense: "),
            (Some("v20.0.0"), None, "there is no npm on PATH: "),
        ] {
            let said = check(node, npm).expect_err("refused");
            assert!(said.starts_with(reason), "{said}");
            assert!(said.ends_with("apt-get install nodejs npm"), "{said}");
        }
    }
}
