//! The product beside its ceiling: a bare server of the same HTTP library that checks the same signatures and
//! answers a constant. `cargo xtask bench -- --against-ceiling`.
//!
//! Both serve the same bytes from the same clients, in turn, so that what else the machine does meets both.
//! Only ratios are worth something: a request of the product costs so many times what it costs to read, verify
//! and answer one.

use std::convert::Infallible;
use std::env;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hsm_tests::daemon::{Credentials, Daemon};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use kms_sigv4::{AccessKey, Session, SignedRequest, SigningService, Verifier};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::load::{self, Run};

/// The argument that makes this program the ceiling.
pub(crate) const SERVE: &str = "--serve-ceiling";
/// Where the ceiling finds the access key.
const ID: &str = "STRONGROOM_CEILING_ID";
const SECRET: &str = "STRONGROOM_CEILING_SECRET";
/// Connections of the rows, unless the person says.
pub(crate) const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// Turns of each of both.
const TURNS: usize = 3;
/// As long as the answer to most requests.
const ANSWER: &str = r#"{"CiphertextBlob":"AQDKzQTiBOlJbpbqGIMhut+lloZcFeavTYmXsX1Pu3H3x6NY2Eu+Ylozm6czMYgD6UAzF/W/aZNz+MIEJ6EtkVMGpPQA3JzoDKwchkIZICPI0vEvnQEmpw2kZAbYg7eXK6F4","EncryptionAlgorithm":"SYMMETRIC_DEFAULT","KeyId":"arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000"}"#;

/// The one access key.
struct Key(Credentials);

impl AccessKey for &Key {
    fn secret(&self) -> &str {
        &self.0.secret
    }

    fn session(&self) -> Option<Session> {
        None
    }
}

