//! The link of a daemon that starts.

use std::path::Path;

use tokio::net::TcpListener;

use super::LinkServer;
use crate::config::Config;
use crate::link::Peers;
use kms_installation::link_identity::{Identity, LinkSetupError};

/// The link to other daemons.
pub struct Link {
    /// The other ends.
    pub peers: Peers,
    /// Where they reach this one.
    pub server: Option<LinkServer>,
}

impl Link {
    /// The link that `config` asks for, on its port.
    ///
    /// # Errors
    /// [`LinkSetupError`].
    pub fn of(
        config: &Config,
        data: &Path,
        port: Option<TcpListener>,
    ) -> Result<Self, LinkSetupError> {
        if config.peers.is_empty() {
            return Ok(Self { peers: Peers::default(), server: None });
        }
        let identity = Identity::of_data(data)?;
        tracing::info!(
            certificate = %identity.path().display(),
            "other daemons know this one by its certificate"
        );
        let peers = Peers::new(&identity, &config.peers)?;
        let server = port.map(|port| LinkServer::new(port, &identity, &peers)).transpose()?;
        Ok(Self { peers, server })
    }
}

/// Binds the port for other daemons, if there is to be one.
///
/// # Errors
/// [`LinkSetupError::Listen`].
pub async fn bind(config: &Config) -> Result<Option<TcpListener>, LinkSetupError> {
    let Some(place) = &config.link_listen else { return Ok(None) };
    let bound = TcpListener::bind(place.addresses()).await;
    let failed = |source| LinkSetupError::Listen { address: place.to_string(), source };
    bound.map(Some).map_err(failed)
}
