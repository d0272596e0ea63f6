//! Builds `kmsd` of another commit, to run beside the one of this tree: during an upgrade both serve one store.

use std::{fs, path::PathBuf};

use crate::{
    command,
    failure::{Doing, Result},
    term,
};

/// The file that names the last release: a commit.
const LAST: &str = "tests/fixtures/last-release";

/// The commit of the last release.
pub(crate) fn last_release() -> Result<String> {
    let text = fs::read_to_string(command::root().join(LAST)).doing(format_args!("read {LAST}"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    Ok(lines.collect::<String>())
}

/// Builds `kmsd` of a commit, unless that was done before.
///
/// Its dependencies are built once for all commits, in a target directory of their own: in that of this tree the
/// programs would take turns under one name.
pub(crate) fn kmsd(revision: &str) -> Result<PathBuf> {
    let verify = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
    let commit = format!("{revision}^{{commit}}");
    let found = command::output(command::program("git", verify).arg(commit));
    let found = found.map_err(|failure| {
        failure.help(format!(
            "there is no commit {revision} here; in a shallow clone, get it: git fetch --unshallow"
        ))
    })?;
    let hash = found.trim().to_owned();
    let directory = command::target_dir().join("beside");
    let program = directory.join(format!("kmsd-{hash}"));
    if program.is_file() {
        return Ok(program);
    }
    let (tree, built) = (directory.join("tree"), directory.join("target"));
    if tree.exists() {
        fs::remove_dir_all(&tree).doing("remove the sources of another commit")?;
    }
    fs::create_dir_all(&tree).doing("make a directory for the sources of another commit")?;
    let sources = directory.join("sources.tar");
    let mut archive = command::program("git", ["archive", "--format=tar", "--output"]);
    command::output(archive.arg(&sources).arg(&hash))?;
    command::output(command::program("tar", ["-xf"]).arg(&sources).arg("-C").arg(&tree))?;
    let mut cargo =
        command::cargo(["build", "--locked", "--package", "kms-daemon", "--bin", "kmsd"]);
    cargo.current_dir(&tree).arg("--target-dir").arg(&built);
    term::step(&format!("kmsd of {}", &hash[..12]), || command::run(&mut cargo))?;
    fs::rename(built.join("debug/kmsd"), &program).doing("keep the other kmsd")?;
    Ok(program)
}
