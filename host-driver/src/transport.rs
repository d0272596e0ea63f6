//! Byte streams to a device.
//!
//! A [`Transport`] splits in two halves, so that callers send while one thread per device receives.
//! Transports know nothing about frames; the layers above detect any loss, damage or reordering.

use std::io;
use std::time::Duration;

pub mod fault;
pub mod loopback;
pub mod serial;
mod socket;
pub mod tcp;
pub mod trace;
pub mod unix;

#[cfg(test)]
mod conformance;

/// An open byte stream to a device.
pub trait Transport: Send {
    /// Splits into the sending and the receiving half.
    ///
    /// # Errors
    /// [`TransportError`] if the operating system refuses.
    fn split(self: Box<Self>) -> Result<Halves, TransportError>;
}

/// The two halves of a [`Transport`].
pub struct Halves {
    /// Towards the device.
    pub sender: Box<dyn Sender>,
    /// From the device.
    pub receiver: Box<dyn Receiver>,
}

/// The half that sends.
pub trait Sender: Send {
    /// Sends all of `bytes`, or queues them; never waits for a slow line.
    ///
    /// # Errors
    /// [`TransportError`]: part of `bytes` may be on the line; the transport is of no more use.
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError>;

    /// Ends the stream in both directions. A waiting [`Receiver`] learns of it at the latest
    /// when its patience ends.
    fn close(&mut self);
}

/// The half that receives.
pub trait Receiver: Send {
    /// Waits for bytes and returns how many were put at the start of `buffer`; 0 if none came
    /// within `patience`.
    ///
    /// # Errors
    /// [`TransportError`], with [`TransportError::Closed`] at the end of the stream.
    fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> Result<usize, TransportError>;

    /// Has all bytes handed to `sink` by whoever writes them, where both ends are in one process: that
    /// saves a thread that passes them on. Only the end of the stream is received from then on.
    ///
    /// # Errors
    /// The sink, if the transport has no such writer.
    fn hand_to(&mut self, sink: Sink) -> Result<(), Sink> {
        Err(sink)
    }
}

/// Takes bytes as they are written. It must not wait for whoever writes them.
pub type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// Opens transports to one device, again and again.
pub trait Connector: Send + Sync {
    /// Opens a transport.
    ///
    /// # Errors
    /// [`TransportError::Open`] with what to do about it.
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError>;
}

impl<F> Connector for F
where
    F: Fn() -> Result<Box<dyn Transport>, TransportError> + Send + Sync,
{
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        self()
    }
}

/// Why a transport failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// It could not be opened.
    #[error("cannot open {target}: {source}; {advice}")]
    Open {
        /// What was to be opened.
        target: String,
        /// The operating system's reason.
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The stream ended.
    #[error("the device closed the line; check that it is powered and running")]
    Closed,
    /// The operating system reported an error on the open stream.
    #[error("the line to the device failed: {0}; check the cable or the emulator")]
    Io(#[source] io::Error),
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
