//! Where a device is: the values of `--hsm`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::transport::Connector;
use crate::transport::serial::SerialConnector;
use crate::transport::tcp::TcpConnector;
use crate::transport::unix::UnixConnector;

/// Speed of serial lines, in bits per second. USB serial devices ignore it.
const BAUD: u32 = 115_200;
/// Most devices one endpoint may ask for.
const MAX_DEVICES: u16 = 64;

/// One or more devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// This many devices inside the process.
    Soft(u16),
    /// This many emulated devices, started and supervised.
    Qemu(u16),
    /// A device on a serial line.
    Serial(PathBuf),
    /// A device behind a TCP port, `HOST:PORT`.
    Tcp(String),
    /// A device behind a Unix socket.
    Unix(PathBuf),
}

/// The text does not name a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no device; use soft[:N], qemu[:N], serial:PATH, tcp:HOST:PORT or unix:PATH, \
     with N from 1 to 64"
)]
pub struct NoEndpoint(String);

impl Endpoint {
    /// What connects to the device, for those that run by themselves; `None` for
    /// [`Endpoint::Soft`] and [`Endpoint::Qemu`], which have to be started first.
    #[must_use]
    pub fn connector(&self) -> Option<Arc<dyn Connector>> {
        Some(match self {
            Self::Soft(_) | Self::Qemu(_) => return None,
            Self::Serial(path) => {
                Arc::new(SerialConnector { path: path.display().to_string(), baud: BAUD })
            }
            Self::Tcp(address) => Arc::new(TcpConnector { address: address.clone() }),
            Self::Unix(path) => Arc::new(UnixConnector { path: path.clone() }),
        })
    }
}

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        let wrong = || NoEndpoint(text.to_owned());
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let count = || match rest {
            None => Ok(1),
            Some(count) => {
                count.parse().ok().filter(|n| (1..=MAX_DEVICES).contains(n)).ok_or_else(wrong)
            }
        };
        let path = || rest.filter(|path| !path.is_empty()).map(PathBuf::from).ok_or_else(wrong);
        match kind {
            "soft" => Ok(Self::Soft(count()?)),
            "qemu" => Ok(Self::Qemu(count()?)),
            "serial" => Ok(Self::Serial(path()?)),
            "unix" => Ok(Self::Unix(path()?)),
            "tcp" => {
                let (host, port) = rest.and_then(|rest| rest.rsplit_once(':')).ok_or_else(wrong)?;
                let port: u16 = port.parse().map_err(|_| wrong())?;
                match host.is_empty() || port == 0 {
                    true => Err(wrong()),
                    false => Ok(Self::Tcp(format!("{host}:{port}"))),
                }
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Soft(count) => write!(f, "soft:{count}"),
            Self::Qemu(count) => write!(f, "qemu:{count}"),
            Self::Serial(path) => write!(f, "serial:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back() {
        for text in
            ["soft:1", "qemu:64", "serial:/dev/ttyACM0", "tcp:[::1]:4000", "unix:/run/hsm.sock"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("soft".parse(), Ok(Endpoint::Soft(1)));
        assert_eq!("qemu:2".parse(), Ok(Endpoint::Qemu(2)));
    }

    #[test]
    fn nonsense_is_refused_with_the_forms() {
        for text in [
            "", "hard", "soft:", "soft:0", "qemu:65", "qemu:x", "serial:", "unix", "tcp:x",
            "tcp::1", "tcp:x:0",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("serial:PATH"), "{error}");
        }
    }
}
