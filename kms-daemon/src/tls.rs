//! TLS for the HTTP port: a certificate that was given, or one made at the first start.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::durable;

mod validity;

pub use self::validity::expiry;

/// Name of HTTP/2 in ALPN.
pub(crate) const HTTP2: &[u8] = b"h2";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot access {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A file is not PEM of the right kind.
    #[error("{path} holds no {what} in PEM form")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("cannot use certificate {path} with its key: {reason}")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What the TLS library said.
        reason: rustls::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}; give one with --tls-cert and --tls-key")]
    Generate(#[from] rcgen::Error),
}

/// A server configuration: TLS 1.2 and 1.3, no client certificates, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// If the files cannot be used.
pub fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| pem_error(certificate, "certificate", error))?;
    if chain.is_empty() {
        return Err(TlsError::Pem { path: certificate.to_owned(), what: "certificate" });
    }
    let private = private_key(key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let unusable = |reason| TlsError::Unusable { path: certificate.to_owned(), reason };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificate of the data directory, made now if there is none; returns certificate and key.
///
/// It is self-signed for `localhost` and `addresses`, so clients are told to trust this very file.
///
/// # Errors
/// If it cannot be made or stored.
pub fn own_certificate(
    data: &Path,
    addresses: impl IntoIterator<Item = IpAddr>,
) -> Result<(PathBuf, PathBuf), TlsError> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    for address in addresses {
        if !address.is_unspecified() && !address.is_loopback() {
            names.push(address.to_string());
        }
    }
    own(&data.join("tls"), names, "Strongroom kmsd")
}

/// The self-signed certificate in a directory, made now if there is none; certificate and key.
///
/// # Errors
/// If it cannot be made or stored.
pub fn own(
    dir: &Path,
    names: Vec<String>,
    common_name: &str,
) -> Result<(PathBuf, PathBuf), TlsError> {
    let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let pair = KeyPair::generate()?;
    let made = parameters.self_signed(&pair)?;
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    durable::create_private_dir(dir).map_err(file(dir))?;
    // The certificate last: it stands for both.
    let private = Zeroizing::new(pair.serialize_pem());
    durable::write(&key, private.as_bytes(), 0o600).map_err(file(&key))?;
    durable::write(&certificate, made.pem().as_bytes(), 0o644).map_err(file(&certificate))?;
    Ok((certificate, key))
}

/// The private key in a PEM file.
///
/// # Errors
/// If there is none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| pem_error(path, "private key", error))
}

/// Why a PEM file does not hold `what`.
pub(crate) fn pem_error(
    path: &Path,
    what: &'static str,
    error: rustls::pki_types::pem::Error,
) -> TlsError {
    let path = path.to_owned();
    match error {
        rustls::pki_types::pem::Error::Io(source) => TlsError::File { path, source },
        _ => TlsError::Pem { path, what },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_loads() {
        let dir = tempfile::tempdir().unwrap();
        let address = [IpAddr::from([192, 0, 2, 1])];
        let (certificate, key) = own_certificate(dir.path(), address).unwrap();
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        load(&certificate, &key).unwrap();
        let first = std::fs::read(&certificate).unwrap();
        own_certificate(dir.path(), address).unwrap();
        assert_eq!(std::fs::read(&certificate).unwrap(), first);
    }

    #[test]
    fn wrong_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = own_certificate(dir.path(), []).unwrap();
        let swapped = load(&key, &certificate).unwrap_err().to_string();
        assert!(swapped.contains("key.pem holds no certificate"), "{swapped}");
        let missing = load(&dir.path().join("none"), &key).unwrap_err().to_string();
        assert!(missing.contains("cannot access"), "{missing}");
    }
}
