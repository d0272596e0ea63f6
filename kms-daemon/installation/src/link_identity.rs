//! The certificate by which other daemons know this one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::tls::{self, TlsError};

/// The name in every certificate of a link. Who it is, the certificate itself says.
pub const NAME: &str = "strongroom-link";

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkSetupError {
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The TLS library refuses the certificates.
    #[error("cannot use the certificates of the link: {0}")]
    Unusable(String),
    /// The port cannot be bound.
    #[error(
        "cannot listen on {address} for other daemons: {source}; choose another with --link-listen"
    )]
    Listen {
        /// The address.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Certificates of the other daemons, DER, with the Regions that they speak for.
pub type Known = BTreeMap<Vec<u8>, Vec<String>>;

/// This end of the link.
#[derive(Debug)]
pub struct Identity {
    path: PathBuf,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// The identity in a data directory, made now if there is none.
    ///
    /// # Errors
    /// [`LinkSetupError::Tls`].
    pub fn of_data(data: &Path) -> Result<Self, LinkSetupError> {
        let names = vec![NAME.to_owned()];
        let (path, key) = tls::own(&data.join("link"), names, "Strongroom link")?;
        let (certificate, key) = (certificate(&path)?, tls::private_key(&key)?);
        Ok(Self { path, certificate, key })
    }

    /// The file with the certificate, for the other end.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// TLS towards the daemon with this certificate, and no other.
    pub fn client(
        &self,
        server: &CertificateDer<'static>,
    ) -> Result<Arc<ClientConfig>, LinkSetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .with_root_certificates(roots([server])?)
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(unusable)?;
        Ok(Arc::new(config))
    }

    /// TLS for the daemons with these certificates, and no others.
    pub fn server(&self, known: &Known) -> Result<Arc<ServerConfig>, LinkSetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients: Vec<_> = known.keys().map(|der| CertificateDer::from(der.clone())).collect();
        let roots = Arc::new(roots(&clients)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let verifier = verifier.build().map_err(unusable)?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(unusable)?;
        Ok(Arc::new(config))
    }
}

/// The certificate in a PEM file.
pub fn certificate(path: &Path) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_file(path).map_err(|error| tls::pem_error(path, "certificate", error))
}

fn roots<'c>(
    certificates: impl IntoIterator<Item = &'c CertificateDer<'static>>,
) -> Result<RootCertStore, LinkSetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(unusable)?;
    }
    Ok(roots)
}

fn unusable(error: impl std::fmt::Display) -> LinkSetupError {
    LinkSetupError::Unusable(error.to_string())
}
