//! Where an etcd cluster is, and how the daemon shows who it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

/// Longest prefix, in bytes. With a key of the longest size it is still a short key for etcd.
const MAX_PREFIX: usize = 256;
/// Longest password, in bytes.
const MAX_PASSWORD: usize = 1024;

/// The address of a member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it is reached over TLS.
    pub is_secure: bool,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Reads a URL such as `https://etcd-1.example:2379`. The port is 2379 if there is none.
    ///
    /// # Errors
    /// [`EtcdOptionsError::Endpoint`].
    pub fn parse(text: &str) -> Result<Self, EtcdOptionsError> {
        let wrong = || EtcdOptionsError::Endpoint(text.to_owned());
        let uri: hyper::Uri = text.parse().map_err(|_| wrong())?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        let is_plain = uri.path() == "/" && uri.query().is_none();
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if !is_plain || authority.as_str().contains('@') || host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { is_secure, host: host.to_owned(), port: authority.port_u16().unwrap_or(2379) })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// A user of etcd.
#[derive(Clone)]
pub struct Login {
    pub(super) user: String,
    pub(super) password: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Login {
    /// A user whose password is the first line of a file.
    ///
    /// # Errors
    /// [`EtcdOptionsError`].
    pub fn read(user: String, path: &Path) -> Result<Self, EtcdOptionsError> {
        let content = std::fs::read(path)
            .map_err(|source| EtcdOptionsError::File { path: path.to_owned(), source })?;
        let content = Zeroizing::new(content);
        let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.len() > MAX_PASSWORD || std::str::from_utf8(line).is_err() {
            return Err(EtcdOptionsError::Password { path: path.to_owned() });
        }
        Ok(Self { user, password: Zeroizing::new(line.to_vec()) })
    }
}

/// Where the cluster is, and how the daemon shows who it is.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// The members; the first one that answers is used.
    pub endpoints: Vec<Endpoint>,
    /// What all keys of the installation start with; without the last slash.
    pub prefix: String,
    /// For `https` endpoints.
    pub tls: Option<Arc<ClientConfig>>,
    /// The user, if the cluster has users with passwords.
    pub login: Option<Login>,
}

/// Why the options cannot be used; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EtcdOptionsError {
    /// It is not the URL of a member.
    #[error("{0:?} is not the URL of an etcd member, such as https://etcd-1.example:2379")]
    Endpoint(String),
    /// Some members would be reached over TLS, and some not.
    #[error("the etcd members must all be https, or all http; an http member sees every record")]
    Mixed,
    /// There is a certificate or an authority for connections without TLS.
    #[error("the certificates are for https, and the etcd members are http")]
    NeedlessTls,
    /// A prefix that cannot be used.
    #[error(
        "store-prefix {0:?} is not 1 to 256 printable ASCII characters; try /strongroom/production"
    )]
    Prefix(String),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file with certificates or a key cannot be used.
    #[error("{path} cannot be used for connections to etcd: {reason}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file has no password.
    #[error("{path} has no password of up to 1024 bytes in its first line")]
    Password {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("TLS to etcd cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Checks a prefix, and returns it without slashes at its end.
///
/// # Errors
/// [`EtcdOptionsError::Prefix`].
pub fn check_prefix(text: &str) -> Result<String, EtcdOptionsError> {
    let prefix = text.trim_end_matches('/');
    let is_usable = (1..=MAX_PREFIX).contains(&prefix.len())
        && prefix.bytes().all(|byte| byte.is_ascii_graphic());
    match is_usable {
        true => Ok(prefix.to_owned()),
        false => Err(EtcdOptionsError::Prefix(text.to_owned())),
    }
}

/// Sets TLS up: the authorities that vouch for the members, and the daemon's certificate and key, if
/// the cluster asks for them.
///
/// # Errors
/// [`EtcdOptionsError`].
pub fn client_tls(
    authorities: &Path,
    own: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, EtcdOptionsError> {
    let pem = |path: &Path, reason: String| EtcdOptionsError::Pem { path: path.to_owned(), reason };
    let certificates = |path: &Path| {
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(pem(path, "it has no certificate in PEM".to_owned())),
            Err(error) => Err(pem(path, error.to_string())),
        }
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        roots.add(certificate).map_err(|error| pem(authorities, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let read = PrivateKeyDer::from_pem_file(key);
            let read = read.map_err(|error| pem(key, error.to_string()))?;
            let usable = builder.with_client_auth_cert(chain, read);
            usable.map_err(|error| pem(certificate, error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_of_members() {
        let good = [
            ("https://etcd-1.example:2379", "https://etcd-1.example:2379"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:2379"),
        ];
        for (text, shown) in good {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), shown);
        }
        let bad = ["etcd-1:2379", "ftp://x", "https://a@x", "https://x/y", "https://x?y", ""];
        for text in bad {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_are_printable_and_end_without_slash() {
        assert_eq!(check_prefix("/a/b//").unwrap(), "/a/b");
        for wrong in ["", "/", "a b", "ä", &"x".repeat(MAX_PREFIX + 1)] {
            assert!(check_prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_the_first_line_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "open sesame\r\nsecond").unwrap();
        let login = Login::read("kmsd".to_owned(), &path).unwrap();
        assert_eq!(&**login.password, b"open sesame");
        assert!(!format!("{login:?}").contains("sesame"));
        std::fs::write(&path, "\n").unwrap();
        assert!(Login::read("kmsd".to_owned(), &path).is_err());
    }
}
