//! `cargo xtask constant-time`: the secret paths under Valgrind, with every secret marked.

use std::path::Path;

use crate::{
    args::Args,
    command,
    failure::{Failure, Result},
    packages, term,
};

/// The arithmetic of the firmware, which has no instructions for AES.
const FLAGS: &str =
    "--cfg aes_backend=\"soft\" --cfg polyval_backend=\"soft\" --cfg sha2_backend=\"soft\"";
/// What Valgrind ends with when it has found something.
const FOUND: &str = "--error-exitcode=99";
const EXCEPTIONS: &str = "--suppressions=tests/constant-time/exceptions.supp";

/// The subcommand.
pub(crate) fn main(args: Args) -> Result<()> {
    args.finish()?;
    if !cfg!(target_arch = "x86_64") {
        term::note("no check of constant time: marks of secrets are for x86-64 only");
        return Ok(());
    }
    if !command::on_path("valgrind") {
        packages::install(&["valgrind"])?;
    }
    let target = command::target_dir().join("constant-time");
    let build = ["build", "--release", "--package", "hsm-constant-time", "--target-dir"];
    let mut cargo = command::cargo(build);
    cargo.arg(&target).env("RUSTFLAGS", FLAGS);
    // Reports name lines.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    command::run(cargo.env("CARGO_PROFILE_RELEASE_STRIP", "none"))?;
    let program = target.join("release/hsm-constant-time");

    // A check that finds nothing proves nothing unless it would find something.
    if command::output(valgrind(&program).arg("--leak")).is_ok() {
        return Err(Failure::new(
            "a planted branch on a secret was not detected: the check does not work",
        ));
    }
    command::run(&mut valgrind(&program)).map_err(|failure| {
        failure.help("a branch or an address depends on a secret where the report says")
    })
}

fn valgrind(program: &Path) -> std::process::Command {
    let mut valgrind = command::program("valgrind", ["--quiet", FOUND, EXCEPTIONS]);
    valgrind.arg(program);
    valgrind
}
