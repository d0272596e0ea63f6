//! An in-process byte pipe: the line to a device that runs in this process.
//!
//! The far end is a pair of blocking [`Read`] and [`Write`] halves, for the main loop of a device
//! on the host; it is a [`Transport`] as well.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Connector, Halves, Receiver, Sender, Transport, TransportError};

/// Bytes that each direction holds before its writer waits, as much as a socket would.
const CAPACITY: usize = 256 * 1024;

/// One end of the pipe.
#[derive(Debug)]
pub struct Loopback {
    /// What the other end wrote. Reading gives 0 bytes once that end is gone.
    pub reader: PipeReader,
    /// Towards the other end. Writing fails with `BrokenPipe` once that end is gone.
    pub writer: PipeWriter,
}

/// Makes a pipe and returns its two ends.
#[must_use]
pub fn pair() -> (Loopback, Loopback) {
    let (there, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    let near =
        Loopback { reader: PipeReader(Arc::clone(&back)), writer: PipeWriter(Arc::clone(&there)) };
    (near, Loopback { reader: PipeReader(there), writer: PipeWriter(back) })
}

/// Hands the far end of a new pipe to a device in this process, each time.
pub struct LoopbackConnector<F>(pub F);

impl<F> Connector for LoopbackConnector<F>
where
    F: Fn(Loopback) -> io::Result<()> + Send + Sync,
{
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        let (near, far) = pair();
        (self.0)(far).map_err(|source| TransportError::Open {
            target: "the in-process device".to_owned(),
            source,
            advice: "restart the process",
        })?;
        Ok(Box::new(near))
    }
}

impl Transport for Loopback {
    fn split(self: Box<Self>) -> Result<Halves, TransportError> {
        let sender = PipeSender { writer: self.writer, reply: Arc::clone(&self.reader.0) };
        Ok(Halves { sender: Box::new(sender), receiver: Box::new(self.reader) })
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<PipeState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PipeState {
    bytes: VecDeque<u8>,
    closed: bool,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, PipeState> {
        // The state is whole between any two statements, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes bytes; 0 at the end of the stream, `None` if none came within `patience`.
    fn take(&self, out: &mut [u8], patience: Duration) -> Option<usize> {
        let empty = |state: &mut PipeState| state.bytes.is_empty() && !state.closed;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, empty)
            .unwrap_or_else(PoisonError::into_inner);
        if empty(&mut state) {
            return None;
        }
        // Reading a deque takes what its first slice holds, or more: never fails.
        let count = state.bytes.read(out).unwrap_or(0);
        drop(state);
        self.changed.notify_all();
        Some(count)
    }
}

/// The reading half of an end.
#[derive(Debug)]
pub struct PipeReader(Arc<Pipe>);

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(count) = self.0.take(buffer, Duration::MAX) {
                return Ok(count);
            }
        }
    }
}

impl PipeReader {
    /// As [`Read::read`], but gives up after `patience` with `None`.
    pub fn read_timeout(&mut self, buffer: &mut [u8], patience: Duration) -> Option<usize> {
        self.0.take(buffer, patience)
    }
}

impl Receiver for PipeReader {
    fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> Result<usize, TransportError> {
        match self.0.take(buffer, patience) {
            Some(0) => Err(TransportError::Closed),
            Some(count) => Ok(count),
            None => Ok(0),
        }
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The writing half of an end.
#[derive(Debug)]
pub struct PipeWriter(Arc<Pipe>);

impl PipeWriter {
    fn put(&mut self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        let full = |state: &mut PipeState| state.bytes.len() >= CAPACITY && !state.closed;
        let (mut state, _) = self
            .0
            .changed
            .wait_timeout_while(self.0.lock(), patience, full)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if full(&mut state) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        state.bytes.extend(bytes);
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes, Duration::MAX)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The sending half; knows the other direction to end it as well.
struct PipeSender {
    writer: PipeWriter,
    reply: Arc<Pipe>,
}

impl Sender for PipeSender {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        Ok(self.writer.put(bytes, super::socket::SEND_PATIENCE)?)
    }

    fn close(&mut self) {
        self.writer.0.close();
        self.reply.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::conformance;

    #[test]
    fn behaves_as_a_transport() {
        conformance::check(|| {
            let (near, far) = pair();
            (Box::new(near), Box::new(far))
        });
    }

    #[test]
    fn ends_are_plain_io() {
        let (mut near, mut far) = pair();
        near.writer.write_all(b"ping").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(far.reader.read(&mut buffer).unwrap(), 4);
        assert_eq!(far.reader.read_timeout(&mut buffer, Duration::ZERO), None);
        drop(near);
        assert_eq!(far.reader.read(&mut buffer).unwrap(), 0);
        let error = far.writer.write_all(b"pong").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
