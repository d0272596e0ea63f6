//! Build, run, test and check Strongroom: `cargo xtask`.

mod args;
mod command;
mod failure;
mod firmware;
mod packages;
mod term;
mod toolchain;

use std::{env, process::ExitCode};

use args::Args;
use failure::{Failure, Result};

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "help".into());
    match run(&name, Args::new(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            term::failure(failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, args: Args) -> Result<()> {
    match name {
        "firmware" => firmware::main(args),
        _ => Err(Failure::new(format!("unknown command `{name}`")).help("see `cargo xtask help`")),
    }
}
