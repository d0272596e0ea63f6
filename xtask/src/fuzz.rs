//! `cargo xtask fuzz`: the targets of `tests/fuzz` with coverage feedback.
//!
//! The compiler's own coverage pass does for libFuzzer, so a stable toolchain will do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    args::Args,
    command,
    failure::{Failure, Result},
    lanes, term,
};

/// Coverage counters that libFuzzer reads, comparisons that it learns from, and all checks.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares \
                     -Cdebug-assertions -Coverflow-checks";
/// An input that takes longer, in seconds, is a finding; so is one that takes more memory, in MiB.
const LIMITS: [&str; 3] = ["-max_len=8192", "-timeout=5", "-rss_limit_mb=1024"];
/// Seconds for each target, of `--smoke` and without.
const SMOKE: u32 = 60;
const DEFAULT: u32 = 600;

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let smoke = args.flag("--smoke");
    let only = args.value("--target")?;
    let seconds = match args.value("--seconds")? {
        Some(seconds) => seconds
            .parse()
            .map_err(|_| Failure::new("--seconds takes a number of seconds for each target"))?,
        None if smoke => SMOKE,
        None => DEFAULT,
    };
    args.finish()?;
    let targets = targets(only.as_deref())?;
    let program = build()?;
    term::note(format!(
        "{:<18}{:>14}{:>12}{:>10}",
        "target", "executions", "each second", "coverage"
    ));
    lanes::each(targets, |target| run(&program, &target, seconds))
}

/// The targets are the directories of seeds.
fn targets(only: Option<&str>) -> Result<Vec<String>> {
    let failure = |error| Failure::new(format!("tests/fuzz/corpus: {error}"));
    let mut names = Vec::new();
    for entry in fs::read_dir(corpora()).map_err(failure)? {
        names.push(entry.map_err(failure)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let all = names.join(", ");
    names.retain(|name| only.is_none_or(|only| only == name));
    match (names.is_empty(), only) {
        (true, Some(only)) => {
            Err(Failure::new(format!("no target `{only}`")).help(format!("there are: {all}")))
        }
        _ => Ok(names),
    }
}

fn corpora() -> PathBuf {
    command::root().join("tests/fuzz/corpus")
}

/// Builds for the host named as a target, so that build scripts do without the coverage.
fn build() -> Result<PathBuf> {
    let version = command::output(&mut command::program("rustc", ["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure::new("rustc does not say for which host it is"))?;
    let directory = command::target_dir().join("fuzz");
    let mut cargo =
        command::cargo(["build", "--profile=fuzz", "--package", "hsm-fuzz", "--bin", "fuzz"]);
    cargo.args(["--features", "libfuzzer", "--target", host]).arg("--target-dir").arg(&directory);
    command::run(cargo.env("RUSTFLAGS", FLAGS))?;
    Ok(directory.join(host).join("fuzz/fuzz"))
}

/// Fuzzes one target. What it learns stays in the target directory, for the next time.
fn run(program: &Path, target: &str, seconds: u32) -> Result<()> {
    let learnt = command::target_dir().join("fuzz/corpus").join(target);
    let found = command::target_dir().join("fuzz/found");
    for directory in [&learnt, &found] {
        fs::create_dir_all(directory)
            .map_err(|error| Failure::new(format!("{}: {error}", directory.display())))?;
    }
    let mut fuzzer = Command::new(program);
    fuzzer
        .env("STRONGROOM_FUZZ_TARGET", target)
        .arg(&learnt)
        .arg(corpora().join(target))
        .args(LIMITS)
        .args([format!("-max_total_time={seconds}"), "-print_final_stats=1".to_owned()])
        .arg(format!("-artifact_prefix={}/{target}-", found.display()));
    let output =
        fuzzer.output().map_err(|error| Failure::new(format!("{}: {error}", program.display())))?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let tail: Vec<_> = report.lines().rev().take(30).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        return Err(Failure::new(format!("{target} failed:\n{}", tail.join("\n"))).help(format!(
            "the input is in {}; copy it to tests/fuzz/corpus/{target}, and `cargo test -p hsm-fuzz` \
             repeats it",
            found.display()
        )));
    }
    let word = |marker: &str| {
        let after = report.rsplit(marker).next().unwrap_or_default();
        after.split_whitespace().next().unwrap_or("?").to_owned()
    };
    let (executions, rate) =
        (word("stat::number_of_executed_units:"), word("stat::average_exec_per_sec:"));
    term::note(format!("{target:<18}{executions:>14}{rate:>12}{:>10}", word(" cov: ")));
    Ok(())
}
