//! Output to a reader that may close the pipe early.

use std::io::{self, Write};

/// A writer that remembers whether its reader has gone.
pub(super) struct Watched<W> {
    out: W,
    is_closed: bool,
}

impl<W: Write> Watched<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, is_closed: false }
    }

    /// Whether something could not be written for that.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn watch<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome {
            self.is_closed |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        outcome
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.out.write(bytes);
        self.watch(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.out.flush();
        self.watch(outcome)
    }
}