/// Serves until standard input ends; says the port first.
///
/// # Errors
/// If there is no port, or no access key in the environment.
pub(crate) fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let key = Arc::new(Key(Credentials { id: env::var(ID)?, secret: env::var(SECRET)? }));
    let verifier = Verifier::new(Arc::new(|_: &str| true), Duration::from_secs(300));
    let verifier = Arc::new(verifier);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    println!("{}", listener.local_addr()?);
    runtime.spawn(async move {
        // The server goes on when a client has left again.
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let (key, verifier) = (Arc::clone(&key), Arc::clone(&verifier));
            let service = service_fn(move |request| {
                let (key, verifier) = (Arc::clone(&key), Arc::clone(&verifier));
                async move { Ok::<_, Infallible>(answer(request, &key, &verifier).await) }
            });
            let connection = http1::Builder::new()
                .title_case_headers(true)
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

async fn answer(
    request: hyper::Request<Incoming>,
    key: &Key,
    verifier: &Verifier,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let signed = SignedRequest {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        authority: None,
        headers: &head.headers,
        body: &body,
    };
    let verified = verifier
        .read(&signed, SigningService::KMS, SystemTime::now())
        .and_then(|claim| verifier.verify(&claim, Some(key)));
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    if verified.is_err() {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

/// The ceiling in a process of its own, so that its processor time can be told from the clients'.
struct Ceiling {
    process: Child,
    address: String,
}

impl Ceiling {
    fn start(credentials: &Credentials) -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg(SERVE)
            .env(ID, &credentials.id)
            .env(SECRET, &credentials.secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        let out = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        BufReader::new(out).read_line(&mut address)?;
        Ok(Self { process, address: address.trim_end().to_owned() })
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What an operation did beside the ceiling: one value for each pair of turns, in order of size.
pub(crate) struct Row {
    operation: &'static str,
    connections: usize,
    /// Processor time for each request, in ceilings.
    cpu: Vec<f64>,
    /// Requests per second, in percent of the ceiling's.
    throughput: Vec<f64>,
    /// Of the product: of its last turn.
    last: Run,
    /// Of the ceiling, likewise.
    ceiling: Run,
}

/// Measures the chosen operations at these numbers of connections, `time` for each turn.
///
/// # Errors
/// If the ceiling does not start.
pub(crate) fn measure(
    hsm: &str,
    is_chosen: impl Fn(&str) -> bool,
    connections: &[usize],
    time: Duration,
) -> io::Result<Vec<Row>> {
    // Key pairs that are made in advance would be measured too.
    let daemon = Daemon::start_with(&[hsm], &["--rsa-stock", "0,0,0"]);
    let ceiling = Ceiling::start(&daemon.credentials())?;
    let operations = load::operations(&daemon, true);
    load::settle(&daemon);
    let mut rows = Vec::new();
    for (operation, body) in operations.into_iter().filter(|(row, _)| is_chosen(row)) {
        let request = load::request(operation, &body);
        for &connections in connections {
            eprintln!("{operation}, {connections} connections …");
            let run = |address: &str, process| {
                let sign = || request.clone().signed(&daemon).to_bytes(daemon.address());
                load::run((address, process), &sign, connections, time)
            };
            let (mut cpu, mut throughput, mut both) = (Vec::new(), Vec::new(), None);
            for _ in 0..TURNS {
                let bare = run(&ceiling.address, ceiling.process.id());
                let ours = run(daemon.address(), daemon.id());
                cpu.push(ours.cpu.as_secs_f64() / bare.cpu.as_secs_f64());
                throughput.push(100.0 * ours.per_second / bare.per_second);
                both = Some((ours, bare));
            }
            cpu.sort_by(f64::total_cmp);
            throughput.sort_by(f64::total_cmp);
            let Some((last, ceiling)) = both else { continue };
            rows.push(Row { operation, connections, cpu, throughput, last, ceiling });
        }
    }
    Ok(rows)
}

/// Minimum, median, maximum.
fn spread(values: &[f64]) -> [f64; 3] {
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

impl Row {
    pub(crate) fn to_json(&self) -> Value {
        let three = |values: &[f64]| spread(values).map(|value| (value * 100.0).round() / 100.0);
        json!({
            "operation": self.operation,
            "connections": self.connections,
            "cpu_ceilings": three(&self.cpu),
            "throughput_percent": three(&self.throughput),
            "cpu_us": self.last.cpu.as_micros(),
            "ceiling_cpu_us": self.ceiling.cpu.as_micros(),
            "p50_us": self.last.percentile(50.0).as_micros(),
            "p99_us": self.last.percentile(99.0).as_micros(),
            "p99_9_us": self.last.percentile(99.9).as_micros(),
        })
    }
}

/// Appends a line with all rows to a history.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn record(rows: &[Row], history: &Path) -> io::Result<()> {
    let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
    let line = json!({ "version": env!("CARGO_PKG_VERSION"), "rows": rows });
    let mut file = OpenOptions::new().create(true).append(true).open(history)?;
    writeln!(file, "{line}")
}

pub(crate) fn print(hsm: &str, rows: &[Row]) {
    println!("\n{hsm} beside a server that only checks signatures (minimum, median, maximum)");
    println!(
        "{:<16}{:>6}{:>19}{:>19}{:>8}{:>9}{:>9}{:>9}",
        "operation",
        "conns",
        "CPU, x ceiling",
        "requests/s, %",
        "CPU µs",
        "p50 ms",
        "p99 ms",
        "p99.9"
    );
    for row in rows {
        let three = |values: &[f64], digits: usize| {
            let [least, median, most] = spread(values);
            format!("{least:.digits$} {median:.digits$} {most:.digits$}")
        };
        let ms = |percent| row.last.percentile(percent).as_secs_f64() * 1e3;
        println!(
            "{:<16}{:>6}{:>19}{:>19}{:>8}{:>9.2}{:>9.2}{:>9.2}",
            row.operation,
            row.connections,
            three(&row.cpu, 2),
            three(&row.throughput, 0),
            row.last.cpu.as_micros(),
            ms(50.0),
            ms(99.0),
            ms(99.9)
        );
    }
}
