//! A running daemon, asked over HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::Failure;

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Where the daemon is.
#[derive(Debug, clap::Args)]
pub(super) struct Daemon {
    /// The daemon.
    #[arg(
        long,
        global = true,
        default_value = "http://127.0.0.1:8700",
        env = "AWS_ENDPOINT_URL_KMS"
    )]
    pub(super) url: Uri,
    /// Certificate to trust for https, PEM; the daemon's own is DIR/tls/certificate.pem.
    #[arg(long, global = true, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    ca: Option<PathBuf>,
}

/// An answer. It may have a secret in it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Daemon {
    /// Sends a request and waits for its answer, for so long.
    pub(super) fn ask(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked =
            runtime.block_on(async { tokio::time::timeout(patience, self.send(request)).await });
        asked
            .map_err(|_| Failure(format!("{} does not answer; is kmsd running there?", self.url)))?
    }

    /// The `Host` header of requests.
    pub(super) fn host(&self) -> Result<&str, Failure> {
        let authority = self.url.authority().map(hyper::http::uri::Authority::as_str);
        authority.ok_or_else(|| Failure(format!("{} names no host", self.url)))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let url = &self.url;
        let https = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(Failure(format!("{url} is no http or https URL"))),
        };
        let host = url.host().ok_or_else(|| Failure(format!("{url} names no host")))?;
        let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
        let bare = host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((bare, port)).await.map_err(|error| {
            Failure(format!(
                "cannot reach {url}: {error}; is kmsd running there? (--url names another)"
            ))
        })?;
        if !https {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(bare.to_owned())?;
        let connector = TlsConnector::from(Arc::new(trust(self.ca.as_deref())?));
        exchange(connector.connect(name, stream).await?, request).await
    }
}

fn trust(ca: Option<&Path>) -> Result<ClientConfig, Failure> {
    let ca = ca.ok_or_else(|| {
        Failure("https needs --ca FILE, the certificate to trust (DIR/tls/certificate.pem)".into())
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Failure> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| Failure(format!("the answer cannot be read: {error}")))?;
    Ok(Answer { status, body: Zeroizing::new(body.to_bytes().to_vec()) })
}
