//! External key store proxies that the daemon may call.

use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, value};
use crate::proxy::{AllowedHost, DEFAULT_LIMIT};
use kms_installation::settings::Settings;

/// Limits of the time that a call may take, in milliseconds.
const LIMITS: std::ops::RangeInclusive<u64> = 50..=5000;

/// How external key store proxies are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XksProxies {
    /// The hosts that custom key stores may name.
    pub hosts: Vec<AllowedHost>,
    /// Further authorities, PEM.
    pub authorities: Option<PathBuf>,
    /// Certificate chain and private key to show, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long a call may take.
    pub limit: Duration,
}

/// Reads the settings of proxies; `None` if no host is named.
pub(super) fn resolve(given: &Settings) -> Result<Option<XksProxies>, ConfigError> {
    let identity = match (&given.xks_proxy_cert, &given.xks_proxy_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        _ => {
            let text = "xks-proxy-cert and xks-proxy-key belong together: give both or none";
            return Err(value(text));
        }
    };
    let limit = match given.xks_proxy_timeout {
        None => DEFAULT_LIMIT,
        Some(limit) if LIMITS.contains(&limit) => Duration::from_millis(limit),
        Some(_) => return Err(value("xks-proxy-timeout must be 50 to 5000 milliseconds")),
    };
    let read = |text: &String| {
        AllowedHost::parse(text).map_err(|error| value(format_args!("xks-proxy-allow {error}")))
    };
    let texts = given.xks_proxy_allow.iter().flatten();
    let hosts = texts.map(read).collect::<Result<Vec<_>, _>>()?;
    let authorities = given.xks_proxy_ca.clone();
    if hosts.is_empty() && (authorities.is_some() || identity.is_some()) {
        let text = "xks-proxy-ca and xks-proxy-cert are for external key store proxies; name their \
                    hosts with --xks-proxy-allow";
        return Err(value(text));
    }
    for (index, host) in hosts.iter().enumerate() {
        if hosts[..index].iter().any(|other| other.name == host.name) {
            return Err(value(format_args!("xks-proxy-allow {} is given twice", host.name)));
        }
    }
    Ok((!hosts.is_empty()).then_some(XksProxies { hosts, authorities, identity, limit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(hosts: &[&str]) -> Settings {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Settings { xks_proxy_allow: Some(hosts), ..Settings::default() }
    }

    #[test]
    fn proxies_are_called_where_the_operator_says() {
        assert_eq!(resolve(&Settings::default()).unwrap(), None);
        let found = resolve(&given(&["xks.example.com"])).unwrap().unwrap();
        assert_eq!((found.hosts.len(), found.limit), (1, DEFAULT_LIMIT));
        for wrong in [
            given(&["*"]),
            given(&["a.example", "A.example=192.0.2.1:443"]),
            Settings { xks_proxy_timeout: Some(49), ..given(&["a.example"]) },
            Settings { xks_proxy_cert: Some("c".into()), ..given(&["a.example"]) },
            Settings { xks_proxy_ca: Some("c".into()), ..Settings::default() },
        ] {
            assert!(resolve(&wrong).is_err(), "{wrong:?}");
        }
    }
}
