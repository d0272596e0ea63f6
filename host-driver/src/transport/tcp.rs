//! TCP: an emulated device, or a serial line behind a terminal server.
//!
//! The channel authenticates and encrypts, so the network needs no protection of its own.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::socket::{self, SEND_PATIENCE};
use super::{Connector, Transport, TransportError};

const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// A TCP connection to a device.
#[derive(Debug)]
pub struct Tcp(TcpStream);

impl Tcp {
    /// Connects to `address`, a `HOST:PORT`; every address of the host is tried.
    ///
    /// # Errors
    /// [`TransportError::Open`].
    pub fn connect(address: &str) -> Result<Self, TransportError> {
        connect_any(address).and_then(Self::from_stream).map_err(|source| TransportError::Open {
            target: format!("tcp:{address}"),
            source,
            advice: "check host and port, and that the device listens there",
        })
    }

    /// Takes over a connected stream.
    ///
    /// # Errors
    /// What the operating system answers to the stream's options.
    pub fn from_stream(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?; // a frame is a whole message: nothing to wait for
        stream.set_write_timeout(Some(SEND_PATIENCE))?;
        Ok(Self(stream))
    }
}

fn connect_any(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

socket::transport!(Tcp, TcpStream);

/// Connects to one address each time.
#[derive(Clone, Debug)]
pub struct TcpConnector {
    /// `HOST:PORT`.
    pub address: String,
}

impl Connector for TcpConnector {
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        Ok(Box::new(Tcp::connect(&self.address)?))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::transport::conformance;

    #[test]
    fn behaves_as_a_transport() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        conformance::check(|| {
            let near = Tcp::connect(&address).unwrap();
            let far = Tcp::from_stream(listener.accept().unwrap().0).unwrap();
            (Box::new(near), Box::new(far))
        });
    }

    #[test]
    fn nobody_listens() {
        // A port that the system gives to nobody.
        let error = Tcp::connect("127.0.0.1:1").unwrap_err().to_string();
        assert!(error.contains("tcp:127.0.0.1:") && error.contains("check host and port"));
    }
}
