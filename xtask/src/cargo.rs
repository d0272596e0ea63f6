//! Cargo builds, several at a time, with one line of progress in place of one for each crate.
//!
//! Steps and their number are those of Cargo's own progress bar, which it is told to draw for us:
//! Cargo alone knows how many there are, and its messages do not tell. Diagnostics are shown as they
//! come, and whatever else Cargo says once a build has failed.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    command,
    failure::{Doing, Failure, Result},
    term::Progress,
};

/// How often the line is drawn while nothing happens: the seconds go on.
const TICK: Duration = Duration::from_millis(500);

/// What cargo's messages said of one build.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compiled {
    /// What it said of each program.
    pub(crate) programs: Vec<Value>,
    /// Compiler warnings in the crates of this workspace.
    pub(crate) warnings: usize,
}

impl Compiled {
    /// The program that was built last.
    pub(crate) fn executable(&self) -> Option<PathBuf> {
        Some(self.programs.last()?["executable"].as_str()?.into())
    }

    /// Takes in one message; returns the diagnostic in it.
    fn read(&mut self, message: &Value) -> Option<String> {
        if message["executable"].is_string() {
            self.programs.push(message.clone());
        }
        let diagnostic = &message["message"];
        // Summaries ("2 warnings emitted") have no code.
        if diagnostic["level"] == "warning" && !diagnostic["code"].is_null() {
            self.warnings += 1;
        }
        diagnostic["rendered"].as_str().map(str::to_owned)
    }
}

/// Runs the builds of each lane one after the other, and the lanes at the same time: builds that share
/// a target directory would wait for each other. Results are in the same order.
///
/// # Errors
/// Of the first build that fails; the others are ended.
pub(crate) fn build(lanes: Vec<Vec<Command>>) -> Result<Vec<Vec<Compiled>>> {
    build_then(lanes, |_, _, compiled| Ok(compiled))
}

/// The same, with something to do when a build has ended and before the next of its lane begins; it is
/// told the lane and the place in it.
///
/// # Errors
/// Of the first that fails; the others are ended.
pub(crate) fn build_then<T>(
    lanes: Vec<Vec<Command>>,
    mut then: impl FnMut(usize, usize, Compiled) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut results: Vec<Vec<T>> = lanes.iter().map(|_| Vec::new()).collect();
    let mut waiting: Vec<_> = lanes.into_iter().map(Vec::into_iter).collect();
    let builds = waiting.iter().map(|lane| lane.len()).sum();
    let mut progress = Progress::new(builds);
    let mut running: Vec<Option<Running>> = waiting.iter().map(|_| None).collect();
    let (sender, events) = channel();
    let mut started = 0;
    loop {
        for (lane, slot) in running.iter_mut().enumerate() {
            if slot.is_none()
                && let Some(command) = waiting[lane].next()
            {
                *slot = Some(Running::start(command, lane, started, &sender)?);
                started += 1;
            }
        }
        if running.iter().all(Option::is_none) {
            return Ok(results);
        }
        let Ok((lane, event)) = events.recv_timeout(TICK) else {
            progress.draw();
            continue;
        };
        let Some(build) = &mut running[lane] else { continue };
        match event {
            Event::Steps { done, of, now } => progress.steps(build.number, done, of, &now),
            Event::Doing(what) => progress.doing(build.number, &what),
            Event::Message(message) => {
                if let Some(diagnostic) = build.compiled.read(&message) {
                    progress.print(&diagnostic);
                }
            }
            Event::Said(line) => build.said.push(line),
            Event::End if build.has_ended() => {
                let Some(mut build) = running[lane].take() else { continue };
                let status = build.child.wait().doing("wait for cargo")?;
                if !status.success() {
                    progress.clear();
                    running.iter_mut().flatten().for_each(Running::stop);
                    return Err(failure(&build));
                }
                progress.done(build.number);
                let place = results[lane].len();
                let result = then(lane, place, build.compiled).inspect_err(|_| {
                    progress.clear();
                    running.iter_mut().flatten().for_each(Running::stop);
                })?;
                results[lane].push(result);
            }
            Event::End => {}
        }
    }
}

