//! What the person sees: progress on stderr, results on stdout, colours only on a terminal.

use std::{
    env,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use crate::failure::Result;

/// Between lines of progress that go to a file or a pipe.
const RARELY: Duration = Duration::from_secs(15);
/// Between two drawings of the line on a terminal.
const OFTEN: Duration = Duration::from_millis(100);
/// Columns of the line.
const WIDTH: usize = 79;
/// Columns of the bar in it.
const BAR: usize = 20;

/// How far several builds are together: a line that is drawn again and again on a terminal, and a new
/// one now and then elsewhere.
pub(crate) struct Progress {
    /// Steps that are done, and all, of each build; none yet of one that has not counted them.
    steps: Vec<Option<(usize, usize)>>,
    doing: Vec<String>,
    begin: Instant,
    drawn: Option<Instant>,
    terminal: bool,
    unit: &'static str,
}

impl Progress {
    /// Of so many builds.
    pub(crate) fn new(builds: usize) -> Self {
        Self {
            steps: vec![None; builds],
            doing: vec![String::new(); builds],
            begin: Instant::now(),
            drawn: None,
            terminal: io::stderr().is_terminal(),
            unit: "steps",
        }
    }

    /// Counts something else than steps.
    #[must_use]
    pub(crate) fn counting(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// A build has done so many steps.
    pub(crate) fn steps(&mut self, build: usize, done: usize, of: usize, now: &str) {
        self.steps[build] = Some((done, of));
        self.doing(build, now);
    }

    /// A build does something.
    pub(crate) fn doing(&mut self, build: usize, what: &str) {
        what.clone_into(&mut self.doing[build]);
        self.draw();
    }

    /// A build has ended well.
    pub(crate) fn done(&mut self, build: usize) {
        // One that had nothing to do has counted nothing.
        let of = self.steps[build].map_or(0, |(_, of)| of);
        self.steps[build] = Some((of, of));
        self.doing[build].clear();
        if self.steps.iter().all(|steps| steps.is_some_and(|(done, of)| done == of)) {
            self.clear();
        } else {
            self.draw();
        }
    }

    /// Shows a text above the line.
    pub(crate) fn print(&mut self, text: &str) {
        self.clear();
        eprint!("{text}");
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.terminal && self.drawn.take().is_some() {
            eprint!("\r\x1b[2K");
        }
    }

    /// Draws the line, if it is time to.
    pub(crate) fn draw(&mut self) {
        let last = self.drawn.unwrap_or(self.begin);
        let early = last.elapsed() < if self.terminal { OFTEN } else { RARELY };
        if early && !(self.terminal && self.drawn.is_none()) {
            return;
        }
        let line = self.line();
        if self.terminal {
            eprint!("\r\x1b[2K{line}");
        } else {
            eprintln!("{line}");
        }
        self.drawn = Some(Instant::now());
    }

    fn line(&self) -> String {
        let known = self.steps.iter().flatten();
        let (done, of) = known.fold((0, 0), |(all, total), (done, of)| (all + done, total + of));
        // Of a build that has not counted yet, nobody knows how much it adds.
        let open = if self.steps.contains(&None) { " or more" } else { "" };
        let time = seconds(self.begin.elapsed());
        let doing: Vec<_> = self.doing.iter().filter(|what| !what.is_empty()).collect();
        let doing = doing.iter().map(|what| what.as_str()).collect::<Vec<_>>().join(", ");
        let unit = self.unit;
        let bar = "=".repeat((done * BAR).checked_div(of).unwrap_or(0));
        let line = match of {
            0 => format!("    {time}  {doing}"),
            _ if self.terminal => {
                format!("    [{bar:<BAR$}] {done} of {of}{open} {unit}, {time}  {doing}")
            }
            _ => format!("    {done} of {of}{open} {unit}, {time}: {doing}"),
        };
        match line.char_indices().nth(WIDTH - 1) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// Runs `work` between a headline and a line with the seconds it took.
pub(crate) fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    headline(title);
    let start = Instant::now();
    let result = work();
    let time = seconds(start.elapsed());
    match &result {
        Ok(_) => eprintln!("    {} {title} ({time})", paint(GREEN, "done")),
        Err(_) => eprintln!("    {} {title} ({time})", paint(RED, "failed")),
    }
    result
}

/// Announces a step.
pub(crate) fn headline(title: &str) {
    eprintln!("{} {}", paint(BLUE, "==>"), paint(BOLD, title));
}

/// Says one thing within a step.
pub(crate) fn note(text: impl AsRef<str>) {
    for line in text.as_ref().lines() {
        eprintln!("    {line}");
    }
}

/// Prints a failure, help included.
pub(crate) fn failure(text: impl AsRef<str>) {
    eprintln!("{} {}", paint(RED, "error:"), text.as_ref());
}

/// `0.4 s`, `75.0 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A count with its noun: `1 file`, `2 files`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

const BOLD: &str = "1";
const RED: &str = "1;31";
const GREEN: &str = "32";
const BLUE: &str = "1;34";

fn paint(colour: &str, text: &str) -> String {
    if io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_their_noun() {
        assert_eq!(count(0, "file"), "0 files");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(2, "file"), "2 files");
    }

    #[test]
    fn progress_is_steps_done_of_steps_to_do() {
        let mut progress = Progress { terminal: false, ..Progress::new(2) };
        progress.doing(0, "downloading crates");
        assert!(progress.line().ends_with(" s  downloading crates"), "{}", progress.line());
        progress.steps(0, 12, 100, "syn");
        assert!(
            progress.line().starts_with("    12 of 100 or more steps, "),
            "{}",
            progress.line()
        );
        progress.steps(1, 30, 60, "p256, rsa");
        let line = progress.line();
        assert!(
            line.starts_with("    42 of 160 steps, ") && line.ends_with(": syn, p256, rsa"),
            "{line}"
        );
        progress.done(1);
        assert!(progress.line().starts_with("    72 of 160 steps, "), "{}", progress.line());
        progress.terminal = true;
        assert!(progress.line().starts_with("    [=========           ] 72 of 160 steps, "));
        progress.steps(0, 13, 100, &"a-crate, ".repeat(20));
        assert_eq!(progress.line().chars().count(), WIDTH);
    }

    #[test]
    fn seconds_keep_one_digit() {
        assert_eq!(seconds(Duration::from_millis(12_340)), "12.3 s");
    }
}
