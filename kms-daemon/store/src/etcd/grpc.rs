//! gRPC over HTTP/2, as far as etcd needs it: calls with one request and one response, and calls
//! with one request and a stream of responses (grpc.io, "gRPC over HTTP2").

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::http::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::options::Endpoint;

/// Longest message that is taken, in bytes: a chunk of a range read, or the changes that a watch is
/// behind.
const MAX_MESSAGE: usize = 256 << 20;
/// What a server may send before it is told to go on, in bytes.
const WINDOW: u32 = 4 << 20;
/// gRPC's code for an outcome that nobody knows.
pub(super) const UNKNOWN: u32 = 2;
/// gRPC's code for what is not there to be read any more.
pub(super) const OUT_OF_RANGE: u32 = 11;
/// gRPC's code for a server that cannot answer now.
pub(super) const UNAVAILABLE: u32 = 14;
/// gRPC's code for a token that is not taken.
pub(super) const UNAUTHENTICATED: u32 = 16;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(super) struct Status {
    /// gRPC's code.
    pub(super) code: u32,
    pub(super) message: String,
    /// Whether the server can have begun to carry the call out.
    pub(super) is_sent: bool,
}

impl Status {
    pub(super) fn unsent(message: impl ToString) -> Self {
        Self { code: UNAVAILABLE, message: message.to_string(), is_sent: false }
    }

    pub(super) fn sent(message: impl ToString) -> Self {
        Self { code: UNKNOWN, message: message.to_string(), is_sent: true }
    }
}

/// A connection to one member of the cluster. Cloning shares it.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Outgoing>,
    base: Arc<str>,
}

impl Connection {
    /// Connects to a member.
    pub(super) async fn open(
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, Status> {
        let address = (endpoint.host.as_str(), endpoint.port);
        let stream = TcpStream::connect(address).await.map_err(Status::unsent)?;
        stream.set_nodelay(true).map_err(Status::unsent)?;
        let base = endpoint.to_string().into();
        let sender = match tls.filter(|_| endpoint.is_secure) {
            None => shake_hands(stream).await?,
            Some(config) => {
                let name = ServerName::try_from(endpoint.host.clone()).map_err(Status::unsent)?;
                let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
                shake_hands(connecting.await.map_err(Status::unsent)?).await?
            }
        };
        Ok(Self { sender, base })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// A call with one response.
    pub(super) async fn call(
        &self,
        path: &str,
        token: Option<&HeaderValue>,
        message: &[u8],
        deadline: Duration,
    ) -> Result<Bytes, Status> {
        let body = Outgoing { frame: Some(frame(message)), ends: true };
        let mut request = self.request(path, token, body)?;
        let timeout = HeaderValue::try_from(format!("{}m", deadline.as_millis()));
        request.headers_mut().insert("grpc-timeout", timeout.map_err(Status::unsent)?);
        let mut stream = Stream::begin(self.send(request).await?)?;
        let response = stream.message().await?;
        let response = response.ok_or_else(|| Status::sent("the server sent no response"))?;
        match stream.message().await? {
            None => Ok(response),
            Some(_) => Err(Status::sent("the server sent two responses")),
        }
    }

    /// A call with a stream of responses, which goes on until the returned stream is dropped.
    pub(super) async fn stream(
        &self,
        path: &str,
        token: Option<&HeaderValue>,
        message: &[u8],
    ) -> Result<Stream, Status> {
        // The server ends the stream when the request ends, so it does not.
        let body = Outgoing { frame: Some(frame(message)), ends: false };
        let request = self.request(path, token, body)?;
        Stream::begin(self.send(request).await?)
    }

    fn request(
        &self,
        path: &str,
        token: Option<&HeaderValue>,
        body: Outgoing,
    ) -> Result<Request<Outgoing>, Status> {
        let mut request = Request::post(format!("{}{path}", self.base))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            // A member that knows no leader refuses at once, and ends its streams.
            .header("hasleader", "true");
        if let Some(token) = token {
            request = request.header("token", token);
        }
        request.body(body).map_err(Status::unsent)
    }

    async fn send(&self, request: Request<Outgoing>) -> Result<Response<Incoming>, Status> {
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(Status::unsent)?;
        match sender.send_request(request).await {
            Ok(response) => Ok(response),
            // It was not handed to the connection.
            Err(error) if error.is_canceled() => Err(Status::unsent(error)),
            Err(error) => Err(Status::sent(describe(&error))),
        }
    }
}

/// The body of a request: one message.
struct Outgoing {
    frame: Option<Bytes>,
    /// Whether the request ends after the message.
    ends: bool,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.frame.take(), self.ends) {
            (Some(frame), _) => Poll::Ready(Some(Ok(Frame::data(frame)))),
            (None, true) => Poll::Ready(None),
            (None, false) => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frame.is_none() && self.ends
    }
}

/// The responses to a call.
pub(super) struct Stream {
    body: Incoming,
    received: Vec<u8>,
}

impl Stream {
    fn begin(response: Response<Incoming>) -> Result<Self, Status> {
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(Status::sent(format_args!("the server answers HTTP {}", head.status)));
        }
        // A call that fails at once has its status here.
        match head.headers.contains_key("grpc-status") {
            true => ended(&head.headers).map(|()| Self { body, received: Vec::new() }),
            false => Ok(Self { body, received: Vec::new() }),
        }
    }

    /// The next response; `None` at the end of a call that succeeded. Dropping the future loses
    /// nothing.
    pub(super) async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else {
                return match self.received.is_empty() {
                    true => Err(Status::sent("the server sent no status")),
                    false => Err(Status::sent("a response is cut off")),
                };
            };
            match frame.map_err(|error| Status::sent(describe(&error)))?.into_data() {
                Ok(data) => self.received.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return ended(&trailers).map(|()| None);
                }
            }
        }
    }

    /// Takes a message from what was received, if all of it is there.
    fn whole(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((head, rest)) = self.received.split_first_chunk::<5>() else { return Ok(None) };
        let [compressed, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if compressed != 0 || length > MAX_MESSAGE {
            return Err(Status::sent("a response is compressed or too long"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let message = Bytes::copy_from_slice(&rest[..length]);
        self.received.drain(..5 + length);
        Ok(Some(message))
    }
}

/// A message behind its length.
fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

/// What the end of a call says.
fn ended(trailers: &HeaderMap) -> Result<(), Status> {
    let text = |name| trailers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text("grpc-status").and_then(|code| code.parse().ok()) {
        Some(0) => Ok(()),
        code => {
            let message = text("grpc-message").unwrap_or("the server sent no status").to_owned();
            Err(Status { code: code.unwrap_or(UNKNOWN), message, is_sent: true })
        }
    }
}

async fn shake_hands(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Outgoing>, Status> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(WINDOW).initial_connection_window_size(2 * WINDOW);
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(Status::unsent)?;
    // It ends with the last sender and stream.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the store has failed");
        }
    });
    Ok(sender)
}

/// An error with its causes.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
