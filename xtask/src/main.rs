//! Build, run, test and check Strongroom: `cargo xtask`.

mod args;
mod audit;
mod bench;
mod browser;
mod budget;
mod cargo;
mod ci;
mod circles;
mod codegen;
mod command;
mod constant_time;
mod daemon;
mod elf;
mod emulator;
mod failure;
mod firmware;
mod fuzz;
mod integrity;
mod lanes;
mod lengths;
mod lint;
mod package;
mod packages;
mod panics;
mod python;
mod run;
mod second_stage;
mod signing;
mod sizes;
mod term;
mod test;
mod tokens;
mod toolchain;
mod words;

use std::{env, process::ExitCode};

use args::{Args, Run};
use failure::{Failure, Result};

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "help".into());
    match dispatch(&name, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            term::failure(failure.to_string());
            ExitCode::FAILURE
        }
    }
}

/// A subcommand: its name, its options for the help, what it does, and the code.
struct Subcommand(&'static str, &'static str, &'static str, Run);

const SUBCOMMANDS: [Subcommand; 17] = [
    Subcommand(
        "run",
        "[--data DIR] [--release] [-- KMSD-FLAGS]",
        "run kmsd on an emulated HSM",
        run::main,
    ),
    Subcommand(
        "test",
        "[FILTER] [--suite FILE] [--nightly] [-- TEST-FLAGS]",
        "run every test",
        test::main,
    ),
    Subcommand("bench", "[-- BENCH-FLAGS]", "measure speed and what commands cost", bench::main),
    Subcommand("ci", "", "the gate: all of the below, then every test", ci::main),
    Subcommand("fmt", "[--fix]", "check the formatting", lint::fmt),
    Subcommand("codegen", "[--check] [--update FILE]", "API types from the model", codegen::main),
    Subcommand("lengths", "", "find files that are too long", lengths::main),
    Subcommand("circles", "", "find circles of modules", circles::main),
    Subcommand("words", "", "find phrases that docs/style.md rules out", words::main),
    Subcommand("audit", "", "check the dependencies against deny.toml", audit::main),
    Subcommand("clippy", "", "lint host crates and firmware", lint::clippy),
    Subcommand("firmware", "[--deny-warnings] [--json]", "build every image", firmware::main),
    Subcommand("package", "[--version VERSION]", "make the Debian package", package::main),
    Subcommand("constant-time", "", "watch the secret paths with Valgrind", constant_time::main),
    Subcommand(
        "fuzz",
        "[--smoke] [--seconds N] [--target NAME]",
        "fuzz every parser of the device",
        fuzz::main,
    ),
    Subcommand("panics", "[--all] [--json]", "count what can panic in an image", panics::main),
    Subcommand("sizes", "[--json]", "show memory use against its budget", sizes::main),
];

fn dispatch(name: &str, args: impl Iterator<Item = String>) -> Result<()> {
    if ["help", "--help", "-h"].contains(&name) {
        print!("{}", help());
        return Ok(());
    }
    let Some(Subcommand(.., run)) = SUBCOMMANDS.iter().find(|subcommand| subcommand.0 == name)
    else {
        return Err(Failure::new(format!("unknown command `{name}`"))
            .help("`cargo xtask help` lists the commands"));
    };
    run(Args::new(args))
}

/// At most 80 columns wide and 24 lines high.
fn help() -> String {
    let mut text = String::from("Build, run, test and check Strongroom.\n\n");
    for Subcommand(name, options, about, _) in &SUBCOMMANDS {
        let line = format!("  cargo xtask {name:<14} {about}");
        let fits = line.len() + 2 + options.len() <= 80;
        let indent = if fits || options.is_empty() { "  " } else { "\n      " };
        text.push_str(format!("{line}{indent}{options}").trim_end());
        text.push('\n');
    }
    text.push_str("\nFirmware builds take --toolchain rustup|debian; checks take --board NAME.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_terminal() {
        assert!(help().lines().all(|line| line.chars().count() <= 80));
        assert!(help().lines().count() <= 25);
    }

    #[test]
    fn unknown_commands_point_to_the_help() {
        let failure = dispatch("tset", [].into_iter()).unwrap_err();
        assert!(failure.to_string().contains("cargo xtask help"));
    }
}
