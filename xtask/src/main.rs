//! Build, run, test and check Strongroom: `cargo xtask`.

mod args;
mod audit;
mod bench;
mod beside;
mod browser;
mod budget;
mod cargo;
mod chaos;
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
mod flash;
mod fuzz;
mod image;
mod integrity;
mod lanes;
mod lengths;
mod lint;
mod package;
mod packages;
mod panics;
mod python;
mod release;
mod run;
mod second_stage;
mod signing;
mod simulate;
mod sizes;
mod term;
mod test;
mod tokens;
mod toolchain;
mod uf2;
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

/// A subcommand.
struct Subcommand {
    name: &'static str,
    /// Its options, as the help has them.
    options: &'static str,
    /// What it does.
    about: &'static str,
    /// More, for the help of this one.
    more: &'static str,
    run: Run,
}

/// One whose options say everything.
const fn plain(
    name: &'static str,
    options: &'static str,
    about: &'static str,
    run: Run,
) -> Subcommand {
    Subcommand { name, options, about, more: "", run }
}

/// What people do, each with a line or two in the help.
const COMMANDS: [Subcommand; 11] = [
    Subcommand {
        name: "run",
        options: "[--board NAME] [--data DIR] [--release] [-- KMSD-FLAGS]",
        about: "run kmsd on an emulated HSM",
        more: run::HELP,
        run: run::main,
    },
    Subcommand {
        name: "flash",
        options: "BOARD [--drive DIR | --uf2 FILE | --probe [--chip NAME]]",
        about: "put firmware on a board",
        more: flash::HELP,
        run: flash::main,
    },
    plain(
        "test",
        "[FILTER] [--suite FILE] [--nightly] [--beside REV] [-- FLAGS]",
        "run every test",
        test::main,
    ),
    plain("ci", "", "the gate: every check below, then every test", ci::main),
    plain("bench", "[-- FLAGS]", "measure speed and what commands cost", bench::main),
    Subcommand {
        name: "chaos",
        options: "[--seed N] [--minutes N] [--json]",
        about: "clients while everything fails",
        more: chaos::HELP,
        run: chaos::main,
    },
    Subcommand {
        name: "simulate",
        options: "[--keys N] [--requests N] [--plot FILE] [--json]",
        about: "how durable keys are, and what many need",
        more: simulate::HELP,
        run: simulate::main,
    },
    plain("firmware", "[--deny-warnings] [--json]", "build every image", firmware::main),
    plain("package", "[--version VERSION]", "make the Debian package", package::main),
    Subcommand {
        name: "release",
        options: "--out DIR [--signing-key FILE] [--twice | --verify DIR]",
        about: "all files of a release, signed",
        more: release::HELP,
        run: release::main,
    },
    plain("codegen", "[--check] [--update FILE]", "API types from the model", codegen::main),
];

/// Steps of `ci`, which the help lists together.
const CHECKS: [Subcommand; 10] = [
    plain("fmt", "[--fix]", "check the formatting, or format", lint::fmt),
    plain("lengths", "", "find files that are too long", lengths::main),
    plain("circles", "", "find circles of modules", circles::main),
    plain("words", "", "find phrases that docs/style.md rules out", words::main),
    plain("audit", "", "check the dependencies against deny.toml", audit::main),
    plain("clippy", "", "lint host crates and firmware", lint::clippy),
    plain("panics", "[--all] [--json]", "count what can panic in an image", panics::main),
    plain("sizes", "[--json] [--record FILE]", "memory use against its budget", sizes::main),
    Subcommand {
        name: "constant-time",
        options: "[--board NAME]",
        about: "whether time depends on secrets",
        more: constant_time::HELP,
        run: constant_time::main,
    },
    plain(
        "fuzz",
        "[--smoke] [--seconds N] [--target NAME]",
        "fuzz every parser of the device",
        fuzz::main,
    ),
];

fn dispatch(name: &str, mut args: impl Iterator<Item = String>) -> Result<()> {
    if ["help", "--help", "-h"].contains(&name) {
        match args.next() {
            Some(name) => print!("{}", subcommand(&name)?.help()),
            None => print!("{}", help()),
        }
        return Ok(());
    }
    let subcommand = subcommand(name)?;
    let args: Vec<String> = args.collect();
    let own = args.iter().take_while(|arg| *arg != "--");
    if own.into_iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{}", subcommand.help());
        return Ok(());
    }
    (subcommand.run)(Args::new(args))
}

fn subcommand(name: &str) -> Result<&'static Subcommand> {
    let mut all = COMMANDS.iter().chain(&CHECKS);
    all.find(|subcommand| subcommand.name == name).ok_or_else(|| {
        Failure::new(format!("unknown command `{name}`"))
            .help("`cargo xtask help` lists the commands")
    })
}

/// At most 80 columns wide and 25 lines high.
fn help() -> String {
    let mut text = String::from("Build, run, test and check Strongroom: cargo xtask COMMAND\n\n");
    for Subcommand { name, options, about, .. } in &COMMANDS {
        let line = format!("  {name:<9} {about}");
        let fits = line.len() + 2 + options.len() <= 80;
        let indent = if fits || options.is_empty() { "  " } else { "\n            " };
        text.push_str(format!("{line}{indent}{options}").trim_end());
        text.push('\n');
    }
    text.push_str("\nChecks, which ci runs one after the other:\n");
    let mut line = String::new();
    for Subcommand { name, .. } in &CHECKS {
        if line.len() + 2 + name.len() > 78 {
            text.push_str(&format!("{line}\n"));
            line.clear();
        }
        line.push_str("  ");
        line.push_str(name);
    }
    text.push_str(&format!("{line}\n\n"));
    text.push_str("`cargo xtask help COMMAND` tells its options. What builds or checks firmware\n");
    text.push_str("takes --board NAME, --algorithms SET and --toolchain rustup|debian.\n");
    text
}

impl Subcommand {
    /// The same limits hold.
    fn help(&self) -> String {
        let Self { name, options, about, more, .. } = self;
        let usage = format!("cargo xtask {name} {options}");
        let space = if more.is_empty() { "" } else { "\n" };
        format!("{}\n\n  {about}\n{space}{more}", usage.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_terminal() {
        let each = COMMANDS.iter().chain(&CHECKS).map(Subcommand::help);
        for text in each.chain([help()]) {
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            assert!(text.lines().count() <= 25, "{text}");
        }
    }

    #[test]
    fn every_command_is_in_the_help_and_every_step_of_the_gate_is_a_command() {
        for Subcommand { name, .. } in COMMANDS.iter().chain(&CHECKS) {
            assert!(help().split_whitespace().any(|word| word == *name), "{name}");
        }
        for (line, _) in ci::STEPS {
            assert!(subcommand(line.split(' ').next().unwrap()).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_command_explains_itself() {
        assert_eq!(dispatch("panics", ["--help".to_owned()].into_iter()), Ok(()));
        let text = subcommand("fuzz").unwrap().help();
        assert!(text.starts_with("cargo xtask fuzz [--smoke]"), "{text}");
        assert!(dispatch("help", ["tset".to_owned()].into_iter()).is_err());
    }

    #[test]
    fn unknown_commands_point_to_the_help() {
        let failure = dispatch("tset", [].into_iter()).unwrap_err();
        assert!(failure.to_string().contains("cargo xtask help"));
    }
}
