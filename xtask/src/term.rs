//! What the person sees: progress on stderr, results on stdout, colours only on a terminal.

use std::{
    env,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use crate::failure::Result;

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
    fn seconds_keep_one_digit() {
        assert_eq!(seconds(Duration::from_millis(12_340)), "12.3 s");
    }
}
