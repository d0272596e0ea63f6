//! TLS towards external key store proxies.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::{TlsError, chain, private_key, x509};

/// Returns TLS 1.2 and 1.3 towards proxies, with the cipher suites of the proxy API, version 1.0.3. Trusts the
/// `native` authorities and those in the PEM file `authorities`, and shows the certificate and key in the
/// files of `identity` to proxies that ask for one.
///
/// # Errors
/// If a file has no certificate or key, or the two do not fit.
pub fn proxies(
    native: Vec<CertificateDer<'static>>,
    authorities: Option<&Path>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some systems have authorities that nobody can read.
    roots.add_parsable_certificates(native);
    if let Some(path) = authorities {
        for certificate in chain(path)? {
            roots.add(certificate).map_err(|_| TlsError::Pem {
                path: path.to_owned(),
                what: "certificate of an authority",
            })?;
        }
    }
    let provider = CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    let at = |reason| TlsError::Unusable {
        path: identity.map(|(certificate, _)| certificate.clone()).unwrap_or_default(),
        reason,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(at)?
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            config.with_client_auth_cert(chain(certificate)?, private_key(key)?).map_err(at)?
        }
    };
    Ok(Arc::new(config))
}

/// When a certificate ends; `None` if its dates cannot be read.
#[must_use]
pub fn end_of(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    x509::read(certificate).map(|facts| facts.not_after)
}
