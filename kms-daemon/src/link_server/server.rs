//! Where other daemons ask this one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::receive::Receiver;
use crate::app::App;
use crate::link::Peers;
use crate::link::message::{
    Describe, Gone, Hello, Message, Promote, Refusal, Replicate, Synchronise,
};
use kms_base::error::KmsError;
use kms_installation::link_identity::{Identity, Known, LinkSetupError};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Longest time for a TLS handshake, and for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Longest time for a request to come in.
const BODY: Duration = Duration::from_secs(30);
/// Longest request, in bytes: all material of a key that was rotated for decades.
const MAX_BODY: usize = 4 << 20;

/// A bound port for other daemons.
pub struct LinkServer {
    listener: TcpListener,
    tls: TlsAcceptor,
    known: Arc<Known>,
}

impl LinkServer {
    /// Serves the daemons that `peers` knows on a bound port.
    ///
    /// # Errors
    /// [`LinkSetupError`].
    pub fn new(
        listener: TcpListener,
        identity: &Identity,
        peers: &Peers,
    ) -> Result<Self, LinkSetupError> {
        let tls = TlsAcceptor::from(identity.server(peers.known())?);
        Ok(Self { listener, tls, known: Arc::new(peers.known().clone()) })
    }

    /// The address bound.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the task is aborted.
    pub async fn run(self, app: Arc<App>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of another daemon");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (tls, known, app) = (self.tls.clone(), Arc::clone(&self.known), Arc::clone(&app));
            tokio::spawn(async move {
                serve(stream, tls, &known, app).await;
                drop(place);
            });
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, known: &Known, app: Arc<App>) {
    let Ok(Ok(stream)) = tokio::time::timeout(HEAD, tls.accept(stream)).await else {
        return; // not one of the daemons we know
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(regions) = certificate.and_then(|certificate| known.get(&**certificate)) else {
        return;
    };
    let regions: Arc<[String]> = regions.as_slice().into();
    let service = service_fn(move |request| {
        let receiver = Receiver { app: Arc::clone(&app), speaks_for: Arc::clone(&regions) };
        async move { Ok::<_, std::convert::Infallible>(answer(&receiver, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection of another daemon ended");
    }
}

async fn answer(receiver: &Receiver, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let Ok(Ok(body)) = tokio::time::timeout(BODY, body).await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, &KmsError::internal("no whole request"));
    };
    let body = body.to_bytes();
    match path.as_str() {
        Hello::PATH => respond(&body, async |m: Hello| receiver.hello(m).await).await,
        Describe::PATH => respond(&body, async |m: Describe| receiver.describe(m).await).await,
        Replicate::PATH => respond(&body, async |m: Replicate| receiver.replicate(m).await).await,
        Synchronise::PATH => {
            respond(&body, async |m: Synchronise| receiver.synchronise(m).await).await
        }
        Promote::PATH => respond(&body, async |m: Promote| receiver.promote(m).await).await,
        Gone::PATH => respond(&body, async |m: Gone| receiver.gone(m).await).await,
        _ => refuse(StatusCode::NOT_FOUND, &KmsError::internal("another version of the link")),
    }
}

async fn respond<M: Message>(
    body: &[u8],
    run: impl AsyncFnOnce(M) -> Result<M::Answer, KmsError>,
) -> Response<Full<Bytes>> {
    let outcome = match serde_json::from_slice(body) {
        Ok(message) => run(message).await,
        Err(error) => Err(KmsError::internal(format!("a message cannot be read: {error}"))),
    };
    match outcome {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(error) => refuse(StatusCode::CONFLICT, &error),
    }
}

fn refuse(status: StatusCode, error: &KmsError) -> Response<Full<Bytes>> {
    tracing::warn!(%error, "another daemon's request is refused");
    let (code, message) = (error.code().to_owned(), error.message().map(str::to_owned));
    json(status, &Refusal { code, message })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
