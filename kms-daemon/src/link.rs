//! The link between daemons: keys of several Regions when the Regions are served by several
//! installations.
//!
//! Each end has a certificate of its own, and each knows the other's: mutual TLS with exactly these
//! two certificates. What goes over it is JSON in HTTP/1.1; key material in it is wrapped by the
//! devices of one end for those of the other. A daemon speaks only for the Regions that the other
//! end expects behind its certificate.

use std::path::PathBuf;

use tokio::sync::Notify;

use kms_base::error::{Exception, KmsError};

mod client;
pub(crate) mod message;

pub use self::client::Peers;

pub(crate) use self::message::{Place, Replicate, Synchronise, Wrapped};

/// Another daemon, as the command line names it: `REGION=HOST:PORT,CERTIFICATE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// The Region that it serves.
    pub region: String,
    /// Where its link is.
    pub address: String,
    /// Its certificate, PEM.
    pub certificate: PathBuf,
}

impl PeerAddress {
    /// Reads a value of `--peer`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (region, rest) = text.split_once('=')?;
        let (address, certificate) = rest.split_once(',')?;
        let (host, port) = address.rsplit_once(':')?;
        let well_formed = kms_base::identifier::is_region(region)
            && !host.is_empty()
            && port.parse::<u16>().is_ok_and(|port| port != 0)
            && !certificate.is_empty();
        well_formed.then(|| Self {
            region: region.to_owned(),
            address: address.to_owned(),
            certificate: certificate.into(),
        })
    }
}

/// Wakes the job that tells other Regions what has changed.
#[derive(Debug, Default)]
pub struct OutboxSignal(Notify);

impl OutboxSignal {
    /// There is something to tell.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Completes when there is something to tell.
    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// Why another daemon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It cannot be reached, or its answer was lost: whether it did it is not known.
    #[error("the daemon of {region} does not answer: {reason}")]
    Unreachable {
        /// The Region.
        region: String,
        /// What went wrong.
        reason: String,
    },
    /// It refuses.
    #[error("the daemon of {region} refuses: {error}")]
    Refused {
        /// The Region.
        region: String,
        /// The refusal.
        error: KmsError,
    },
    /// No daemon is known for the Region.
    #[error("no daemon is known for {0}")]
    Unknown(String),
}

impl From<LinkError> for KmsError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Refused { error, .. } => error,
            unreachable => {
                tracing::warn!(error = %unreachable, "link");
                Self::new(Exception::DependencyTimeout, unreachable.to_string())
            }
        }
    }
}
