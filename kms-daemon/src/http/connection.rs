//! One connection: which protocol it speaks, and how long it lasts.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::NamedGroup;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::erasing::Erasing;
use super::front::{Front, Pages, Peer, Reply};
use super::held::Held;
use super::places::Places;
use super::progress::Paced;
use super::scheme;
use super::seats::{Seats, Standing};
use super::server::{Encryption, Limits};
use kms_base::memory;
use kms_installation::tls;

/// How every connection of HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest head of a request, in bytes, of all its headers.
const MAX_HEAD: u32 = 64 * 1024;
/// Bytes of a connection, and of one stream of it, that may be on their way in without being read.
const CONNECTION_WINDOW: u32 = 1 << 18;
const STREAM_WINDOW: u32 = 1 << 16;
/// Streams that a client may have reset before they were looked at (CVE-2023-44487), and that it
/// may have made the daemon reset (CVE-2025-8671), until the connection is ended.
const MAX_RESET: usize = 20;
const MAX_FAULTY: usize = 100;

/// What a connection is served with.
pub(super) struct Connection {
    pub(super) front: Arc<Front>,
    pub(super) limits: Limits,
    pub(super) pages: Pages,
    pub(super) places: Places,
    pub(super) seats: Arc<Seats>,
    pub(super) standing: Arc<Standing>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) alive: mpsc::Sender<()>,
}

impl Connection {
    pub(super) async fn accept(
        self,
        stream: TcpStream,
        address: SocketAddr,
        encryption: Option<Encryption>,
    ) {
        let _ = stream.set_nodelay(true);
        let address = address.ip().to_canonical();
        let (alive, standing) = (self.alive.clone(), Arc::clone(&self.standing));
        let mut stream = Paced::new(stream, self.limits.write, Arc::clone(&self.standing));
        let (line, pages) = (stream.line(), self.pages);
        let peer = Peer { address, tls: None, alive, place: None, standing, line, pages };
        let Some(encryption) = encryption else {
            let Some(Ok((begin, is_http2))) = self.begun(begin(&mut stream)).await else {
                return; // gone, or too slow
            };
            scheme::note_tls(&begin, address);
            stream.unread(begin);
            return self.serve(stream, peer, is_http2, pending()).await;
        };
        let accepted = scheme::accept(encryption.acceptor(), stream, address);
        let Some(Some(stream)) = self.begun(accepted).await else {
            return; // not TLS, or too slow
        };
        let (_, session) = stream.get_ref();
        let is_http2 = session.alpn_protocol() == Some(tls::HTTP2);
        // In the forms of CloudTrail: `TLSv1.3` and the IANA name.
        let version = session.protocol_version().and_then(|version| version.as_str());
        let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let exchange = session.negotiated_key_exchange_group().map(|group| match group.name() {
            NamedGroup::X25519 => "x25519".to_owned(),
            name => format!("{name:?}"),
        });
        let details = json!({
            "keyExchange": exchange,
            "tlsVersion": version.map(|name| name.replace('_', ".")),
            "cipherSuite": suite.map(|name| name.replacen("TLS13_", "TLS_", 1)),
        });
        let shown = session.peer_certificates().unwrap_or_default().to_vec();
        let rejected = async move { encryption.rejects(&shown).await };
        let peer = Peer { tls: Some(Arc::new(details)), ..peer };
        self.serve(stream, peer, is_http2, rejected).await;
    }

