//! The served certificate, which may be replaced while connections are open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use super::own::{Made, Own, RENEWAL, Why};
use super::{HTTP2, Pair, TlsError, load, x509};

/// How often it is looked whether a certificate nears its end.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// How often it is said that one does.
const REMINDER: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a certificate comes from.
#[derive(Debug)]
enum Source {
    /// Files that were given.
    Given(Pair),
    /// The daemon.
    Own(Own),
}

/// A certificate with its key, as new connections get it.
#[derive(Debug)]
pub struct Served {
    source: Source,
    current: RwLock<Current>,
}

#[derive(Debug, Clone)]
pub(super) struct Current {
    pub(super) key: Arc<CertifiedKey>,
    /// `None` if the certificate's dates cannot be read.
    not_after: Option<SystemTime>,
}

impl Served {
    /// The certificate in these files, PEM.
    ///
    /// # Errors
    /// If the files cannot be used.
    pub fn given(certificate: PathBuf, key: PathBuf) -> Result<Arc<Self>, TlsError> {
        let pair = Pair { certificate, key };
        let current = Current::load(&pair)?;
        Ok(Arc::new(Self { source: Source::Given(pair), current: RwLock::new(current) }))
    }

    /// The daemon's own certificate, in `DIR/tls`, for `localhost` and these names or addresses;
    /// made now if there is none that is good.
    ///
    /// # Errors
    /// If it cannot be made, stored or read.
    pub fn own(
        data: &Path,
        names: impl IntoIterator<Item = String>,
        now: SystemTime,
    ) -> Result<Arc<Self>, TlsError> {
        let own = Own::new(data, names);
        let made = own.ensure(now)?;
        tell(&own, made);
        let current = Current::load(&own.pair())?;
        Ok(Arc::new(Self { source: Source::Own(own), current: RwLock::new(current) }))
    }

    /// The file that clients trust if the daemon made it.
    #[must_use]
    pub fn own_certificate(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Own(own) => Some(own.authority_path()),
            Source::Given(_) => None,
        }
    }

    /// When the certificate that is served now ends; `None` if that cannot be read.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        self.now().not_after
    }

    /// A server configuration: TLS 1.2 and 1.3, no client certificates, HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// If the TLS library has no such versions.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        self.config_for(WebPkiClientVerifier::no_client_auth())
    }

    /// The same for clients that show a certificate as the verifier asks for it.
    ///
    /// # Errors
    /// As [`Served::config`].
    pub fn config_for(
        self: &Arc<Self>,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|reason| TlsError::Unusable { path: self.pair().certificate, reason })?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files again. New connections get what is in them; those that are open go on.
    ///
    /// # Errors
    /// If the files cannot be used: what was served is served still.
    pub fn reload(&self, now: SystemTime) -> Result<(), TlsError> {
        if let Source::Own(own) = &self.source {
            let made = own.ensure(now)?;
            tell(own, made);
        }
        let current = Current::load(&self.pair())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// Renews the daemon's own certificate when it nears its end; true if it did.
    ///
    /// # Errors
    /// If that fails: what was served is served still.
    pub fn renew_if_due(&self, now: SystemTime) -> Result<bool, TlsError> {
        let is_own = matches!(self.source, Source::Own(_));
        if !is_own || !self.nears_its_end(now) {
            return Ok(false);
        }
        self.reload(now)?;
        Ok(true)
    }

    /// Reads the files again at each SIGHUP and renews in time, until the task is aborted.
    pub async fn keep(self: Arc<Self>, mut hangup: Signal) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: Option<SystemTime> = None;
        loop {
            let is_asked = tokio::select! {
                asked = hangup.recv() => asked.is_some(),
                _ = look.tick() => false,
            };
            let now = SystemTime::now();
            let certificate = self.pair().certificate;
            let certificate = certificate.display();
            if is_asked {
                match self.reload(now) {
                    Ok(()) => tracing::info!(%certificate, "the certificate was read again"),
                    Err(error) => tracing::error!(
                        %error,
                        "the certificate cannot be read again; the one from before is still served"
                    ),
                }
                continue;
            }
            match self.renew_if_due(now) {
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "the certificate cannot be renewed"),
            }
            let is_told = told.is_some_and(|told| now < told + REMINDER);
            if self.nears_its_end(now) && !is_told {
                told = Some(now);
                tracing::warn!(
                    %certificate,
                    "the certificate ends within 30 days or has ended; put a new one in its place \
                     and send kmsd SIGHUP"
                );
            }
        }
    }

    fn nears_its_end(&self, now: SystemTime) -> bool {
        self.not_after().is_some_and(|end| end < now + RENEWAL)
    }

    pub(super) fn now(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pair(&self) -> Pair {
        match &self.source {
            Source::Given(pair) => pair.clone(),
            Source::Own(own) => own.pair(),
        }
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now().key)
    }
}

impl Current {
    fn load(pair: &Pair) -> Result<Self, TlsError> {
        let key = Arc::new(load(pair)?);
        let facts = key.cert.first().and_then(|certificate| x509::read(certificate));
        Ok(Self { key, not_after: facts.map(|facts| facts.not_after) })
    }
}

fn tell(own: &Own, made: Made) {
    let (certificate, names) = (own.authority_path(), own.names().join(", "));
    let certificate = certificate.display();
    match made {
        Made::Kept => {}
        Made::Renewed => tracing::info!(%certificate, "the certificate was renewed"),
        Made::New(Why::Missing) => {
            tracing::info!(%certificate, names, "made a certificate");
        }
        Made::New(why) => {
            let reason = match why {
                Why::Names => "it was for other names",
                Why::Authority => "it is of an earlier version of kmsd, or its authority ends",
                Why::Broken | Why::Missing => "its keys do not fit",
            };
            tracing::warn!(
                %certificate, names, reason,
                "made another certificate; clients need the new file"
            );
        }
    }
}
