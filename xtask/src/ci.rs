//! `cargo xtask ci`: the only gate. Each step is also a command of its own.

use std::time::{Duration, Instant};

use crate::{
    args::{Args, Run},
    audit, codegen, constant_time,
    failure::{Failure, Result},
    firmware, fuzz, lengths, lint, panics, size, term, test,
};

/// Cheap steps first: what fails should fail soon.
const STEPS: [(&str, Run); 11] = [
    ("fmt", lint::fmt),
    ("codegen --check", codegen::main),
    ("lengths", lengths::main),
    ("audit", audit::main),
    ("clippy", lint::clippy),
    ("firmware --deny-warnings", firmware::main),
    ("panics", panics::main),
    ("size", size::main),
    ("constant-time", constant_time::main),
    ("fuzz --seconds 5", fuzz::main),
    ("test", test::main),
];

/// The subcommand.
pub(crate) fn main(args: Args) -> Result<()> {
    args.finish()?;
    let start = Instant::now();
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (line, run) in STEPS {
        let began = Instant::now();
        let words = line.split(' ').skip(1).map(str::to_owned);
        term::step(line, || run(Args::new(words))).map_err(|failure| {
            Failure::new(format!("ci stopped at `{line}`: {failure}"))
                .help(format!("run it alone with: cargo xtask {line}"))
        })?;
        times.push((line, began.elapsed()));
    }
    term::headline("all steps passed");
    for (line, time) in times {
        term::note(format!("{line:<26}{:>9}", term::seconds(time)));
    }
    term::note(format!("{:<26}{:>9}", "total", term::seconds(start.elapsed())));
    Ok(())
}
