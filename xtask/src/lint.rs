//! `cargo xtask fmt` and `cargo xtask clippy`.

use crate::{
    args::Args,
    command,
    failure::{Failure, Result},
    firmware::{self, Board, Choice},
    term,
    toolchain::{self, Toolchain},
};

/// Checks the formatting; `--fix` formats.
pub(crate) fn fmt(mut args: Args) -> Result<()> {
    let fix = args.flag("--fix");
    args.finish()?;
    component("fmt", "rustfmt")?;
    let mut cargo = command::cargo(["fmt", "--all"]);
    if !fix {
        cargo.arg("--check");
    }
    command::run(&mut cargo).map_err(|failure| failure.help("format with: cargo xtask fmt --fix"))
}

/// Lints the host's crates, then the firmware for its target where the toolchain has clippy, and compiles the
/// core for the smallest processors.
pub(crate) fn clippy(mut args: Args) -> Result<()> {
    let choice = Choice::parse(&mut args)?;
    args.finish()?;
    component("clippy", "clippy")?;
    command::run(command::cargo(["clippy", "--workspace", "--all-targets"]).args(DENY_WARNINGS))?;

    for board in choice.boards {
        board_clippy(board, choice.toolchain)?;
    }
    WITHOUT_SWAP.iter().try_for_each(|target| core_check(target, choice.toolchain))
}

/// Targets whose processors have no atomic compare-and-swap: a Cortex-M0+, and RISC-V without the extension A.
const WITHOUT_SWAP: [&str; 2] = ["thumbv6m-none-eabi", "riscv32imc-unknown-none-elf"];

/// Compiles the core without RSA, which alone needs compare-and-swap, for a target that does not have it.
fn core_check(target: &str, toolchain: Option<Toolchain>) -> Result<()> {
    let toolchain = toolchain::prepare(target, toolchain)?;
    term::note(format!("hsm-core for {target}"));
    let mut cargo = toolchain.cargo("check", target);
    command::run(cargo.args(["--package", "hsm-core", "--no-default-features"]))
}

fn board_clippy(board: &Board, toolchain: Option<Toolchain>) -> Result<()> {
    let toolchain = toolchain::prepare(&board.target, toolchain)?;
    if !toolchain.has_clippy() {
        term::note(format!(
            "the {} toolchain has no clippy: `cargo xtask firmware --deny-warnings` stands in",
            toolchain.name()
        ));
        return Ok(());
    }
    term::note(format!("{} for {}", board.name, board.target));
    let mut cargo = firmware::cargo(toolchain, "clippy", board, board.algorithms);
    command::run(cargo.args(["--lib", "--bin", &board.name]).args(DENY_WARNINGS))
}

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

/// Makes sure that `cargo subcommand` is there: rustup's minimal profile lacks rustfmt and clippy.
pub(crate) fn component(subcommand: &str, name: &str) -> Result<()> {
    let there = || command::output(&mut command::cargo([subcommand, "--version"])).is_ok();
    if there() {
        return Ok(());
    }
    term::note(format!("rustup component add {name}"));
    let added = command::output(&mut command::program("rustup", ["component", "add", name]));
    if added.is_ok() && there() {
        return Ok(());
    }
    Err(Failure::new(format!("cargo has no `{subcommand}`"))
        .help(format!("install it with: rustup component add {name}")))
}