    /// The outcome of what comes before the first request, if it comes in time, and before the stop.
    async fn begun<T>(&self, begin: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            begun = timeout(self.limits.head, begin) => begun.ok(),
            _ = stop.wait_for(|stop| *stop) => None,
        }
    }

    /// Serves requests until the client has no more, the daemon stops, or the client is `rejected`: then the
    /// requests under way finish.
    async fn serve<S>(
        self,
        stream: S,
        peer: Peer,
        is_http2: bool,
        rejected: impl Future<Output = ()>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stop = self.stop.clone();
        let finish = async move {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = rejected => {}
            }
        };
        let ended = match is_http2 {
            true => self.serve_http2(Erasing::of_http2(stream), peer, finish).await,
            false => self.serve_http1(stream, peer, finish).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }

    async fn serve_http1<S>(
        self,
        stream: S,
        peer: Peer,
        finish: impl Future<Output = ()>,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (front, seats) = (self.front, self.seats);
        let stream = Erasing::new(stream);
        let grown = stream.grown();
        let service = service_fn(move |request: Request<Incoming>| {
            let (front, seats, peer) = (Arc::clone(&front), Arc::clone(&seats), peer.clone());
            // Pages that are asked for by GET have nothing to hide, and neither do the questions.
            let may_have_secrets = request.method() != Method::GET;
            let grown = Arc::clone(&grown);
            async move {
                let (standing, _counted) = (Arc::clone(&peer.standing), peer.standing.request());
                if !standing.is_proven() {
                    // Of many requests that were sent at once, one in turn with other connections.
                    tokio::task::yield_now().await;
                }
                let mut answer = front.answer(request, peer).await;
                if may_have_secrets && grown.load(Ordering::Relaxed) {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(held(answer, &seats, &standing))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(MAX_HEAD as usize)
            // Names have no case, but there are clients that look for `Content-Length`.
            .title_case_headers(true)
            // A client may close its sending side and wait for the answer.
            .half_close(true)
            // Answers with secrets are written from where they are, not from a copy that stays.
            .writev(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = finish => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    async fn serve_http2<S>(
        self,
        stream: S,
        peer: Peer,
        finish: impl Future<Output = ()>,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (front, seats, places) = (self.front, self.seats, Arc::new(self.places));
        let standing = Arc::clone(&self.standing);
        let (under_way, watch_requests) = watch::channel(0_usize);
        let under_way = Arc::new(under_way);
        let service = service_fn(move |request: Request<Incoming>| {
            let (front, places) = (Arc::clone(&front), Arc::clone(&places));
            let (peer, counted) = (peer.clone(), Counted::new(&under_way));
            let seats = Arc::clone(&seats);
            async move {
                let (standing, _counted) = (Arc::clone(&peer.standing), peer.standing.request());
                let place = places.take().await.map(Arc::new);
                let answer = front.answer(request, Peer { place, ..peer }).await;
                drop(counted);
                Ok::<_, Infallible>(held(answer, &seats, &standing))
            }
        });
        let connection = http2::Builder::new(Tasks)
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(MAX_HEAD)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .max_pending_accept_reset_streams(MAX_RESET)
            .max_local_error_reset_streams(MAX_FAULTY)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = finish => {
                connection.as_mut().graceful_shutdown();
                return connection.await;
            }
            // A client whose windows are closed, or hardly opened.
            () = standing.untaken(self.limits.answer) => return Ok(()),
            () = silence(watch_requests, self.limits) => connection.as_mut().graceful_shutdown(),
        }
        // What is left are answers that the client does not take.
        timeout(self.limits.head, connection).await.unwrap_or(Ok(()))
    }
}

/// Runs the requests of HTTP/2, each in a task of its own.
#[derive(Clone, Copy)]
struct Tasks;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, request: F) {
        tokio::spawn(memory::leaving_no_stack(request));
    }
}

/// An answer that is counted until it is taken.
fn held(answer: Reply, seats: &Arc<Seats>, standing: &Arc<Standing>) -> Response<Held> {
    let size = answer.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    let hold = seats.hold(standing, size.unwrap_or_default());
    answer.map(|body| Held::new(body, hold))
}

/// Reads until it is clear which protocol the client speaks: what was read, and whether it is
/// HTTP/2.
async fn begin(stream: &mut Paced) -> io::Result<(Vec<u8>, bool)> {
    let mut begin = Vec::with_capacity(PREFACE.len());
    while begin.len() < PREFACE.len() {
        let room = PREFACE.len() - begin.len();
        if (&mut *stream).take(room as u64).read_buf(&mut begin).await? == 0 {
            return Ok((begin, false));
        }
        if !PREFACE.starts_with(&begin) {
            return Ok((begin, false));
        }
    }
    Ok((begin, true))
}

/// Completes when there was no request for too long.
async fn silence(mut under_way: watch::Receiver<usize>, limits: Limits) {
    let mut patience = limits.head;
    loop {
        let is_idle = *under_way.borrow_and_update() == 0;
        let changed = under_way.changed();
        let changed = match is_idle {
            true => timeout(patience, changed).await,
            false => Ok(changed.await),
        };
        let Ok(Ok(())) = changed else { return };
        patience = limits.idle;
    }
}

/// A request under way, counted until it is dropped.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
