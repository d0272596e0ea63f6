//! The hosts that the operator lets custom key stores name.

use std::net::{IpAddr, SocketAddr};

/// A host on which there may be a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// The DNS name in lower case, which is that of the certificate as well.
    pub name: String,
    /// Where to connect to instead of port 443 of what the name resolves to.
    pub address: Option<SocketAddr>,
}

impl AllowedHost {
    /// Reads `HOST` or `HOST=ADDRESS:PORT`.
    ///
    /// # Errors
    /// What to say to whoever wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, address) = match text.split_once('=') {
            None => (text, None),
            Some((name, address)) => {
                let parsed = address.parse().map_err(|_| {
                    format!("{address:?} is not an address with a port such as 192.0.2.1:443")
                })?;
                (name, Some(parsed))
            }
        };
        let name = name.to_ascii_lowercase();
        let of_label = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(of_label)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // The resolvers of some systems read numbers such as 0x7f.1 as addresses.
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.starts_with(|c: char| c.is_ascii_digit());
        let is_name = name.len() <= 120 && name.split('.').all(is_label);
        if !is_name || is_number || name.parse::<IpAddr>().is_ok() {
            return Err(format!(
                "{name:?} is not the DNS name of a host, such as xks.example.com; give names \
                 without scheme, port or wildcard"
            ));
        }
        Ok(Self { name, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_names() {
        let host = AllowedHost::parse("XKS.example.com").unwrap();
        assert_eq!(host, AllowedHost { name: "xks.example.com".to_owned(), address: None });
        let host = AllowedHost::parse("localhost=127.0.0.1:9443").unwrap();
        assert_eq!(host.address, Some("127.0.0.1:9443".parse().unwrap()));
        for text in [
            "",
            "*",
            "*.example.com",
            "192.0.2.1",
            "[::1]",
            "0x7f.1",
            "2130706433",
            "a..b",
            "-a",
            "https://a",
            "a:443",
            "a=b:443",
            "a=192.0.2.1",
            "a b",
            "a/b",
            "a.b.",
        ] {
            assert!(AllowedHost::parse(text).is_err(), "{text}");
        }
    }
}
