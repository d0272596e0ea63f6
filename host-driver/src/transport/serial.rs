//! Serial lines: a board's tty, or the pty of an emulator.
//!
//! The line is set raw, 8N1, without flow control, and opened exclusively (`TIOCEXCL` and
//! flock). DTR and RTS stay as the kernel's driver sets them: toggling them resets some boards,
//! and a pty has none.

use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serialport::{DataBits, FlowControl, Parity, SerialPort, StopBits, TTYPort};

use super::{Connector, Halves, Receiver, Sender, Transport, TransportError};

/// Speed of a real line in bits per second; a pty and USB CDC ignore it.
pub const DEFAULT_BAUD: u32 = 115_200;

/// How long the writing thread waits for a line that takes no bytes before it looks whether the
/// transport was closed.
const WRITE_PATIENCE: Duration = Duration::from_millis(200);

/// An open serial line.
#[derive(Debug)]
pub struct Serial(TTYPort);

impl Serial {
    /// Opens `path` at `baud` bits per second.
    ///
    /// # Errors
    /// [`TransportError::Open`].
    pub fn open(path: &str, baud: u32) -> Result<Self, TransportError> {
        let line = serialport::new(path, baud)
            .data_bits(DataBits::Eight)
            .parity(Parity::None)
            .stop_bits(StopBits::One)
            .flow_control(FlowControl::None)
            .timeout(WRITE_PATIENCE);
        TTYPort::open(&line).map(Self).map_err(|error| TransportError::Open {
            target: format!("serial:{path}"),
            source: error.into(),
            advice: "check that the board is plugged in, that you are in the group of the \
                     device file (dialout on Debian), and that no other program has it open",
        })
    }
}

impl Transport for Serial {
    fn split(self: Box<Self>) -> Result<Halves, TransportError> {
        let refused = |error: serialport::Error| TransportError::Io(error.into());
        let receiver = SerialReceiver(self.0.try_clone_native().map_err(refused)?);
        let sender = SerialSender::start(self.0)?;
        Ok(Halves { sender: Box::new(sender), receiver: Box::new(receiver) })
    }
}

/// Opens one line each time.
#[derive(Clone, Debug)]
pub struct SerialConnector {
    /// Device file.
    pub path: String,
    /// Bits per second.
    pub baud: u32,
}

impl Connector for SerialConnector {
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        Ok(Box::new(Serial::open(&self.path, self.baud)?))
    }
}

struct SerialReceiver(TTYPort);

impl Receiver for SerialReceiver {
    fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> Result<usize, TransportError> {
        self.0.set_timeout(patience).map_err(|error| TransportError::Io(error.into()))?;
        match self.0.read(buffer) {
            Ok(0) => Err(TransportError::Closed),
            Ok(count) => Ok(count),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A tty buffers 4 KiB and drains at line speed, so a thread of its own does the waiting.
/// Credit bounds what it has queued.
struct SerialSender(Arc<Outbox>);

#[derive(Default)]
struct Outbox {
    state: Mutex<OutboxState>,
    changed: Condvar,
}

#[derive(Default)]
struct OutboxState {
    bytes: Vec<u8>,
    closed: bool,
    failed: Option<std::io::Error>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        // The state is whole between any two statements, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Swaps queued bytes into `batch`; false once the transport is closed.
    fn next(&self, batch: &mut Vec<u8>) -> bool {
        let idle = |state: &mut OutboxState| state.bytes.is_empty() && !state.closed;
        let mut state =
            self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        batch.clear();
        std::mem::swap(&mut state.bytes, batch);
        !state.closed
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

impl SerialSender {
    fn start(port: TTYPort) -> Result<Self, TransportError> {
        let outbox = Arc::new(Outbox::default());
        let queue = Arc::clone(&outbox);
        thread::Builder::new().name("hsm-serial".to_owned()).spawn(move || drain(port, &queue))?;
        Ok(Self(outbox))
    }
}

fn drain(mut port: TTYPort, outbox: &Outbox) {
    let mut batch = Vec::new();
    while outbox.next(&mut batch) {
        let mut rest = batch.as_slice();
        while !rest.is_empty() && !outbox.is_closed() {
            match port.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(error) => {
                    outbox.lock().failed = Some(error);
                    return;
                }
            }
        }
    }
}

impl Sender for SerialSender {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let mut state = self.0.lock();
        if let Some(error) = state.failed.take() {
            state.closed = true;
            return Err(error.into());
        }
        if state.closed {
            return Err(TransportError::Closed);
        }
        state.bytes.extend_from_slice(bytes);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    fn close(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl Drop for SerialSender {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::conformance;

    #[test]
    fn pty_behaves_as_a_transport() {
        conformance::check_without_end(|| {
            let (near, far) = TTYPort::pair().unwrap();
            (Box::new(Serial(near)), Box::new(Serial(far)))
        });
    }

    #[test]
    fn no_such_line() {
        let error = Serial::open("/dev/nonexistent", DEFAULT_BAUD).unwrap_err().to_string();
        assert!(error.contains("serial:/dev/nonexistent") && error.contains("dialout"));
    }

    #[test]
    fn a_line_is_opened_once() {
        let (_master, line) = TTYPort::pair().unwrap();
        let path = line.name().unwrap();
        drop(line);
        let first = Serial::open(&path, DEFAULT_BAUD).unwrap();
        assert!(Serial::open(&path, DEFAULT_BAUD).is_err());
        drop(first);
        assert!(Serial::open(&path, DEFAULT_BAUD).is_ok());
    }
}
