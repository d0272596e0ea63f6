//! Shows the bytes of a transport to an observer.
//!
//! The contents of the channel stay sealed: nothing here has a key.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Connector, Halves, Receiver, Sender, Transport, TransportError};

/// Which way bytes went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Host to device.
    ToDevice,
    /// Device to host.
    ToHost,
}

/// Sees the bytes of a transport; called by the threads that send and receive.
pub trait Observer: Send + Sync {
    /// `bytes` went in `direction`, `since` the transport was opened.
    fn observe(&self, direction: Direction, since: Duration, bytes: &[u8]);
}

impl<F: Fn(Direction, Duration, &[u8]) + Send + Sync> Observer for F {
    fn observe(&self, direction: Direction, since: Duration, bytes: &[u8]) {
        self(direction, since, bytes);
    }
}

/// Writes a line for each send and receive: seconds, direction (`>` to the device), hexadecimal.
pub struct HexLines<W>(Mutex<W>);

impl<W: Write + Send> HexLines<W> {
    /// Writes to `out`. If that fails the trace has a hole; the traffic goes on.
    pub const fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }
}

impl<W: Write + Send> Observer for HexLines<W> {
    fn observe(&self, direction: Direction, since: Duration, bytes: &[u8]) {
        let arrow = if direction == Direction::ToDevice { '>' } else { '<' };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(out, "{:12.6} {arrow} {hex}", since.as_secs_f64());
    }
}

/// A transport that shows its bytes.
pub struct Trace {
    inner: Box<dyn Transport>,
    observer: Arc<dyn Observer>,
}

impl Trace {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Box<dyn Transport>, observer: Arc<dyn Observer>) -> Self {
        Self { inner, observer }
    }
}

impl Transport for Trace {
    fn split(self: Box<Self>) -> Result<Halves, TransportError> {
        let Halves { sender, receiver } = self.inner.split()?;
        let (observer, opened) = (self.observer, Instant::now());
        let sender = Traced { inner: sender, observer: Arc::clone(&observer), opened };
        let receiver = Traced { inner: receiver, observer, opened };
        Ok(Halves { sender: Box::new(sender), receiver: Box::new(receiver) })
    }
}

/// Traces every transport that `inner` opens.
pub struct TraceConnector<C> {
    /// Opens the transports.
    pub inner: C,
    /// Sees their bytes.
    pub observer: Arc<dyn Observer>,
}

impl<C: Connector> Connector for TraceConnector<C> {
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        Ok(Box::new(Trace::new(self.inner.connect()?, Arc::clone(&self.observer))))
    }
}

struct Traced<T> {
    inner: T,
    observer: Arc<dyn Observer>,
    opened: Instant,
}

impl Sender for Traced<Box<dyn Sender>> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.inner.send(bytes)?;
        self.observer.observe(Direction::ToDevice, self.opened.elapsed(), bytes);
        Ok(())
    }

    fn close(&mut self) {
        self.inner.close();
    }
}

impl Receiver for Traced<Box<dyn Receiver>> {
    fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> Result<usize, TransportError> {
        let count = self.inner.receive(buffer, patience)?;
        if let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) {
            self.observer.observe(Direction::ToHost, self.opened.elapsed(), bytes);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::loopback;

    #[test]
    fn both_directions_are_written() {
        struct Shared(Arc<Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        let log = Arc::new(Mutex::new(Vec::new()));
        let observer = Arc::new(HexLines::new(Shared(Arc::clone(&log))));
        let (near, mut far) = loopback::pair();
        let mut near = Box::new(Trace::new(Box::new(near), observer)).split().unwrap();
        near.sender.send(&[0xAB, 0]).unwrap();
        far.writer.write_all(&[0xCD]).unwrap();
        near.receiver.receive(&mut [0; 8], Duration::from_secs(1)).unwrap();
        near.receiver.receive(&mut [0; 8], Duration::ZERO).unwrap();

        let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = log.lines().map(|line| &line[13..]).collect();
        assert_eq!(lines, ["> ab00", "< cd"]);
    }
}
