//! `kmsctl status`: a running daemon and its devices.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Failure, Outcome, Output};
use crate::devices::DeviceReport;

/// How long the daemon may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest report, in bytes.
const MAX_REPORT: usize = 1 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The daemon.
    #[arg(long, default_value = "http://127.0.0.1:8700", env = "AWS_ENDPOINT_URL_KMS")]
    url: Uri,
    /// Certificate to trust for https, PEM; the daemon's own is DIR/tls/certificate.pem.
    #[arg(long, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    ca: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(arguments)).await });
    let (ready, report) = asked.map_err(|_| {
        Failure(format!("{} does not answer; is kmsd running there?", arguments.url))
    })??;
    output.print(&report, |out, report| print(out, &arguments.url, ready, report))?;
    Ok(if ready { Outcome::Good } else { Outcome::Bad })
}

/// Readiness and report of `/readyz`.
async fn ask(arguments: &Arguments) -> Result<(bool, Value), Failure> {
    let url = &arguments.url;
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
        return fetch(stream, host).await;
    }
    let name = ServerName::try_from(bare.to_owned())?;
    let connector = TlsConnector::from(Arc::new(trust(arguments.ca.as_deref())?));
    fetch(connector.connect(name, stream).await?, host).await
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

async fn fetch(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
) -> Result<(bool, Value), Failure> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz").header("host", host).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let ready = response.status().is_success();
    let body = Limited::new(response.into_body(), MAX_REPORT).collect().await;
    let body = body.map_err(|error| Failure(format!("the report cannot be read: {error}")))?;
    let report = serde_json::from_slice(&body.to_bytes())
        .map_err(|_| Failure("that is no kmsd: its /readyz is no JSON".into()))?;
    Ok((ready, report))
}

fn print(out: &mut dyn Write, url: &Uri, ready: bool, report: &Value) -> io::Result<()> {
    writeln!(out, "kmsd at {url}: {}", if ready { "ready" } else { "NOT READY" })?;
    for (name, value) in report.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => writeln!(out, "  {name:<18}{text}")?,
            Value::Number(_) | Value::Bool(_) => writeln!(out, "  {name:<18}{value}")?,
            _ => {}
        }
    }
    let devices = report.get("devices").cloned().unwrap_or_default();
    let devices: Vec<DeviceReport> = serde_json::from_value(devices).unwrap_or_default();
    if devices.is_empty() {
        return Ok(());
    }
    let row = |out: &mut dyn Write, cells: [&str; 7]| {
        let [region, name, state, board, busy, answered, failed] = cells;
        write!(out, "{region:<14} {name:<16} {state:<13} {board:<13}")?;
        writeln!(out, " {busy:>4} {answered:>9} {failed:>6}")
    };
    writeln!(out)?;
    row(out, ["REGION", "DEVICE", "STATE", "BOARD", "BUSY", "ANSWERED", "FAILED"])?;
    for device in &devices {
        let board = device.board.as_deref().unwrap_or("-");
        let (busy, answered, failed) =
            (device.in_flight.to_string(), device.answered.to_string(), device.failed.to_string());
        let cells = [&device.region, &device.name, &device.state, board, &busy, &answered, &failed];
        row(out, cells)?;
        if let Some(error) = device.last_error.as_deref().filter(|_| !device.in_service) {
            writeln!(out, "  {error}")?;
        }
    }
    Ok(())
}
