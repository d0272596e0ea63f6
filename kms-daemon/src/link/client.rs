//! The other daemons, as this one asks them.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::message::{Describe, Described, Hello, Message, Place, Refusal, Replicate, Synchronise};
use super::{LinkError, PeerAddress};
use kms_base::error::{Exception, KmsError};
use kms_installation::link_identity::{Identity, Known, LinkSetupError, NAME, certificate};
use kms_installation::report::PeerReport;

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
    seen: Mutex<Seen>,
}

/// What the last exchange with a peer has shown.
#[derive(Debug, Clone, Default)]
struct Seen {
    reachable: bool,
    answered: Option<SystemTime>,
    error: Option<String>,
    errands: usize,
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
            peers.peers.insert(
                region.clone(),
                Peer { address: address.clone(), tls, seen: Mutex::default() },
            );
            peers.known.entry(certificate.to_vec()).or_default().push(region.clone());
        }
        Ok(peers)
    }

    /// Whether another daemon serves a Region.
    #[must_use]
    pub fn has(&self, region: &str) -> bool {
        self.peers.contains_key(region)
    }

    /// How it stands with each, in the order of the Regions.
    #[must_use]
    pub fn reports(&self) -> Vec<PeerReport> {
        let report = |(region, peer): (&String, &Peer)| {
            let seen = peer.seen().clone();
            let since = seen.answered.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            PeerReport {
                region: region.clone(),
                address: peer.address.clone(),
                reachable: seen.reachable,
                last_answer: since.map(|since| since.as_secs()),
                last_error: seen.error.filter(|_| !seen.reachable),
                errands: seen.errands,
            }
        };
        self.peers.iter().map(report).collect()
    }

    /// Notes how much each has yet to be told.
    pub(crate) fn note_outbox(&self, left: &BTreeMap<String, usize>) {
        for (region, peer) in &self.peers {
            peer.seen().errands = left.get(region).copied().unwrap_or(0);
        }
    }

    /// Asks each whether it is there, at the same time, so that the reports say how it stands also
    /// while nothing is to be told.
    pub async fn greet(&self) {
        let greetings = self.peers.keys().map(|region| Box::pin(self.hello(region)));
        let mut greetings: Vec<_> = greetings.collect();
        // What comes of each is noted where it is asked.
        poll_fn(|context| {
            greetings.retain_mut(|greeting| greeting.as_mut().poll(context).is_pending());
            if greetings.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whose certificate speaks for which Regions.
    pub(crate) fn known(&self) -> &Known {
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
    pub(crate) async fn ask<M: Message>(
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
        let exchanged = match exchange.await {
            Ok(exchanged) => exchanged.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        peer.note(region, exchanged.as_ref().err());
        let (status, answer) = exchanged.map_err(unreachable)?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&answer).map_err(|error| unreachable(error.to_string()));
        }
        let refusal: Refusal = serde_json::from_slice(&answer)
            .map_err(|_| unreachable(format!("it answers with status {status}")))?;
        Err(LinkError::Refused { region: region.to_owned(), error: read(refusal) })
    }
}

impl Peer {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how an exchange ended; says so in the log when that changes.
    fn note(&self, region: &str, error: Option<&String>) {
        let mut seen = self.seen();
        let known = seen.reachable || seen.error.is_some();
        match error {
            None => {
                if known && !seen.reachable {
                    tracing::info!(region, "the daemon of another Region answers again");
                }
                (seen.reachable, seen.error) = (true, None);
                seen.answered = Some(SystemTime::now());
            }
            Some(error) => {
                if !known || seen.reachable {
                    tracing::warn!(region, error, "the daemon of another Region does not answer");
                }
                (seen.reachable, seen.error) = (false, Some(error.clone()));
            }
        }
    }

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
