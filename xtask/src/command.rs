//! Runs other programs.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use crate::failure::{Doing, Failure, Result};

/// Variable that names a copy of the sources to work on, in place of those that this program was built from.
pub(crate) const SOURCES: &str = "STRONGROOM_SOURCES";

/// Root of the workspace.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the root");
        env::var_os(SOURCES).map_or_else(|| own.to_owned(), PathBuf::from)
    });
    &ROOT
}

/// Where everything built goes.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The cargo that runs this program, in the root of the workspace.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args);
    inherit_no_package(&mut command);
    command
}

/// Any program, in the root of the workspace.
pub(crate) fn program<S: AsRef<OsStr>>(
    name: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(root());
    command
}

/// Runs to the end with inherited output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().doing(format_args!("run {}", shown(command)))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` failed ({status})", shown(command))))
}

/// Runs to the end; stdout, or the failure with the end of stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().doing(format_args!("run {}", shown(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let failure = Failure::new(format!("`{}` failed ({})", shown(command), output.status));
    Err(lines[lines.len().saturating_sub(6)..].iter().fold(failure, |f, line| f.help(*line)))
}

/// True if the program is on PATH.
pub(crate) fn on_path(name: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).any(|dir| dir.join(name).is_file())
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = vec![
        Path::new(command.get_program())
            .file_name()
            .unwrap_or(command.get_program())
            .to_string_lossy(),
    ];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy()));
    words.join(" ")
}

/// Cargo describes the package it runs (this one) in the environment; builds of other packages must not see it.
fn inherit_no_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_command_without_its_directory() {
        assert_eq!(shown(Command::new("/usr/bin/cargo").arg("build")), "cargo build");
    }

    #[test]
    fn failures_carry_the_last_lines() {
        let failure = output(&mut program("sh", ["-c", "echo reason >&2; exit 3"])).unwrap_err();
        assert!(failure.to_string().ends_with("\n  reason"));
    }
}
