//! Connections: accepted within bounds, drained at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::front::{Front, Peer};

/// Bounds on what clients may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Longest time for the head of a request, and for a TLS handshake.
    pub head: Duration,
    /// Longest time that requests under way get when the daemon stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, head: Duration::from_secs(10), drain: Duration::from_secs(20) }
    }
}

/// A bound port.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
}

impl Server {
    /// Binds the port.
    ///
    /// # Errors
    /// If the address is in use or not this machine's.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        limits: Limits,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, tls: tls.map(TlsAcceptor::from), limits })
    }

    /// The address bound, with the port that was chosen if 0 was asked for.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` completes, then lets requests under way finish.
    pub async fn run(self, front: Arc<Front>, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let (stopping, watch_stop) = watch::channel(false);
        // Every connection and request holds a sender; the receiver ends when the last is gone.
        let (alive, mut all_gone) = mpsc::channel::<()>(1);
        let mut stop = std::pin::pin!(stop);
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a client that left: neither ends the daemon.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let connection = Connection {
                front: Arc::clone(&front),
                limits: self.limits,
                stop: watch_stop.clone(),
                alive: alive.clone(),
            };
            let tls = self.tls.clone();
            tokio::spawn(async move {
                connection.accept(stream, address, tls).await;
                drop(place);
            });
        }
        let _ = stopping.send(true);
        drop((alive, self.listener));
        let drained = tokio::time::timeout(self.limits.drain, all_gone.recv()).await;
        if drained.is_err() {
            tracing::warn!("stopping although requests are under way");
        }
    }
}

struct Connection {
    front: Arc<Front>,
    limits: Limits,
    stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
}

impl Connection {
    async fn accept(self, stream: TcpStream, address: SocketAddr, tls: Option<TlsAcceptor>) {
        let _ = stream.set_nodelay(true);
        let address = address.ip().to_canonical();
        let alive = self.alive.clone();
        let Some(tls) = tls else {
            return self.serve(stream, Peer { address, tls: None, alive }).await;
        };
        let Ok(Ok(stream)) = tokio::time::timeout(self.limits.head, tls.accept(stream)).await
        else {
            return; // not TLS, or too slow: nothing to say to such a client
        };
        let (_, session) = stream.get_ref();
        // In the forms of CloudTrail: `TLSv1.3` and the IANA name.
        let version = session.protocol_version().and_then(|version| version.as_str());
        let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let details = json!({
            "tlsVersion": version.map(|name| name.replace('_', ".")),
            "cipherSuite": suite.map(|name| name.replacen("TLS13_", "TLS_", 1)),
        });
        self.serve(stream, Peer { address, tls: Some(Arc::new(details)), alive }).await;
    }

    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) {
        let front = self.front;
        let service = service_fn(move |request| {
            let (front, peer) = (Arc::clone(&front), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(front.answer(request, peer).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(64 * 1024)
            // A client may close its sending side and wait for the answer.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let stopping = async { drop(self.stop.wait_for(|stop| *stop).await) };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }
}
