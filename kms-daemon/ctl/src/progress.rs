//! How far long work is.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(200);
/// Without a terminal, progress is reported only for more than this, in bytes.
const WORTH_TELLING: u64 = 100_000_000;

/// How far something is, on standard error.
pub(super) struct Bar {
    what: &'static str,
    shown: Option<Instant>,
    on_terminal: bool,
    /// Tenths that were told of where there is no terminal.
    tenths: u64,
}

impl Bar {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, shown: None, on_terminal: io::stderr().is_terminal(), tenths: 0 }
    }

    /// The same where it is not known how much there is.
    pub(super) fn show_unbounded(&mut self, done: u64) {
        if self.on_terminal && self.shown.is_none_or(|shown| shown.elapsed() >= TICK) {
            eprint!("\r{}: {}   ", self.what, size(done));
            self.shown = Some(Instant::now());
        }
    }

    pub(super) fn show(&mut self, done: u64, all: u64) {
        let tenths = done.saturating_mul(10).checked_div(all).unwrap_or(10);
        if self.on_terminal {
            if done < all && self.shown.is_some_and(|shown| shown.elapsed() < TICK) {
                return;
            }
            eprint!("\r{}: {} of {}   ", self.what, size(done), size(all));
        } else if tenths > self.tenths && all > WORTH_TELLING {
            self.tenths = tenths;
            eprintln!("{}: {} of {}", self.what, size(done), size(all));
        }
        self.shown = Some(Instant::now());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.on_terminal && self.shown.is_some() {
            eprintln!();
        }
    }
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