/// The failure, with everything that Cargo said beside its progress.
fn failure(build: &Running) -> Failure {
    let failure = Failure::new(format!("`{}` failed", build.shown));
    build.said.iter().fold(failure, |failure, line| failure.help(line.trim_end()))
}

/// A build that runs.
struct Running {
    shown: String,
    child: Child,
    number: usize,
    compiled: Compiled,
    /// Lines on standard error that are not progress.
    said: Vec<String>,
    /// Of its two streams, those that have ended.
    ended: u8,
}

/// What a build tells.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// How far it is, and with which crates.
    Steps {
        done: usize,
        of: usize,
        now: String,
    },
    /// What it does that has no steps, such as fetching crates.
    Doing(String),
    Message(Value),
    Said(String),
    /// Of a stream.
    End,
}

impl Running {
    fn start(
        mut command: Command,
        lane: usize,
        number: usize,
        events: &Sender<(usize, Event)>,
    ) -> Result<Self> {
        let shown = command::shown(&command);
        let mut child = command
            .arg("--message-format=json")
            .env("CARGO_TERM_PROGRESS_WHEN", "always")
            .env("CARGO_TERM_PROGRESS_WIDTH", "120")
            .env("CARGO_TERM_QUIET", "false")
            .env("CARGO_TERM_VERBOSE", "false")
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing(format_args!("run {shown}"))?;
        // Build scripts may print lines of their own.
        let message = |piece: &[u8]| serde_json::from_slice(piece).ok().map(Event::Message);
        let line = |piece: &[u8]| event(&String::from_utf8_lossy(piece));
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        read(out, b"\n", lane, events, message);
        read(err, b"\r\n", lane, events, line);
        let (compiled, said) = (Compiled::default(), Vec::new());
        Ok(Self { shown, child, number, compiled, said, ended: 0 })
    }

    /// Counts the end of a stream: whether it was the last one.
    fn has_ended(&mut self) -> bool {
        self.ended += 1;
        self.ended == 2
    }

    fn stop(&mut self) {
        // One that has ended by itself meanwhile is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a stream in a thread of its own; its pieces are ended by any of these bytes.
fn read(
    stream: impl Read + Send + 'static,
    ends: &'static [u8],
    lane: usize,
    events: &Sender<(usize, Event)>,
    event: impl Fn(&[u8]) -> Option<Event> + Send + 'static,
) {
    let events = events.clone();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut piece = Vec::new();
        // Whoever listened may be gone after a failure.
        let tell = |event| drop(events.send((lane, event)));
        while let Ok(bytes) = stream.fill_buf() {
            if bytes.is_empty() {
                break;
            }
            let end = bytes.iter().position(|byte| ends.contains(byte));
            piece.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            let taken = end.map_or(bytes.len(), |end| end + 1);
            stream.consume(taken);
            if end.is_some() {
                event(&piece).map(tell);
                piece.clear();
            }
        }
        event(&piece).map(tell);
        tell(Event::End);
    });
}

/// What a line on Cargo's standard error tells, if anything.
fn event(line: &str) -> Option<Event> {
    let line = line.trim_start_matches("\u{1b}[K").trim_end();
    let text = line.trim_start();
    if text.is_empty() {
        return None;
    }
    if let Some(steps) = text.strip_prefix("Building [").and_then(steps) {
        return Some(steps);
    }
    // "   Compiling subtle v2.6.1": a word in capitals that ends in the twelfth column.
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_word = word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphabetic());
    match is_word && line.len() - text.len() + word.len() == 12 {
        true if word == "Compiling" || word == "Finished" => None,
        true => Some(Event::Doing(format!("{} {rest}", word.to_ascii_lowercase()))),
        false => Some(Event::Said(line.to_owned())),
    }
}

