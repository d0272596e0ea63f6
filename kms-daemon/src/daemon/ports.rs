//! The ports, and the certificate that they show.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::signal::unix::Signal;

use super::DaemonError;
use crate::config::{Config, Listen, XksProxies};
use crate::http::{Limits, Pages, Server};
use crate::proxy::{MAX_CONNECTIONS, Proxies};
use kms_installation::tls::{self, MutualTls, Served, TlsError, is_wide};

/// Files that are open beside connections: those of health and metrics, those that are about to be
/// closed, devices, links, store and audit log.
const OTHER_FILES: u64 = 384;
/// The limit on connections to external key stores: another KMS keeps a few open and sends its requests over
/// them.
const EXTERNAL_CONNECTIONS: usize = 256;
/// Connections that are served however few files may be open.
const LEAST_CONNECTIONS: usize = 32;

/// Binds a port.
pub(super) async fn listen(
    (place, flag): (&Listen, &'static str),
    limits: Limits,
) -> Result<Server, DaemonError> {
    let bound = Server::bind(place.addresses(), limits).await;
    bound.map_err(|source| DaemonError::Listen { address: place.to_string(), flag, source })
}

/// Binds the port of external key stores, if they are served.
pub(super) async fn external_stores(
    config: &Config,
    limits: Limits,
) -> Result<Option<Server>, DaemonError> {
    let Some(place) = &config.xks_listen else { return Ok(None) };
    let connections = EXTERNAL_CONNECTIONS;
    let limits = Limits { connections, address: connections, ..limits };
    let server = listen((place, "--xks-listen"), limits).await?;
    Ok(Some(server.serving(Pages::ExternalStores)))
}

/// Sets how connections to external key stores are encrypted, and who may make one.
pub(super) fn external_over_tls(
    config: &Config,
    server: Server,
    certificate: &Arc<Served>,
) -> Result<(Server, Option<Arc<MutualTls>>), TlsError> {
    let Some((authorities, names)) = &config.xks_clients else {
        return Ok((server.over_tls(certificate.config()?), None));
    };
    let clients = MutualTls::new(Arc::clone(certificate), authorities.clone(), names.clone())?;
    Ok((server.over_mutual_tls(Arc::clone(&clients)), Some(clients)))
}

/// As many connections as there are file descriptors for.
pub(super) fn limits(config: &Config, files: u64) -> Limits {
    let limits = Limits::default();
    let external = config.xks_listen.as_ref().map_or(0, |_| EXTERNAL_CONNECTIONS as u64);
    let proxies = config.xks_proxies.as_ref().map_or(0, |_| MAX_CONNECTIONS as u64);
    let others = OTHER_FILES + external + proxies;
    let room = usize::try_from(files.saturating_sub(others)).unwrap_or(usize::MAX);
    let connections = limits.connections.min(room.max(LEAST_CONNECTIONS));
    if connections < limits.connections {
        tracing::warn!(
            connections,
            "this process may have {files} open files only: fewer connections are served than \
             {}; raise the hard limit (ulimit -Hn, LimitNOFILE=) to {}",
            limits.connections,
            limits.connections as u64 + others,
        );
    }
    let address = config.connections_per_address.unwrap_or(connections / 4);
    Limits { connections, address, ..limits }
}

/// The certificate, if a port needs one.
pub(super) fn certificate(
    config: &Config,
    data: &Path,
) -> Result<Option<Arc<Served>>, DaemonError> {
    let ports = [Some(&config.listen), config.admin_listen.as_ref(), config.xks_listen.as_ref()];
    let ports: Vec<_> = ports.into_iter().flatten().filter(|port| config.needs_tls(port)).collect();
    if ports.is_empty() {
        return Ok(None);
    }
    if let Some((certificate, key)) = &config.tls {
        return Ok(Some(Served::given(certificate.clone(), key.clone())?));
    }
    let names = ports.iter().flat_map(|port| port.names()).chain(config.tls_names.iter().cloned());
    let names: Vec<String> = names.collect();
    let wide: Vec<_> = names.iter().filter(|name| is_wide(name)).cloned().collect();
    let served = Served::own(data, names, SystemTime::now())?;
    if let Some(certificate) = served.own_certificate() {
        tracing::info!(
            "TLS with the daemon's own certificate; clients need AWS_CA_BUNDLE={}",
            certificate.display()
        );
    }
    let is_everywhere = |port: &&Listen| port.addresses().iter().any(|a| a.ip().is_unspecified());
    if config.tls_names.is_empty() && ports.iter().any(is_everywhere) {
        tracing::warn!(
            "the certificate is for localhost alone; say with --tls-name how other machines call \
             this one"
        );
    }
    for name in wide {
        tracing::warn!(
            "whoever steals DIR/tls/ca-key.pem can pose as every name below {name} as well, towards \
             clients that trust the daemon's certificate; choose a --tls-name that has nothing of others \
             below it, such as kms.example.com"
        );
    }
    Ok(Some(served))
}

/// Keeps the certificate current, until the task is aborted.
pub(super) async fn keep_certificate(certificate: Option<Arc<Served>>, mut hangup: Signal) {
    if let Some(certificate) = certificate {
        return certificate.keep(hangup).await;
    }
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: without TLS there is nothing to read again");
    }
}

/// The external key store proxies that may be called.
pub(super) fn proxies(settings: &XksProxies) -> Result<Proxies, TlsError> {
    let XksProxies { hosts, services, authorities, identity, limit } = settings;
    let native = rustls_native_certs::load_native_certs().certs;
    let tls = tls::proxies(native, authorities.as_deref(), identity.as_ref())?;
    Ok(Proxies::new(tls, hosts.clone(), *limit).with_services(services.clone()))
}
