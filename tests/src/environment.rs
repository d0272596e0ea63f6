//! Requirements of the tests on their environment, and what to do if one is missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The firmware image of an emulated board.
///
/// # Panics
/// If the board's variable does not name a file: a test that needs QEMU never passes without.
#[must_use]
pub fn firmware_of(board: &str) -> PathBuf {
    // `kmsd` emulates the first one and knows it without a name.
    let variable = match board {
        "qemu_riscv32" => "STRONGROOM_FIRMWARE".to_owned(),
        other => format!("STRONGROOM_FIRMWARE_{}", other.to_uppercase()),
    };
    file(&variable, &format!("the firmware image of {board}"))
}

/// The Python interpreter that has the client libraries of `tests/clients/requirements.txt`.
///
/// # Panics
/// If `STRONGROOM_PYTHON` does not name a file.
#[must_use]
pub fn python() -> PathBuf {
    file("STRONGROOM_PYTHON", "a Python interpreter with the libraries of requirements.txt")
}

/// Debian packages of the programs; the second one is newer.
///
/// # Panics
/// If `STRONGROOM_PACKAGE` and `STRONGROOM_PACKAGE_NEXT` do not name files.
#[must_use]
pub fn debian_packages() -> [PathBuf; 2] {
    let names = ["STRONGROOM_PACKAGE", "STRONGROOM_PACKAGE_NEXT"];
    names.map(|name| file(name, "a Debian package"))
}

/// The root of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace")
}

/// Where everything built goes.
///
/// # Panics
/// If this is not a test program of cargo's.
#[must_use]
pub fn target() -> PathBuf {
    // A test program is target/<profile>/deps/<name>.
    let program = env::current_exe().expect("the test program has a path");
    program.ancestors().nth(3).expect("test programs lie in target").to_path_buf()
}

/// The daemon of the last release, or of another commit that was asked for; `None` without.
///
/// # Panics
/// If `STRONGROOM_KMSD_BESIDE` does not name a file.
#[must_use]
pub fn kmsd_beside() -> Option<PathBuf> {
    let name = "STRONGROOM_KMSD_BESIDE";
    env::var_os(name).map(|_| file(name, "the daemon of another commit"))
}

/// The daemon, built in the profile of the tests.
#[must_use]
pub fn kmsd() -> PathBuf {
    binary("STRONGROOM_KMSD", "kmsd")
}

/// Its control program.
#[must_use]
pub fn kmsctl() -> PathBuf {
    binary("STRONGROOM_KMSCTL", "kmsctl")
}

fn file(variable: &str, what: &str) -> PathBuf {
    let hint = "run the tests with `cargo xtask test`, which prepares it";
    let path = env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set and should name {what}; {hint}"));
    let path = PathBuf::from(path);
    assert!(path.is_file(), "{variable} names {}, which is not a file; {hint}", path.display());
    path
}

fn binary(variable: &str, name: &str) -> PathBuf {
    match env::var_os(variable) {
        Some(_) => file(variable, name),
        None => built().join(name),
    }
}

/// A program of `examples/`, built in the profile of the tests.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    // Cargo builds examples before all tests of a package, and not before some of them.
    let (directory, profile) = profile();
    build(&["--package", "hsm-tests", "--example", name, "--profile", &profile]);
    directory.join("examples").join(name)
}

/// Builds the daemon's programs once for each test program and returns where they are.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let (directory, profile) = profile();
        build(&["--package", "kms-daemon", "--package", "kmsctl", "--bins", "--profile", &profile]);
        directory
    })
}

/// Where programs of the tests' profile are, and its name.
fn profile() -> (PathBuf, String) {
    // A test program is target/<profile>/deps/<name>; cargo names `dev`'s directory `debug`.
    let program = env::current_exe().expect("the test program has a path");
    let directory = program.ancestors().nth(2).expect("test programs lie in target");
    let name = directory.file_name().and_then(|name| name.to_str()).expect("a profile");
    let profile = if name == "debug" { "dev" } else { name };
    (directory.to_path_buf(), profile.to_owned())
}

fn build(arguments: &[&str]) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    let build = cargo.args(["build", "--quiet"]).args(arguments).current_dir(root());
    let status = build.status().expect("cargo runs");
    assert!(status.success(), "{arguments:?} does not build");
}
