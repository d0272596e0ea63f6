//! `cargo xtask ci`: the only gate. Each step is also a command of its own.

use std::time::{Duration, Instant};

use crate::{
    args::{Args, Run},
    audit, circles, codegen, command, constant_time,
    failure::{Doing, Failure, Result},
    firmware, fuzz, lengths, lint, panics, sizes, term, test, words,
};

/// Cheap steps first: what fails should fail soon.
pub(crate) const STEPS: [(&str, Run); 13] = [
    ("fmt", lint::fmt),
    ("codegen --check", codegen::main),
    ("lengths", lengths::main),
    ("circles", circles::main),
    ("words", words::main),
    ("audit", audit::main),
    ("clippy", lint::clippy),
    ("firmware --deny-warnings", firmware::main),
    ("panics", panics::main),
    ("sizes", sizes::main),
    ("constant-time", constant_time::main),
    ("fuzz --seconds 5", fuzz::main),
    ("test", test::main),
];

/// Bytes that a run takes from nothing, of builds and of what tests write, with some to spare.
const ROOM: u64 = 10_000_000_000;

/// Bytes without which no run can end, whatever is built already: the last tests fill a disk's worth of
/// flash images, packages and logs.
const LEAST: u64 = 2_000_000_000;

/// A disk that runs full fails thirty tests and tells of none of them why: it is asked for at first.
fn room() -> Result<()> {
    let target = command::target_dir();
    let built = target.join("debug").exists();
    let disk = rustix::fs::statvfs(command::root())
        .map_err(std::io::Error::from)
        .doing("read how full the disk is")?;
    let free = disk.f_bavail * disk.f_frsize;
    let needed = if built { LEAST } else { ROOM };
    if free < needed {
        let text = format!(
            "the disk has {:.1} GB free, and a run needs {:.0} GB",
            free as f64 / 1e9,
            needed as f64 / 1e9
        );
        return Err(Failure::new(text).help("remove other checkouts' target directories"));
    }
    Ok(())
}

/// The subcommand.
pub(crate) fn main(args: Args) -> Result<()> {
    args.finish()?;
    room()?;
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
