//! A client whose connections stay open, over HTTP/1.1 and HTTP/2, in the clear and over TLS.

use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::daemon::Daemon;
use crate::http::{Answer, Request};

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1, with keep-alive.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection that is open until it is dropped.
pub struct Client {
    sender: Sender,
    scheme: &'static str,
    host: String,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Client {
    /// Connects; over TLS if the daemon has it.
    ///
    /// # Panics
    /// If the daemon does not take the connection.
    pub async fn connect(daemon: &Daemon, version: Version) -> Self {
        let stream = TcpStream::connect(daemon.address()).await.expect("the daemon listens");
        stream.set_nodelay(true).expect("an option can be set");
        let encrypted = daemon.url().starts_with("https:");
        let stream: Box<dyn Stream> = match encrypted {
            true => Box::new(encrypt(stream, daemon, version).await.expect("a TLS handshake")),
            false => Box::new(stream),
        };
        let stream = TokioIo::new(stream);
        let sender = match version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.expect("a connection");
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Version::Http2 => {
                let opened = http2::handshake(TokioExecutor::new(), stream).await;
                let (sender, connection) = opened.expect("a connection");
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        let scheme = if encrypted { "https" } else { "http" };
        Self { sender, scheme, host: daemon.address().to_owned() }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Panics
    /// If there is no whole answer.
    pub async fn send(&mut self, request: &Request) -> Answer {
        let uri = match self.sender {
            Sender::Http1(_) => request.path.clone(),
            Sender::Http2(_) => format!("{}://{}{}", self.scheme, self.host, request.path),
        };
        let mut builder = hyper::Request::builder().method(request.method.as_str()).uri(uri);
        if matches!(self.sender, Sender::Http1(_)) {
            builder = builder.header("host", &self.host);
        }
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let message = builder.body(Full::new(request.body.clone().into())).expect("well formed");
        let answer = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.expect("the connection stays open");
                sender.send_request(message).await
            }
            Sender::Http2(sender) => sender.send_request(message).await,
        };
        let (head, body) = answer.expect("an answer").into_parts();
        let text = |value: &hyper::header::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        let headers = headers.collect();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        Answer { status: head.status.as_u16(), headers, body }
    }
}

async fn encrypt(
    stream: TcpStream,
    daemon: &Daemon,
    version: Version,
) -> io::Result<impl Stream + use<>> {
    let file = daemon.data().join("tls/certificate.pem");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match version {
        Version::Http1 => vec![b"http/1.1".to_vec()],
        Version::Http2 => vec![b"h2".to_vec()],
    };
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
