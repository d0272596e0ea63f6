//! Unix sockets: how QEMU's serial ports are attached by default.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::socket::{self, SEND_PATIENCE};
use super::{Connector, Transport, TransportError};

/// A connected unix stream socket.
#[derive(Debug)]
pub struct Unix(UnixStream);

impl Unix {
    /// Connects to the socket at `path`, at most 107 bytes long (`sun_path` in unix(7)).
    ///
    /// # Errors
    /// [`TransportError::Open`].
    pub fn connect(path: &Path) -> Result<Self, TransportError> {
        UnixStream::connect(path).and_then(Self::from_stream).map_err(|source| {
            TransportError::Open {
                target: format!("unix:{}", path.display()),
                source,
                advice: "check the path and your permissions, and that the device is running",
            }
        })
    }

    /// Takes over a connected stream.
    ///
    /// # Errors
    /// What the operating system answers to the stream's options.
    pub fn from_stream(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(SEND_PATIENCE))?;
        Ok(Self(stream))
    }
}

socket::transport!(Unix, UnixStream);

/// Connects to one socket each time.
#[derive(Clone, Debug)]
pub struct UnixConnector {
    /// The socket.
    pub path: PathBuf,
}

impl Connector for UnixConnector {
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        Ok(Box::new(Unix::connect(&self.path)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::conformance;

    #[test]
    fn behaves_as_a_transport() {
        conformance::check(|| {
            let (near, far) = UnixStream::pair().unwrap();
            let near = Unix::from_stream(near).unwrap();
            (Box::new(near), Box::new(Unix::from_stream(far).unwrap()))
        });
    }

    #[test]
    fn nobody_listens() {
        let error = Unix::connect(Path::new("/nonexistent/socket")).unwrap_err().to_string();
        assert!(error.contains("unix:/nonexistent/socket") && error.contains("check the path"));
    }
}
