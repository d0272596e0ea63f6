//! Connections: accepted within bounds, drained at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::connection::Connection;
use super::front::Front;
use super::places::Places;
use crate::memory;

/// Bounds on what clients may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted. HTTP/2 may have as many requests under way
    /// in all; more wait to be read.
    pub connections: usize,
    /// Requests under way on one connection of HTTP/2. On one of HTTP/1.1 there is one.
    pub streams: u32,
    /// Longest time for the head of a request, and for a TLS handshake. A connection of HTTP/1.1
    /// without a request ends after as much.
    pub head: Duration,
    /// Longest time that a connection of HTTP/2 is without a request.
    pub idle: Duration,
    /// Longest time that requests under way get when the daemon stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            streams: 100,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(20),
        }
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
        let requests = Arc::new(Semaphore::new(self.limits.connections));
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
                places: Places::new(Arc::clone(&requests), self.limits.streams),
                stop: watch_stop.clone(),
                alive: alive.clone(),
            };
            let tls = self.tls.clone();
            tokio::spawn(memory::leaving_no_stack(async move {
                connection.accept(stream, address, tls).await;
                drop(place);
            }));
        }
        let _ = stopping.send(true);
        drop((alive, self.listener));
        let drained = tokio::time::timeout(self.limits.drain, all_gone.recv()).await;
        if drained.is_err() {
            tracing::warn!("stopping although requests are under way");
        }
    }
}
