//! A failed step: what happened and what the person can do about it.

use std::{fmt, io};

/// Result of everything in this crate.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What went wrong, and lines that say what to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    help: Vec<String>,
}

impl Failure {
    /// A failure described by `what`, one sentence without a full stop.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), help: Vec::new() }
    }

    /// Adds a line of advice.
    #[must_use]
    pub(crate) fn help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        self.help.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Adds to an I/O error what was being done.
pub(crate) trait Doing<T> {
    /// `doing` completes the sentence "could not …".
    fn doing(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|e| Failure::new(format!("could not {doing}: {e}")))
    }
}
