//! TLS for the HTTP port: a given certificate, or one that the daemon makes and renews.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use kms_base::durable;

mod clients;
mod mutual;
mod own;
mod proxies;
mod served;
#[cfg(test)]
mod tests;
mod x509;

pub use clients::Clients;
pub use mutual::MutualTls;
pub use proxies::{end_of, proxies};
pub use served::Served;

/// Name of HTTP/2 in ALPN.
pub const HTTP2: &[u8] = b"h2";

/// Whether an authority for this name can vouch for a part of the internet, or of an organisation: what
/// is below a name counts as that name.
#[must_use]
pub fn is_wide(name: &str) -> bool {
    name != "localhost" && name.parse::<IpAddr>().is_err() && name.split('.').count() < 3
}

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
    /// There is a certificate where the daemon keeps its own.
    #[error(
        "{0} is not of kmsd's making; give it with --tls-cert and its key with --tls-key, or remove \
         it to have one made"
    )]
    NotOurs(PathBuf),
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}; give one with --tls-cert and --tls-key")]
    Generate(#[from] rcgen::Error),
}

/// The files of a certificate chain and its private key, PEM.
#[derive(Debug, Clone)]
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

/// Reads a certificate and its key, and sees whether they fit.
fn load(pair: &Pair) -> Result<CertifiedKey, TlsError> {
    let Pair { certificate, key } = pair;
    let (chain, private) = (chain(certificate)?, private_key(key)?);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, private, &provider)
        .map_err(|reason| TlsError::Unusable { path: certificate.to_owned(), reason })
}

/// When the first certificate of a PEM file ends, which is the one that a server shows; `None` if its
/// dates cannot be read.
///
/// # Errors
/// [`TlsError`] if the file holds no certificate.
pub fn expiry(path: &Path) -> Result<Option<SystemTime>, TlsError> {
    let chain = chain(path)?;
    Ok(chain.first().and_then(|first| x509::read(first)).map(|facts| facts.not_after))
}

/// The certificates in a PEM file, one at least.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| pem_error(path, "certificate", error))?;
    match chain.is_empty() {
        true => Err(TlsError::Pem { path: path.to_owned(), what: "certificate" }),
        false => Ok(chain),
    }
}

/// The self-signed certificate in a directory, made now if there is none; certificate and key. It
/// has no end: whoever trusts it knows the very file.
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
