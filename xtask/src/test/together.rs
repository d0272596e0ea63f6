//! Runs the test programs of the workspace, two at a time: many of them wait for one emulator,
//! which leaves a core idle.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::Value;

use crate::{
    cargo, command,
    failure::{Doing, Failure, Result},
    lanes, term,
};

/// Those that take longest, and are not to be the last: in order of what they take.
const LONG: [&str; 16] = [
    "vectors",
    "clients",
    "trails",
    "programs",
    "ram",
    "memory",
    "update",
    "pico",
    "durability",
    "differential",
    "rewrap",
    "chaos",
    "floods",
    "crash",
    "recipient",
    "device",
];

/// A test program.
struct Program {
    /// Package and target, as people name it.
    name: String,
    /// The target alone.
    target: String,
    executable: PathBuf,
    /// Root of its package, where cargo starts it.
    directory: PathBuf,
}

/// Builds all test programs and runs them, then the examples in documentation. `environment` is
/// given to all; `arguments` go to the programs.
pub(super) fn run(environment: &[(String, PathBuf)], arguments: &[String]) -> Result<()> {
    fs::create_dir_all(command::target_dir().join("tests")).doing("make a directory for output")?;
    let mut programs = build(environment)?;
    let rank = |program: &Program| LONG.iter().position(|long| *long == program.target);
    programs.sort_by_key(|program| rank(program).unwrap_or(LONG.len()));
    let count = programs.len();
    let failed = Mutex::new(Vec::new());
    let left_out = Mutex::new(Vec::new());
    lanes::each(programs, |program| {
        let outcome = program.run(environment, arguments)?;
        left_out.lock().unwrap_or_else(PoisonError::into_inner).extend(outcome.left_out);
        if !outcome.passed {
            failed.lock().unwrap_or_else(PoisonError::into_inner).push(program.name);
        }
        Ok(())
    })?;
    let mut documented = command::cargo(["test", "--workspace", "--doc", "--no-fail-fast"]);
    let examples = command::run(documented.envs(variables(environment)).arg("--").args(arguments));
    // Last, so that nobody can miss it.
    let left_out = left_out.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !left_out.is_empty() {
        term::headline("left out, not passed");
        left_out.iter().for_each(term::note);
    }
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() {
        return examples;
    }
    let text = format!(
        "{} of {} failed: {}",
        failed.len(),
        term::count(count, "test program"),
        failed.join(", ")
    );
    Err(Failure::new(text).help("run one alone with: cargo xtask test --suite NAME"))
}

fn variables(environment: &[(String, PathBuf)]) -> impl Iterator<Item = (&str, &Path)> {
    environment.iter().map(|(name, value)| (name.as_str(), value.as_path()))
}

/// Lists the programs, which are built already ([`crate::daemon::Profile::Tests`]).
fn build(environment: &[(String, PathBuf)]) -> Result<Vec<Program>> {
    let mut cargo = command::cargo(["test", "--workspace", "--no-run"]);
    cargo.envs(variables(environment));
    let built = term::step("test programs", || cargo::build(vec![vec![cargo]]))?;
    Ok(built.iter().flatten().flat_map(|one| &one.programs).filter_map(program).collect())
}

/// The program in a message of cargo, if it is about one.
fn program(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = message["executable"].as_str()?.into();
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let target = message["target"]["name"].as_str()?.to_owned();
    let source = Path::new(message["target"]["src_path"].as_str()?);
    let package = directory.file_name()?.to_string_lossy().into_owned();
    let source = source.strip_prefix(&directory).unwrap_or(source).display();
    Some(Program { name: format!("{package}/{source}"), target, executable, directory })
}

impl Program {
    /// Runs it to its end, and then shows what it said.
    fn run(&self, environment: &[(String, PathBuf)], arguments: &[String]) -> Result<Outcome> {
        let what = format!("run {}", self.executable.display());
        let begin = Instant::now();
        term::note(format!("{} …", self.name));
        // Not a pipe: what a test has left running would hold it open.
        let said = command::target_dir().join("tests").join(self.name.replace('/', "-"));
        let writer = fs::File::create(&said).doing(&what)?;
        let mut command = Command::new(&self.executable);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env("CARGO_MANIFEST_DIR", &self.directory)
            .envs(variables(environment))
            .stdin(Stdio::null())
            .stdout(writer.try_clone().doing(&what)?)
            .stderr(writer);
        let status = command.status().doing(&what)?;
        let said = fs::read(&said).doing(&what)?;
        let mut out = io::stdout().lock();
        let headline = format!("\n{} ({})\n", self.name, term::seconds(begin.elapsed()));
        out.write_all(headline.as_bytes()).and_then(|()| out.write_all(&said)).doing("write")?;
        if !status.success() {
            writeln!(out, "{} failed ({status})", self.name).doing("write")?;
        }
        let left_out = left_out(&String::from_utf8_lossy(&said));
        Ok(Outcome { passed: status.success(), left_out })
    }
}

/// What a program has done.
struct Outcome {
    passed: bool,
    /// Tests that did not run, with the reason.
    left_out: Vec<String>,
}

/// Tests that a program says it has left out: `SKIPPED name: reason`.
fn left_out(said: &str) -> Vec<String> {
    said.lines().filter_map(|line| line.strip_prefix("SKIPPED ")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_left_out_is_found() {
        let said =
            "running 2 tests\ntest a ... ok\n\nSKIPPED b: there is no b on PATH\ntest b ... ok\n";
        assert_eq!(left_out(said), ["b: there is no b on PATH"]);
        assert!(left_out("test a ... ok\nnot SKIPPED a: b").is_empty());
    }

    #[test]
    fn programs_are_found_among_what_cargo_says() {
        let mut message = json!({
            "reason": "compiler-artifact",
            "manifest_path": "/w/tests/Cargo.toml",
            "target": { "name": "line", "src_path": "/w/tests/tests/line.rs" },
            "profile": { "test": true },
            "executable": "/w/target/debug/deps/line-1",
        });
        let found = program(&message).unwrap();
        assert_eq!((found.name.as_str(), found.target.as_str()), ("tests/tests/line.rs", "line"));
        assert_eq!(found.directory, Path::new("/w/tests"));
        message["profile"]["test"] = json!(false);
        assert!(program(&message).is_none());
    }
}
