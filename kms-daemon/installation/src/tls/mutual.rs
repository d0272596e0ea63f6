//! TLS for clients that have to show a certificate. The authorities that count may be replaced while
//! connections are open.
//!
//! Each reading makes another server configuration: sessions of the former one cannot be resumed, for which no
//! certificate would be verified.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier as _;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::{Clients, Served, TlsError};

/// Which clients may connect to a port, and the certificate that it shows.
#[derive(Debug)]
pub struct MutualTls {
    served: Arc<Served>,
    authorities: PathBuf,
    names: Vec<String>,
    terms: watch::Sender<Terms>,
}

/// What counts now.
#[derive(Debug, Clone)]
struct Terms {
    clients: Arc<Clients>,
    config: Arc<ServerConfig>,
}

impl MutualTls {
    /// Returns TLS with the certificate `served` for clients with a certificate of one of the authorities in a PEM
    /// file that has one of `names`.
    ///
    /// # Errors
    /// If the file has no certificate of an authority.
    pub fn new(
        served: Arc<Served>,
        authorities: PathBuf,
        names: Vec<String>,
    ) -> Result<Arc<Self>, TlsError> {
        let clients = Clients::new(&authorities, &names)?;
        let config = served.config_for(Arc::clone(&clients) as Arc<_>)?;
        let (terms, _) = watch::channel(Terms { clients, config });
        Ok(Arc::new(Self { served, authorities, names, terms }))
    }

    /// Returns the server configuration for new connections.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.terms.borrow().config)
    }

    /// Reads the authorities again, for new connections and for those that are open.
    ///
    /// # Errors
    /// If the file has no certificate of an authority: those from before count still.
    pub fn reload(&self) -> Result<(), TlsError> {
        let clients = Clients::new(&self.authorities, &self.names)?;
        let config = self.served.config_for(Arc::clone(&clients) as Arc<_>)?;
        self.terms.send_replace(Terms { clients, config });
        Ok(())
    }

    /// Reads the authorities again at each SIGHUP, until the task is aborted.
    pub async fn keep(self: Arc<Self>, mut hangup: Signal) {
        let authorities = self.authorities.display();
        while hangup.recv().await.is_some() {
            match self.reload() {
                Ok(()) => {
                    tracing::info!(%authorities, "the authorities of clients were read again")
                }
                Err(error) => tracing::error!(
                    %error,
                    "the authorities of clients cannot be read again; those from before still count"
                ),
            }
        }
    }

    /// Completes once the certificate chain that a client has shown does not count any more, which may be at once.
    pub async fn rejects(&self, shown: &[CertificateDer<'_>]) {
        let mut terms = self.terms.subscribe();
        let is_rejected = |terms: &Terms| match shown.split_first() {
            None => true,
            Some((own, others)) => {
                terms.clients.verify_client_cert(own, others, UnixTime::now()).is_err()
            }
        };
        // An error means that the sender is gone, which this very value has.
        let _ = terms.wait_for(is_rejected).await;
    }
}
