//! Where a port is.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use super::{ConfigError, value};

/// An address and a port, or a name and a port with the addresses that the name has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    host: String,
    is_name: bool,
    /// One at least, all with the same port.
    addresses: Vec<SocketAddr>,
}

impl Listen {
    /// Reads `ADDR:PORT` or `NAME:PORT`, the setting `flag`; a name is resolved.
    pub(super) fn resolve(flag: &str, text: &str) -> Result<Self, ConfigError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::from(address));
        }
        let wrong = || {
            value(format_args!(
                "{flag} {text:?} is not ADDR:PORT or NAME:PORT, such as 127.0.0.1:8700 or \
                 localhost:8700"
            ))
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let of_name = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
        if host.is_empty() || !host.bytes().all(of_name) {
            return Err(wrong());
        }
        let mut addresses: Vec<SocketAddr> = (host, port)
            .to_socket_addrs()
            .map_err(|error| value(format_args!("{flag} {text}: {host} has no address: {error}")))?
            .collect();
        addresses.sort();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(value(format_args!("{flag} {text}: {host} has no address")));
        }
        Ok(Self { host: host.to_ascii_lowercase(), is_name: true, addresses })
    }

    /// The addresses, one at least.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether nobody but this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
    }

    /// What clients may call it: the name that was given, and its addresses. Not those that
    /// stand for all of this machine's.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let name = self.is_name.then(|| self.host.clone());
        let addresses = self.addresses.iter().map(SocketAddr::ip);
        let addresses = addresses.filter(|address| !address.is_unspecified());
        name.into_iter().chain(addresses.map(|address: IpAddr| address.to_string()))
    }

    /// Its URL, once it is known which port was bound.
    #[must_use]
    pub fn url(&self, scheme: &str, port: u16) -> String {
        match self.host.contains(':') {
            true => format!("{scheme}://[{}]:{port}", self.host),
            false => format!("{scheme}://{}:{port}", self.host),
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), is_name: false, addresses: vec![address] }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.addresses.first().map_or(0, SocketAddr::port);
        f.write_str(self.url("", port).trim_start_matches("://"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Listen, String> {
        Listen::resolve("listen", text).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_and_names() {
        let listen = resolve("localhost:8700").unwrap();
        assert!(listen.is_loopback() && listen.addresses().len() <= 2, "{listen:?}");
        assert!(listen.addresses().iter().all(|address| address.port() == 8700));
        assert_eq!(listen.to_string(), "localhost:8700");
        assert_eq!(listen.url("http", 9), "http://localhost:9");
        assert_eq!(listen.names().next().as_deref(), Some("localhost"));
        let listen = resolve("[::1]:8700").unwrap();
        assert_eq!((listen.to_string().as_str(), listen.is_loopback()), ("[::1]:8700", true));
        assert_eq!(listen.url("https", 1), "https://[::1]:1");
        let listen = resolve("0.0.0.0:1").unwrap();
        assert!(!listen.is_loopback() && listen.names().next().is_none());
        assert_eq!(resolve("192.0.2.1:1").unwrap().names().collect::<Vec<_>>(), ["192.0.2.1"]);
    }

    #[test]
    fn what_is_no_place_is_refused_with_an_example() {
        for text in ["", "8700", "localhost", ":8700", "localhost:", "localhost:70000", "a b:1"] {
            let error = resolve(text).unwrap_err();
            assert!(error.contains("127.0.0.1:8700"), "{text}: {error}");
        }
        let error = resolve("no-such-host.invalid:8700").unwrap_err();
        assert!(error.contains("no-such-host.invalid has no address"), "{error}");
    }
}
