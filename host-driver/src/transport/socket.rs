//! Code shared by TCP and Unix sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use super::{Halves, Receiver, Sender, TransportError};

/// How long a send may wait for the peer before the stream counts as broken.
///
/// Credit keeps less in flight than a socket buffers, so only a stalled peer gets there.
pub(super) const SEND_PATIENCE: Duration = Duration::from_secs(1);

/// A connected stream socket whose options are set.
pub(super) trait Socket: Read + Write + Send + Sized + 'static {
    fn try_clone(&self) -> io::Result<Self>;
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()>;
    fn shutdown(&self) -> io::Result<()>;
}

/// Makes a transport of a type that wraps a stream of the standard library, whose kinds of socket have the
/// same methods and no trait for them.
macro_rules! transport {
    ($transport:ident, $stream:ident) => {
        impl $crate::transport::Transport for $transport {
            fn split(
                self: Box<Self>,
            ) -> Result<$crate::transport::Halves, $crate::transport::TransportError> {
                $crate::transport::socket::split(self.0)
            }
        }

        impl $crate::transport::socket::Socket for $stream {
            fn try_clone(&self) -> std::io::Result<Self> {
                self.try_clone()
            }

            fn set_read_timeout(&self, timeout: std::time::Duration) -> std::io::Result<()> {
                self.set_read_timeout(Some(timeout))
            }

            fn shutdown(&self) -> std::io::Result<()> {
                self.shutdown(std::net::Shutdown::Both)
            }
        }
    };
}
pub(super) use transport;

pub(super) fn split<S: Socket>(socket: S) -> Result<Halves, TransportError> {
    let receiver = Receiving { socket: socket.try_clone()?, patience: None };
    Ok(Halves { sender: Box::new(Sending(socket)), receiver: Box::new(receiver) })
}

struct Sending<S>(S);

impl<S: Socket> Sender for Sending<S> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        Ok(self.0.write_all(bytes)?)
    }

    fn close(&mut self) {
        // Fails only if the peer was faster.
        let _ = self.0.shutdown();
    }
}

struct Receiving<S> {
    socket: S,
    /// As last told to the operating system, to save a system call for each read.
    patience: Option<Duration>,
}

impl<S: Socket> Receiver for Receiving<S> {
    fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> Result<usize, TransportError> {
        if self.patience != Some(patience) {
            self.socket.set_read_timeout(patience)?;
            self.patience = Some(patience);
        }
        match self.socket.read(buffer) {
            Ok(0) => Err(TransportError::Closed),
            Ok(count) => Ok(count),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(0),
                _ => Err(error.into()),
            },
        }
    }
}
