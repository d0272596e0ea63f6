//! One connection to a proxy: TCP, TLS, HTTP/1.1.

use std::time::SystemTime;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::{AllowedHost, Failure};
use kms_installation::tls;
use kms_xks::{MAX_RESPONSE, Unreadable};

/// The port of proxies, as at AWS KMS.
const PORT: u16 = 443;
/// Longest head of a response, in bytes; also how much of a body is read at a time.
const MAX_HEAD: usize = 16 * 1024;

/// A connection that a request can be sent over. It is closed when dropped.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects to the proxy on a host. Returns when the certificate that it shows ends, if it says so.
pub(super) async fn connect(
    tls: &TlsConnector,
    host: &AllowedHost,
) -> Result<(Connection, Option<SystemTime>), Failure> {
    let stream = match host.address {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((host.name.as_str(), PORT)).await,
    };
    let stream = stream.map_err(|error| Failure::Unreachable(error.to_string()))?;
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(host.name.clone()).map_err(|_| Failure::NotAllowed)?;
    let stream = tls.connect(name, stream).await.map_err(|error| of_io(&error))?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let end = shown.and_then(tls::end_of);
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let shaken = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| of_http(&error))?;
    let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    Ok((Connection { sender, task }, end))
}

impl Connection {
    /// Whether the other end has not closed it, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request and reads status and body of its response.
    pub(super) async fn send(
        &mut self,
        path: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), Failure> {
        let request = Request::post(path).body(Full::new(Bytes::from(body)));
        let mut request = request.map_err(|error| Failure::Unreachable(error.to_string()))?;
        *request.headers_mut() = headers;
        self.sender.ready().await.map_err(|error| of_http(&error))?;
        let response = self.sender.send_request(request).await;
        let response = response.map_err(|error| of_http(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => Failure::Response(Unreadable("the body is too long")),
            None => match error.downcast_ref::<hyper::Error>() {
                Some(error) => of_http(error),
                None => Failure::Unreachable(error.to_string()),
            },
        })?;
        Ok((status, body.to_bytes().to_vec()))
    }
}

fn of_io(error: &std::io::Error) -> Failure {
    match error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        true => Failure::Tls(error.to_string()),
        false => Failure::Unreachable(error.to_string()),
    }
}

/// A proxy that speaks no HTTP is there, but does not respond as it should; one that refuses the certificate
/// of this end may say so only after the handshake.
fn of_http(error: &hyper::Error) -> Failure {
    if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
        return Failure::Response(Unreadable("it is not HTTP"));
    }
    let io = std::error::Error::source(error).and_then(|it| it.downcast_ref::<std::io::Error>());
    io.map_or_else(|| Failure::Unreachable(error.to_string()), of_io)
}