/// Reads "======>   ] 12/345: syn, libc(build)".
fn steps(bar: &str) -> Option<Event> {
    let (counts, now) = bar.split_once("] ")?.1.split_once(':')?;
    let (done, of) = counts.split_once('/')?;
    let (done, of) = (done.trim().parse().ok()?, of.trim().parse().ok()?);
    Some(Event::Steps { done, of, now: now.trim().trim_end_matches("...").to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_give_the_image_and_count_warnings() {
        let messages = [
            json!({"reason": "compiler-artifact", "executable": null}),
            json!({"reason": "compiler-message", "message":
                {"level": "warning", "code": {"code": "unused"}, "rendered": "warning: unused\n"}}),
            json!({"reason": "compiler-message", "message":
                {"level": "warning", "code": null, "rendered": "1 warning emitted\n"}}),
            json!({"reason": "compiler-artifact", "executable": "/t/qemu_riscv32"}),
            json!({"reason": "build-finished", "success": true}),
        ];
        let mut compiled = Compiled::default();
        let shown: Vec<_> = messages.iter().filter_map(|message| compiled.read(message)).collect();
        assert_eq!(shown, ["warning: unused\n", "1 warning emitted\n"]);
        assert_eq!(compiled.executable(), Some("/t/qemu_riscv32".into()));
        assert_eq!((compiled.programs.len(), compiled.warnings), (1, 1));
    }

    #[test]
    fn progress_is_told_from_what_cargo_says() {
        let bar = "    Building [=====>         ] 12/345: syn, libc(build.rs)...";
        let now = "syn, libc(build.rs)".to_owned();
        assert_eq!(event(bar), Some(Event::Steps { done: 12, of: 345, now }));
        assert_eq!(event("   Compiling subtle v2.6.1"), None);
        assert_eq!(
            event(" Downloading crates ..."),
            Some(Event::Doing("downloading crates ...".into()))
        );
        let blocked = "    Blocking waiting for file lock on build directory";
        let told = "blocking waiting for file lock on build directory";
        assert_eq!(event(blocked), Some(Event::Doing(told.into())));
        for said in
            ["error: could not compile `x`", "Caused by:", "  process didn't exit", "  = note: ld"]
        {
            assert_eq!(event(said), Some(Event::Said(said.into())));
        }
        assert_eq!(event("\u{1b}[K"), None);
    }

    fn script(text: &str) -> Command {
        // The arguments that follow are not for the script.
        command::program("sh", ["-c", text, "sh"])
    }

    #[test]
    fn lanes_run_at_the_same_time_and_their_builds_in_order() {
        let dir = std::env::temp_dir().join(format!("xtask-lanes-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        // Each waits for the other lane, which would never come if they took turns.
        let wait = |mine: &str, other: &str, executable: &str| {
            script(&format!(
                "touch {}; until test -e {}; do sleep 0.01; done; echo '{{\"executable\":\"{executable}\"}}'",
                at(mine),
                at(other)
            ))
        };
        let after = script(&format!("test -e {} && echo '{{\"executable\":\"c\"}}'", at("a")));
        let lanes = vec![vec![wait("a", "b", "a"), after], vec![wait("b", "a", "b")]];
        let built = build(lanes).unwrap();
        let names: Vec<Vec<_>> = built
            .iter()
            .map(|lane| lane.iter().map(|one| one.executable().unwrap()).collect())
            .collect();
        assert_eq!(names, [vec![PathBuf::from("a"), "c".into()], vec!["b".into()]]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_failure_says_all_that_cargo_said_and_ends_the_others() {
        let fails =
            "echo '   Compiling a v1' >&2; echo 'error: failed to run the build command' >&2
                     printf 'Caused by:\\n  no C compiler' >&2; exit 101";
        let failed = build(vec![vec![script("exec sleep 600")], vec![script(fails)]]).unwrap_err();
        let text = failed.to_string();
        assert!(
            text.ends_with(
                "failed\n  error: failed to run the build command\n  Caused by:\n    no C compiler"
            ),
            "{text}"
        );
    }
}
