//! The link of a daemon that starts.

use std::path::Path;

use super::{Identity, LinkServer, LinkSetupError, Peers};
use crate::config::Config;

/// The link to other daemons.
pub struct Link {
    /// The other ends.
    pub peers: Peers,
    /// Where they reach this one.
    pub server: Option<LinkServer>,
}

impl Link {
    /// The link that `config` asks for, bound.
    ///
    /// # Errors
    /// [`LinkSetupError`].
    pub async fn of(config: &Config, data: &Path) -> Result<Self, LinkSetupError> {
        if config.peers.is_empty() {
            return Ok(Self { peers: Peers::default(), server: None });
        }
        let identity = Identity::of_data(data)?;
        tracing::info!(
            certificate = %identity.path().display(),
            "other daemons know this one by its certificate"
        );
        let peers = Peers::new(&identity, &config.peers)?;
        let server = match config.link_listen {
            Some(address) => Some(LinkServer::bind(address, &identity, &peers).await?),
            None => None,
        };
        Ok(Self { peers, server })
    }
}
