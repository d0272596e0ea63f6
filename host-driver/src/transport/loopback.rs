//! An in-process byte pipe: the line to a device that runs in this process.
//!
//! The far end is a pair of blocking [`Read`] and [`Write`] halves, for the main loop of a device
//! on the host; it is a [`Transport`] as well.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Connector, Halves, Receiver, Sender, Sink, Transport, TransportError};

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
#[derive(Default)]
struct Pipe {
    state: Mutex<PipeState>,
    changed: Condvar,
    /// Takes what is written instead of the reader.
    sink: Mutex<Option<Sink>>,
}

#[derive(Debug, Default)]
struct PipeState {
    bytes: VecDeque<u8>,
    closed: bool,
    /// Threads that wait for a change.
    waiting: usize,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, PipeState> {
        lock(&self.state)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The state once `wait` is over, or the patience.
    fn wait_while(
        &self,
        patience: Duration,
        wait: impl Fn(&PipeState) -> bool,
    ) -> MutexGuard<'_, PipeState> {
        let mut state = self.lock();
        if !wait(&state) {
            return state;
        }
        state.waiting += 1;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, patience, |state| wait(state))
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    /// Lets go of the state, which has changed. Waking costs a call of the kernel, needed or not.
    fn tell(&self, state: MutexGuard<'_, PipeState>) {
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.changed.notify_all();
        }
    }

    /// Takes bytes; 0 at the end of the stream, `None` if none came within `patience`.
    fn take(&self, out: &mut [u8], patience: Duration) -> Option<usize> {
        let empty = |state: &PipeState| state.bytes.is_empty() && !state.closed;
        let mut state = self.wait_while(patience, empty);
        if empty(&state) {
            return None;
        }
        // Reading a deque takes what its first slice holds, or more: never fails.
        let count = state.bytes.read(out).unwrap_or(0);
        self.tell(state);
        Some(count)
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().fmt(f)
    }
}

/// A panic elsewhere spoils nothing: the data is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn hand_to(&mut self, mut sink: Sink) -> Result<(), Sink> {
        // The writer waits for this, so that nothing overtakes what is here already.
        let mut present = lock(&self.0.sink);
        let mut state = self.0.lock();
        let early = Vec::from(mem::take(&mut state.bytes));
        self.0.tell(state);
        // Not under the state's lock: a sink may close the pipe.
        if !early.is_empty() {
            sink(&early);
        }
        *present = Some(sink);
        Ok(())
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
        if let Some(sink) = &mut *lock(&self.0.sink) {
            if self.0.lock().closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            sink(bytes);
            return Ok(());
        }
        let full = |state: &PipeState| state.bytes.len() >= CAPACITY && !state.closed;
        let mut state = self.0.wait_while(patience, full);
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if full(&state) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        state.bytes.extend(bytes);
        self.0.tell(state);
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
    fn what_is_written_is_handed_to_a_sink() {
        let (near, mut far) = pair();
        far.writer.write_all(b"before").unwrap();
        let Halves { mut sender, mut receiver } = Box::new(near).split().unwrap();
        let handed = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&handed);
        receiver.hand_to(Box::new(move |bytes| lock(&sink).extend_from_slice(bytes))).ok().unwrap();
        far.writer.write_all(b" and after").unwrap();
        assert_eq!(*lock(&handed), b"before and after");
        assert_eq!(receiver.receive(&mut [0; 8], Duration::from_millis(1)).unwrap(), 0);
        sender.close();
        let error = far.writer.write_all(b"too late").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(receiver.receive(&mut [0; 8], Duration::MAX).is_err(), "the stream has ended");
        assert_eq!(*lock(&handed), b"before and after");
    }

    #[test]
    fn a_sink_may_close_the_pipe_at_what_was_there_early() {
        let (near, mut far) = pair();
        far.writer.write_all(b"early").unwrap();
        let Halves { mut sender, mut receiver } = Box::new(near).split().unwrap();
        let sink = move |bytes: &[u8]| {
            assert_eq!(bytes, b"early");
            sender.close();
        };
        assert!(receiver.hand_to(Box::new(sink)).is_ok());
        assert!(receiver.receive(&mut [0; 8], Duration::MAX).is_err(), "the stream has ended");
        assert_eq!(far.writer.write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
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
