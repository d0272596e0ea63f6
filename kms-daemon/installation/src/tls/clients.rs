//! Clients that have to show a certificate: of which authorities, and for which names.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::{TlsError, chain, x509};

/// Which clients may connect. A client without a certificate, with one of another authority, or with another
/// name ends the handshake.
#[derive(Debug)]
pub struct Clients {
    authorities: Arc<dyn ClientCertVerifier>,
    /// In lower case.
    names: Vec<String>,
}

impl Clients {
    /// Clients with a certificate of one of the authorities in a PEM file that has one of `names` as its
    /// common name or as a DNS name.
    ///
    /// # Errors
    /// If the file has no certificate of an authority.
    pub fn new(authorities: &Path, names: &[String]) -> Result<Arc<Self>, TlsError> {
        let unusable =
            || TlsError::Pem { path: authorities.to_owned(), what: "certificate of an authority" };
        let mut roots = RootCertStore::empty();
        for certificate in chain(authorities)? {
            roots.add(certificate).map_err(|_| unusable())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let authorities = verifier.build().map_err(|_| unusable())?;
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Arc::new(Self { authorities, names }))
    }

    fn has_name(&self, certificate: &[u8]) -> bool {
        let Some(facts) = x509::read(certificate) else { return false };
        let common = x509::common_names(&facts.subject).unwrap_or_default();
        facts.names.iter().chain(&common).any(|name| self.names.contains(name))
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.authorities.verify_client_cert(end_entity, intermediates, now)?;
        match self.has_name(end_entity) {
            true => Ok(verified),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
