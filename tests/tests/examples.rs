//! Each of `examples/`, as it is, against a `kmsd`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsm_tests::daemon::Daemon;
use hsm_tests::{environment, javascript};

/// Runs a program as a person would, who has pasted what `cargo xtask run` prints; the last line that
/// it says.
fn run(
    program: impl AsRef<Path>,
    arguments: &[&str],
    more: &dyn Fn(&Daemon, &mut Command),
) -> String {
    let daemon = Daemon::start(&["soft"]);
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(program.as_ref());
    // The AWS CLI lies beside Python; kmsctl is that of the daemon.
    let tools = [environment::python(), environment::kmsctl()];
    let tools = tools.iter().map(|tool| tool.parent().expect("a directory").to_path_buf());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(tools.chain(std::env::split_paths(&path))).expect("a path");
    daemon.describe_to(&mut command, home.path());
    command.args(arguments).current_dir(home.path()).env("PATH", path).env("TMPDIR", home.path());
    more(&daemon, &mut command);
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}\n{}", output.status, daemon.output());
    said.lines().last().unwrap_or_default().to_owned()
}

fn example(name: &str) -> PathBuf {
    environment::root().join("examples").join(name)
}

fn path(name: &str) -> String {
    example(name).to_str().expect("UTF-8").to_owned()
}

fn nothing(_: &Daemon, _: &mut Command) {}

#[test]
fn encrypt_py() {
    let place = tempfile::tempdir().expect("a directory");
    let secret = place.path().join("secret.txt");
    fs::write(&secret, "a secret").expect("written");
    let secret = secret.to_str().expect("UTF-8");
    let said = run(environment::python(), &["-B", &path("encrypt.py"), secret], &nothing);
    assert!(said.ends_with(&format!("opens to what is in {secret}")), "{said}");
    let sealed = fs::read(format!("{secret}.sealed")).expect("it is there");
    assert!(!sealed.windows(8).any(|bytes| bytes == b"a secret"));
}

#[test]
fn sign_rs() {
    let keys = |daemon: &Daemon, command: &mut Command| {
        let credentials = daemon.credentials();
        command.env("AWS_ACCESS_KEY_ID", credentials.id);
        command.env("AWS_SECRET_ACCESS_KEY", credentials.secret);
    };
    let said = run(environment::example("sign"), &["hello"], &keys);
    assert!(said.ends_with("has signed \"hello\""), "{said}");
}

#[test]
fn tokens_cjs() {
    let modules = javascript::modules();
    let with_modules = |_: &Daemon, command: &mut Command| {
        command.env("NODE_PATH", &modules);
        command.env("AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED", "true");
    };
    let said = run("node", &[&path("tokens.cjs")], &with_modules);
    assert_eq!(said, "the token is ana's; the forged one and the old one are refused");
}

#[test]
fn import_sh() {
    let said = run(example("import.sh"), &[], &nothing);
    assert!(said.ends_with("decrypts again, with the same material"), "{said}");
}

#[test]
fn rotation_sh() {
    let said = run(example("rotation.sh"), &[], &nothing);
    assert!(said.ends_with("old ciphertexts open, and re-encrypt moves them to it"), "{said}");
}

#[test]
fn second_person_sh() {
    let said = run(example("second-person.sh"), &[], &nothing);
    assert_eq!(said, "bo decrypts what is red's, and is refused five other things");
}

/// An example that nobody runs, or that nobody finds, would rot.
#[test]
fn every_example_is_run_and_listed() {
    let here = include_str!("examples.rs");
    let list = fs::read_to_string(example("README.md")).expect("a list");
    let files = fs::read_dir(environment::root().join("examples")).expect("examples");
    let names: BTreeSet<_> = files
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name != "README.md")
        .collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        let test = name.replace(['.', '-'], "_");
        assert!(here.contains(&format!("#[test]\nfn {test}() {{")), "{name} is not run");
        assert!(list.contains(&format!("[`{name}`]({name})")), "{name} is not listed");
    }
}
