//! `cargo xtask constant-time`: the secret paths under Valgrind, with every secret marked; or, with `--board`, the
//! instructions that an emulated board takes with many keys.

use std::{path::Path, slice};

use crate::{
    args::Args,
    command, emulator,
    failure::{Failure, Result},
    firmware::{self, Board, Choice},
    packages, term, test,
    toolchain::Toolchain,
};

/// What `cargo xtask help constant-time` says beside the options.
pub(crate) const HELP: &str = "\
Runs the secret paths under Valgrind, with every secret marked as undefined.

  --board NAME  instead, call each command that uses a secret with many keys on
                this emulated board, count instructions, and print how far the
                counts are apart; fails if they depend on the secret
  --toolchain rustup|debian
                what builds the board's image
";

/// The suite that counts instructions on boards.
const SUITE: &str = "side_channels";

/// The arithmetic of the firmware, which has no instructions for AES.
const FLAGS: &str =
    "--cfg aes_backend=\"soft\" --cfg polyval_backend=\"soft\" --cfg sha2_backend=\"soft\"";
/// What Valgrind ends with when it has found something.
const FOUND: &str = "--error-exitcode=99";
const EXCEPTIONS: &str = "--suppressions=tests/constant-time/exceptions.supp";

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let board = args.value("--board")?;
    let toolchain = Toolchain::parse(&mut args)?;
    args.finish()?;
    match board {
        Some(name) => on_board(Board::named(&name)?, toolchain),
        None => under_valgrind(),
    }
}

/// Counts instructions with the board's own image.
fn on_board(board: &'static Board, toolchain: Option<Toolchain>) -> Result<()> {
    emulator::prepare(board)?;
    let algorithms = Some(board.algorithms);
    let choice = Choice { boards: slice::from_ref(board), algorithms, toolchain };
    let images = firmware::build_all(&choice)?;
    let images = images.into_iter().map(|image| (test::variable(image.board), image.elf));
    let mut cargo = command::cargo(["test", "--package", "hsm-tests", "--test", SUITE, "--"]);
    cargo.args(["--nocapture", &format!("{}::", board.name)]);
    command::run(cargo.envs(images).env("STRONGROOM_NIGHTLY", "1"))
}

fn under_valgrind() -> Result<()> {
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
