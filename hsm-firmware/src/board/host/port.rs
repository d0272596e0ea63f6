//! A line over any reader and writer.

use std::boxed::Box;
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::vec;

use crate::serve::Port;

/// Bytes read at a time.
const BUFFER: usize = 64 * 1024;

/// Receives what a host sent: fills the front of the buffer and returns how much, 0 at the end of the
/// line, `None` if nothing came within the time. It may give up early.
pub type LineReader = Box<dyn FnMut(&mut [u8], Duration) -> io::Result<Option<usize>> + Send>;

/// Reads a TCP connection for [`super::HostDevice::attach`]; gives up after a second, so that a device
/// which is dropped ends.
pub fn tcp_reader(
    mut stream: TcpStream,
) -> impl FnMut(&mut [u8], Duration) -> io::Result<Option<usize>> + Send {
    move |out, patience| {
        let patience = patience.clamp(Duration::from_millis(1), Duration::from_secs(1));
        stream.set_read_timeout(Some(patience))?;
        stream.read(out).map(Some)
    }
}

/// A port of a device with one line.
pub(super) struct StreamPort {
    reader: LineReader,
    writer: Box<dyn Write + Send>,
    buffer: Box<[u8]>,
    /// Received bytes from `start` to `end`.
    start: usize,
    end: usize,
    ended: Arc<AtomicBool>,
    /// How long the next look for bytes may wait for them.
    patience: Rc<Cell<Duration>>,
}

impl StreamPort {
    pub(super) fn new(
        reader: LineReader,
        writer: Box<dyn Write + Send>,
        patience: Rc<Cell<Duration>>,
    ) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { reader, writer, buffer, start: 0, end: 0, ended: Arc::default(), patience }
    }

    /// Set when the line has ended.
    pub(super) fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }

    fn end_line(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Port for StreamPort {
    fn received(&mut self) -> &[u8] {
        if self.start == self.end && !self.ended.load(Ordering::Relaxed) {
            let patience = self.patience.take();
            if !patience.is_zero() {
                super::erase_stack(); // before what may be a long wait
            }
            // Both first: a read that passes without bytes must not leave the old ones behind.
            (self.start, self.end) = (0, 0);
            self.end = match (self.reader)(&mut self.buffer, patience) {
                Ok(Some(count)) => count.min(BUFFER),
                Ok(None) => return &[],
                Err(error) if is_passing(error.kind()) => return &[],
                Err(_) => 0,
            };
            if self.end == 0 {
                self.end_line();
            }
        }
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        match self.writer.write(bytes) {
            Ok(count @ 1..) => count,
            Err(error) if is_passing(error.kind()) => 0,
            // Nobody is there to read the rest.
            Ok(0) | Err(_) => {
                self.end_line();
                bytes.len()
            }
        }
    }
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Interrupted | ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
