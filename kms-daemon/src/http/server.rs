//! Connections: they are accepted within limits, and drained at the end.

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::connection::Connection;
use super::front::{Front, Pages};
use super::places::Places;
use super::seats::{Bounds, Seats};
use crate::metrics::ConnectionMetrics;
use kms_base::memory;
use kms_installation::tls::MutualTls;

/// Limits on what clients may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. If there is one more, another connection is ended. Over all HTTP/2
    /// connections, as many requests may be under way; further requests wait to be read.
    pub connections: usize,
    /// Connections at a time from one address; for IPv6, from one network of 64 bits.
    pub address: usize,
    /// Requests under way on one HTTP/2 connection. An HTTP/1.1 connection has one.
    pub streams: u32,
    /// Longest time for the head of a request, and for a TLS handshake. An HTTP/1.1 connection
    /// without a request ends after the same time.
    pub head: Duration,
    /// Longest time for which an HTTP/2 connection may have no request.
    pub idle: Duration,
    /// Longest time in which a client may take less than 4 KiB of what is sent to it.
    pub write: Duration,
    /// Longest time in which an HTTP/2 client must take a response.
    pub answer: Duration,
    /// Longest time that requests under way get when the daemon stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            address: 1024,
            streams: 100,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(10),
            answer: Duration::from_secs(20),
            drain: Duration::from_secs(20),
        }
    }
}

/// The number of connections that have been told to end and may not have ended yet.
const LEAVING: usize = 64;

/// Size in bytes of the send buffer of each connection; the kernel doubles it for its own use. By
/// default the kernel would keep megabytes for a client that does not read.
const SEND_BUFFER: u32 = 64 << 10;
const RECEIVE_BUFFER: u32 = 128 << 10;
/// The number of connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A bound port, on one or more addresses.
pub struct Server {
    /// At least one.
    listeners: Vec<TcpListener>,
    tls: Option<Encryption>,
    limits: Limits,
    pages: Pages,
}

/// How connections are encrypted.
#[derive(Clone)]
pub(super) enum Encryption {
    /// For any client.
    Any(Arc<ServerConfig>),
    /// For clients that show a certificate.
    Mutual(Arc<MutualTls>),
}

impl Encryption {
    /// Returns what begins TLS on a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(match self {
            Self::Any(config) => Arc::clone(config),
            Self::Mutual(clients) => clients.config(),
        })
    }

    /// Completes once a client with these certificates may not go on.
    pub(super) async fn rejects(&self, shown: &[CertificateDer<'_>]) {
        match self {
            Self::Any(_) => pending().await,
            Self::Mutual(clients) => clients.rejects(shown).await,
        }
    }
}

impl Server {
    /// Binds a port on each of these addresses. Addresses that this machine does not have are left
    /// out, as long as one remains.
    ///
    /// # Errors
    /// If an address is in use, or if this machine has none of them.
    pub async fn bind(addresses: &[SocketAddr], limits: Limits) -> io::Result<Self> {
        let mut listeners: Vec<TcpListener> = Vec::new();
        let mut missing = None;
        for address in addresses {
            // Port 0 is chosen once, and the same port is used on every address.
            let port = match listeners.first() {
                Some(first) if address.port() == 0 => first.local_addr()?.port(),
                _ => address.port(),
            };
            match bind(SocketAddr::new(address.ip(), port)) {
                Ok(listener) => listeners.push(listener),
                Err(error) if is_not_here(&error) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(Self { listeners, tls: None, limits, pages: Pages::default() }),
        }
    }

    /// Sets how connections are encrypted. Without this call they are not.
    #[must_use]
    pub fn over_tls(self, tls: Arc<ServerConfig>) -> Self {
        Self { tls: Some(Encryption::Any(tls)), ..self }
    }

    /// The same for clients that show a certificate.
    #[must_use]
    pub fn over_mutual_tls(self, clients: Arc<MutualTls>) -> Self {
        Self { tls: Some(Encryption::Mutual(clients)), ..self }
    }

    /// Sets what is served. Without this call everything is.
    #[must_use]
    pub fn serving(self, pages: Pages) -> Self {
        Self { pages, ..self }
    }

    /// Returns the first bound address, with the chosen port if 0 was requested.
    ///
    /// # Errors
    /// If the operating system does not report the address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        let first = self.listeners.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        first.local_addr()
    }

    /// Returns `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves until `stop` completes, then lets the requests under way finish.
    pub async fn run(self, front: Arc<Front>, stop: impl Future<Output = ()>) {
        let connections = self.limits.connections;
        let bounds = Bounds {
            all: connections,
            // A quarter is reserved for clients that have sent a valid signature.
            strangers: connections - connections / 4,
            address: self.limits.address.min(connections),
            store: connections / 2,
        };
        let metrics = match self.pages {
            // They have limits of their own; what is counted is beside the limit of the API.
            Pages::Reports | Pages::ExternalStores => ConnectionMetrics::default(),
            Pages::All | Pages::Api => front.app.metrics.connections(),
        };
        let seats = Seats::new(bounds, metrics);
        let places = Arc::new(Semaphore::new(connections + LEAVING));
        let requests = Arc::new(Semaphore::new(self.limits.connections));
        let (stopping, watch_stop) = watch::channel(false);
        // Every connection and request holds a sender; the receiver ends when the last sender is
        // dropped.
        let (alive, mut all_gone) = mpsc::channel::<()>(1);
        let mut stop = std::pin::pin!(stop);
        let mut turn = 0;
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&self.listeners, &mut turn) => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The daemon may be out of file descriptors, or the client has left: neither
                    // ends the daemon.
                    tracing::warn!(%error, "cannot accept a connection");
                    seats.make_room();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(seat) = seats.admit(address.ip()) else {
                let _ = stream.set_zero_linger();
                continue;
            };
            let connection = Connection {
                front: Arc::clone(&front),
                limits: self.limits,
                pages: self.pages,
                places: Places::new(Arc::clone(&requests), self.limits.streams, Arc::clone(&seats)),
                seats: Arc::clone(&seats),
                standing: Arc::clone(seat.standing()),
                stop: watch_stop.clone(),
                alive: alive.clone(),
            };
            let tls = self.tls.clone();
            tokio::spawn(memory::leaving_no_stack(async move {
                tokio::select! {
                    () = seat.standing().ended() => {}
                    () = connection.accept(stream, address, tls) => {}
                }
                drop((seat, place));
            }));
        }
        let _ = stopping.send(true);
        drop((alive, self.listeners));
        let drained = tokio::time::timeout(self.limits.drain, all_gone.recv()).await;
        if drained.is_err() {
            tracing::warn!("stopping although requests are under way");
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit these sizes from the port.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether this machine does not have the address: `localhost` may name an IPv6 address on a
/// machine without IPv6.
fn is_not_here(error: &io::Error) -> bool {
    let no_family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(no_family)
}

/// Returns the next connection from any listener; the listeners take turns.
async fn accept(
    listeners: &[TcpListener],
    turn: &mut usize,
) -> io::Result<(TcpStream, SocketAddr)> {
    *turn = (*turn + 1) % listeners.len().max(1);
    let (before, after) = listeners.split_at_checked(*turn).unwrap_or((listeners, &[]));
    poll_fn(|context| {
        for listener in after.iter().chain(before) {
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}
