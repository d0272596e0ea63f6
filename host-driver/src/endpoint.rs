//! The address of a device: the argument of `--hsm`.

use std::fmt;
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use hsm_protocol::domain::MAX_MEMBERS;

use crate::transport::Connector;
use crate::transport::serial::{DEFAULT_BAUD, SerialConnector};
use crate::transport::tcp::TcpConnector;
use crate::transport::unix::UnixConnector;

/// Where one device, or a number of them, is to be found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// `soft[:N]`: devices in this process.
    Soft(NonZeroU8),
    /// `qemu[:N]`: emulated devices, started and supervised by the host.
    Qemu(NonZeroU8),
    /// A device at the end of a line.
    Line(Line),
}

/// A line to one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// `serial:PATH`: a tty.
    Serial(String),
    /// `tcp:HOST:PORT`.
    Tcp(String),
    /// `unix:PATH`: a stream socket.
    Unix(PathBuf),
}

/// The text is not an endpoint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is not a device; write soft[:N], qemu[:N], serial:PATH, tcp:HOST:PORT or unix:PATH, \
     with N from 1 to {MAX_MEMBERS}"
)]
pub struct BadEndpoint(String);

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) => (scheme, Some(rest)),
            None => (text, None),
        };
        let path = || rest.filter(|rest| !rest.is_empty()).map(str::to_owned);
        match scheme {
            "soft" => count(rest).map(Self::Soft),
            "qemu" => count(rest).map(Self::Qemu),
            "serial" => path().map(Line::Serial).map(Self::Line),
            "tcp" => path().filter(|address| is_address(address)).map(Line::Tcp).map(Self::Line),
            "unix" => path().map(PathBuf::from).map(Line::Unix).map(Self::Line),
            _ => None,
        }
        .ok_or_else(|| BadEndpoint(text.to_owned()))
    }
}

/// The number of devices: 1 if it is not given.
fn count(text: Option<&str>) -> Option<NonZeroU8> {
    match text {
        None => Some(NonZeroU8::MIN),
        Some(text) => {
            text.parse().ok().filter(|count: &NonZeroU8| usize::from(count.get()) <= MAX_MEMBERS)
        }
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Soft(count) => write!(f, "soft:{count}"),
            Self::Qemu(count) => write!(f, "qemu:{count}"),
            Self::Line(line) => line.fmt(f),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "serial:{path}"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Line {
    /// Opens transports along this line.
    #[must_use]
    pub fn connector(&self) -> Arc<dyn Connector> {
        match self.clone() {
            Self::Serial(path) => Arc::new(SerialConnector { path, baud: DEFAULT_BAUD }),
            Self::Tcp(address) => Arc::new(TcpConnector { address }),
            Self::Unix(path) => Arc::new(UnixConnector { path }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for (text, written) in [
            ("soft", "soft:1"),
            ("soft:3", "soft:3"),
            ("qemu", "qemu:1"),
            ("qemu:8", "qemu:8"),
            ("serial:/dev/ttyACM0", "serial:/dev/ttyACM0"),
            ("tcp:hsm.example:4000", "tcp:hsm.example:4000"),
            ("tcp:[::1]:4000", "tcp:[::1]:4000"),
            ("unix:/run/a:b.sock", "unix:/run/a:b.sock"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), written);
            assert_eq!(written.parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "soft:0",
            "soft:9",
            "qemu:",
            "qemu:x",
            "qemu:+1x",
            "serial:",
            "serial",
            "tcp:host",
            "tcp::1",
            "tcp:host:0",
            "tcp:host:99999",
            "unix:",
            "usb:1",
            "SOFT",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("write soft[:N]"), "{text}: {error}");
        }
    }
}
