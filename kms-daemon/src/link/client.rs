//! The other daemons, as this one asks them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::identity::{NAME, certificate};
use super::message::{Describe, Described, Hello, Message, Place, Refusal, Replicate, Synchronise};
use super::{Identity, Known, LinkError, LinkSetupError, PeerAddress};
use crate::error::{Exception, KmsError};

/// How long an answer may take. Devices at the other end import material one after another.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// The daemons that serve other Regions.
#[derive(Default)]
pub struct Peers {
    peers: BTreeMap<String, Peer>,
    known: Known,
}

struct Peer {
    address: String,
    tls: TlsConnector,
}

impl Peers {
    /// The daemons at these addresses.
    ///
    /// # Errors
    /// [`LinkSetupError`].
    pub fn new(identity: &Identity, addresses: &[PeerAddress]) -> Result<Self, LinkSetupError> {
        let mut peers = Self::default();
        for PeerAddress { region, address, certificate: path } in addresses {
            let certificate = certificate(path)?;
            let tls = TlsConnector::from(identity.client(&certificate)?);
            peers.peers.insert(region.clone(), Peer { address: address.clone(), tls });
            peers.known.entry(certificate.to_vec()).or_default().push(region.clone());
        }
        Ok(peers)
    }

    /// Whether another daemon serves a Region.
    #[must_use]
    pub fn has(&self, region: &str) -> bool {
        self.peers.contains_key(region)
    }

    /// Whose certificate speaks for which Regions.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// What a Region's domain is known by.
    pub(crate) async fn hello(
        &self,
        region: &str,
    ) -> Result<hsm_protocol::command::replica::DomainKeyInfo, LinkError> {
        self.ask(region, &Hello { region: region.to_owned() }).await
    }

    /// What a Region has of a key.
    pub(crate) async fn describe(&self, place: Place) -> Result<Described, LinkError> {
        let region = place.scope.region.clone();
        self.ask(&region, &Describe { place }).await
    }

    /// Makes a replica.
    pub(crate) async fn replicate(&self, message: &Replicate) -> Result<Described, LinkError> {
        self.ask(&message.place.scope.region, message).await
    }

    /// Tells a replica what its primary shares.
    pub(crate) async fn synchronise(&self, message: &Synchronise) -> Result<Described, LinkError> {
        self.ask(&message.place.scope.region, message).await
    }

    /// Asks the daemon of a Region.
    pub(super) async fn ask<M: Message>(
        &self,
        region: &str,
        message: &M,
    ) -> Result<M::Answer, LinkError> {
        let unknown = || LinkError::Unknown(region.to_owned());
        let peer = self.peers.get(region).ok_or_else(unknown)?;
        let unreachable =
            |reason: String| LinkError::Unreachable { region: region.to_owned(), reason };
        let body = serde_json::to_vec(message).map_err(|error| unreachable(error.to_string()))?;
        let exchange = tokio::time::timeout(PATIENCE, peer.exchange(M::PATH, body));
        let (status, answer) = exchange
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", PATIENCE.as_secs())))?
            .map_err(|error| unreachable(error.to_string()))?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&answer).map_err(|error| unreachable(error.to_string()));
        }
        let refusal: Refusal = serde_json::from_slice(&answer)
            .map_err(|_| unreachable(format!("it answers with status {status}")))?;
        Err(LinkError::Refused { region: region.to_owned(), error: read(refusal) })
    }
}

impl Peer {
    async fn exchange(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.address).await?;
        let name = ServerName::try_from(NAME)?;
        let stream = self.tls.connect(name, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(path)
            .header("host", NAME)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        connection.abort();
        Ok((status, body))
    }
}

/// A refusal as the client of this daemon sees it.
fn read(refusal: Refusal) -> KmsError {
    let known = Exception::ALL.iter().find(|exception| exception.code() == refusal.code);
    match (known, refusal.message) {
        (Some(exception), Some(message)) => KmsError::new(*exception, message),
        (Some(exception), None) => KmsError::bare(*exception),
        (None, _) => KmsError::internal(format!("unknown refusal {}", refusal.code)),
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = self.peers.iter().map(|(region, peer)| (region, &peer.address));
        f.debug_map().entries(peers).finish()
    }
}
