//! Log lines on standard error. They hold no secrets: what is logged is named field by field.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// How often a thing that clients can repeat is logged.
const SELDOM: Duration = Duration::from_secs(60);

/// Reads what is to be logged: levels, alone or of a target, such as `info,host_driver=debug`.
///
/// # Errors
/// What is wrong with it. A word that is not a level would be the name of a target, and turn all others
/// off.
pub fn parse(levels: &str) -> Result<Targets, String> {
    let wrong = |what: &str| {
        format!(
            "log {levels:?}: {what:?} is not off, error, warn, info, debug, trace or TARGET=LEVEL; \
             for example info,host_driver=debug"
        )
    };
    let mut targets = Targets::new().with_default(LevelFilter::OFF);
    for directive in levels.split(',').map(str::trim) {
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, directive),
        };
        // Numbers are levels, too, for the library; nobody knows which.
        let is_word = level.bytes().all(|c| c.is_ascii_alphabetic()) && !level.is_empty();
        let level = level.parse::<LevelFilter>().ok().filter(|_| is_word);
        let level = level.ok_or_else(|| wrong(directive))?;
        targets = match target {
            Some("") => return Err(wrong(directive)),
            Some(target) => targets.with_target(target, level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

/// The form of log lines on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging in the given form.
pub fn start(format: LogFormat, targets: Targets) {
    // Whoever read standard error may have gone: no reason to end, or to say so there.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let layer = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // A second start, in tests, keeps the first.
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
}

/// Keeps strangers from filling the log with the same line.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Nothing has been logged yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// True once a minute.
    pub fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= SELDOM);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_alone_and_of_targets() {
        let targets = parse("warn, host_driver=debug").unwrap();
        assert!(targets.would_enable("kms_daemon::daemon", &Level::WARN));
        assert!(!targets.would_enable("kms_daemon::daemon", &Level::INFO));
        assert!(targets.would_enable("host_driver::pool", &Level::DEBUG));
        let targets = parse("kms_daemon=info").unwrap();
        assert!(!targets.would_enable("hyper", &Level::ERROR));
        assert!(!parse("off").unwrap().would_enable("kms_daemon", &Level::ERROR));
        for wrong in ["", "nonsense", "info,", "5", "info,host_driver=loud", "=debug", "a=b=info"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains("info,host_driver=debug"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_same_line_comes_seldom() {
        let seldom = Seldom::new();
        assert!(seldom.is_due() && !seldom.is_due());
    }
}
