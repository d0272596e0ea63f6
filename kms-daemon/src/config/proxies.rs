//! External key store proxies that the daemon may call.

use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, value};
use crate::proxy::{AllowedHost, DEFAULT_LIMIT, EndpointService};
use kms_installation::settings::Settings;

/// Limits of the time that a call may take, in milliseconds.
const LIMITS: std::ops::RangeInclusive<u64> = 50..=5000;

/// How external key store proxies are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XksProxies {
    /// The hosts that custom key stores may name.
    pub hosts: Vec<AllowedHost>,
    /// The VPC endpoint services that they may name, with their hosts.
    pub services: Vec<EndpointService>,
    /// Further authorities, PEM.
    pub authorities: Option<PathBuf>,
    /// Certificate chain and private key to show, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long a call may take.
    pub limit: Duration,
}

/// Reads the settings of proxies; `None` if neither a host nor a service is named.
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
    let read = |text: &String| {
        EndpointService::parse(text).map_err(|error| value(format_args!("xks-proxy-vpc {error}")))
    };
    let texts = given.xks_proxy_vpc.iter().flatten();
    let services = texts.map(read).collect::<Result<Vec<_>, _>>()?;
    let authorities = given.xks_proxy_ca.clone();
    let none = hosts.is_empty() && services.is_empty();
    let is_for_some =
        authorities.is_some() || identity.is_some() || given.xks_proxy_timeout.is_some();
    if none && is_for_some {
        let text = "xks-proxy-ca, xks-proxy-cert and xks-proxy-timeout are for external key store proxies; \
                    name their hosts with --xks-proxy-allow or --xks-proxy-vpc";
        return Err(value(text));
    }
    for (index, host) in hosts.iter().enumerate() {
        if hosts[..index].iter().any(|other| other.name == host.name) {
            return Err(value(format_args!("xks-proxy-allow {} is given twice", host.name)));
        }
    }
    for (index, service) in services.iter().enumerate() {
        if services[..index].iter().any(|other| other.name == service.name) {
            return Err(value(format_args!("xks-proxy-vpc {} is given twice", service.name)));
        }
    }
    let proxies = XksProxies { hosts, services, authorities, identity, limit };
    Ok((!none).then_some(proxies))
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
        let services = |hosts: &[&str]| {
            let name = |host| format!("com.amazonaws.vpce.us-east-1.vpce-svc-0={host}");
            let services = hosts.iter().map(name).collect();
            Settings { xks_proxy_vpc: Some(services), ..Settings::default() }
        };
        let found = resolve(&services(&["a.example"])).unwrap().unwrap();
        assert_eq!((found.hosts.len(), found.services.len()), (0, 1));
        for wrong in [
            given(&["*"]),
            given(&["a.example", "A.example=192.0.2.1:443"]),
            Settings { xks_proxy_timeout: Some(49), ..given(&["a.example"]) },
            Settings { xks_proxy_cert: Some("c".into()), ..given(&["a.example"]) },
            Settings { xks_proxy_ca: Some("c".into()), ..Settings::default() },
            Settings { xks_proxy_timeout: Some(300), ..Settings::default() },
            services(&["*"]),
            services(&["a.example", "b.example"]),
        ] {
            assert!(resolve(&wrong).is_err(), "{wrong:?}");
        }
    }
}
