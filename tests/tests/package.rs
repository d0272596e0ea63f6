//! What people install: the Debian package, from its installation to its end, and the container.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use hsm_tests::environment;

/// On a copy of this machine that is thrown away; see `tests/package/lifecycle.sh`.
#[test]
fn a_package_is_installed_started_upgraded_and_removed() {
    if let Some(missing) = missing(&["dpkg", "unshare", "setpriv", "adduser"]) {
        return skip(&format!("there is no {missing}: the Debian package"));
    }
    if !rustix::process::geteuid().is_root() {
        return skip("only root may install packages, be it on a copy: the Debian package");
    }
    let [old, new] = environment::debian_packages();
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "sh"])
        .arg(environment::root().join("tests/package/lifecycle.sh"))
        .args([old, new])
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    assert!(said.ends_with("--- done\n"), "{said}\n{errors}");
    println!("{said}");
}

/// What can be said of the Containerfile without a program that builds it.
#[test]
fn the_container_runs_what_it_has_as_somebody_else_than_root() {
    let text = fs::read_to_string(environment::root().join("packaging/Containerfile")).expect("it");
    let text = text.replace("\\\n", " ");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let of = |word: &str| {
        let lines = lines.iter().filter_map(|line| line.split_once(' '));
        lines.filter(|(name, _)| *name == word).map(|(_, rest)| rest.trim()).collect::<Vec<_>>()
    };
    for image in of("FROM") {
        let name = image.split(' ').next().expect("a name");
        let tag = name.rsplit(':').next().expect("a tag");
        assert!(name.starts_with("docker.io/") && name.contains(':') && tag != "latest", "{image}");
    }
    assert_eq!(of("USER"), ["strongroom"]);
    let last = lines.iter().rposition(|line| line.starts_with("FROM")).expect("a stage");
    let runs = lines[last..].iter().position(|line| line.starts_with("USER")).expect("it is there");
    let entry = lines[last..].iter().position(|line| line.starts_with("ENTRYPOINT")).expect("too");
    assert!(runs < entry);
    let copied = of("COPY").join(" ");
    assert!(copied.contains("/release/kmsd ") && copied.ends_with(" /usr/bin/"), "{copied}");
    assert_eq!(of("ENTRYPOINT"), ["[\"/usr/bin/kmsd\"]"]);
    // The compiler is the oldest that the workspace takes, or newer.
    let manifest = fs::read_to_string(environment::root().join("Cargo.toml")).expect("it");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let wanted = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version");
    assert!(text.contains(&format!("/rust:{wanted}-")), "rust {wanted} is wanted");
    // Variables are those that the daemon knows.
    let help = Command::new(environment::kmsd()).arg("--help").output().expect("kmsd runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    for setting in of("ENV").iter().flat_map(|line| line.split(' ')) {
        let (name, _) = setting.split_once('=').expect("a value");
        assert!(help.contains(&format!("[env: {name}=")), "{name}");
    }
    // What is not to be sent to the builder is the same for each of them.
    let ignored = [".containerignore", ".dockerignore"]
        .map(|name| fs::read_to_string(environment::root().join(name)).expect("it is there"));
    assert_eq!(ignored[0], ignored[1]);
}

#[test]
fn a_container_is_built_and_says_its_version() {
    let able = |program: &&str| {
        let info = Command::new(program).arg("info").output();
        info.is_ok_and(|output| output.status.success())
    };
    let Some(program) = ["podman", "buildah", "docker"].into_iter().find(able) else {
        return skip("neither podman nor buildah nor docker works here: the container");
    };
    let build = if program == "buildah" { "bud" } else { "build" };
    let run = |command: &mut Command| {
        let output = command.current_dir(environment::root()).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let argument = format!("STRONGROOM_COMMIT={commit}");
    run(Command::new(program)
        .args([build, "--build-arg", &argument, "-t", "strongroom-test"])
        .args(["-f", "packaging/Containerfile", "."]));
    if program != "buildah" {
        let said = run(Command::new(program).args(["run", "--rm", "strongroom-test", "--version"]));
        assert!(said.contains("(0123456789ab)"), "{said}");
    }
}

/// The unit, the settings of the package and the manual name only what there is.
#[test]
fn the_settings_of_the_package_are_understood() {
    let text = fs::read_to_string(environment::root().join("packaging/kmsd.toml")).expect("it");
    let help = Command::new(environment::kmsd()).arg("--help").output().expect("kmsd runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let names: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once(" = "))
        .map(|(name, _)| name)
        .collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        assert!(help.contains(&format!("--{name}")), "kmsd has no --{name}");
    }
}

#[test]
fn versions_are_told() {
    for (name, program) in [("kmsd", environment::kmsd()), ("kmsctl", environment::kmsctl())] {
        let output = Command::new(program).arg("--version").output().expect("it runs");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        let version = format!("{name} {} (", env!("CARGO_PKG_VERSION"));
        assert!(said.starts_with(&version) && said.ends_with(")\n"), "{said}");
    }
}

/// The first of the programs that is not on PATH.
fn missing<'p>(programs: &[&'p str]) -> Option<&'p str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    let there = |program: &str| places.iter().any(|place| Path::new(place).join(program).is_file());
    programs.iter().copied().find(|program| !there(program))
}

/// Says what is not tested, whether output is captured or not.
fn skip(what: &str) {
    let line = format!("\nSKIPPED: {what} is not tested\n");
    // Not by a macro: what those print is shown only if the test fails.
    std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}
