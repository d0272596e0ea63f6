//! The front over real sockets: valid, invalid and slow requests, and the shutdown.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::{Cors, Front, Limits, Memory, Pages, Server};
use crate::api::Service;
use crate::api::tests::device::without_devices;
use crate::app::App;
use crate::credentials::Credentials;
use crate::development::Development;
use crate::iam::{Iam, Setup};
use crate::management::Management;
use crate::metrics::{Metrics, Readiness};
use crate::regions::Regions;
use crate::signer;
use kms_audit::{AuditLog, verify};
use kms_base::clock::SystemClock;
use kms_installation::tls;
use kms_sigv4::Verifier;
use kms_store::{MemoryStore, Store};

mod absent;
mod browsers;
mod floods;
mod http2;
mod over_tls;
mod query;
mod strangers;

const ID: &str = "AKIAAAAAAAAAAAAAAAAA";
const SECRET: &str = "a-secret-that-must-not-be-logged";
const ACCOUNT: &str = "000000000000";
const LIST_KEYS: &str = "TrentService.ListKeys";

/// Reports the readiness that a test has set.
struct Told(AtomicBool);

impl Readiness for Told {
    fn report(&self) -> (bool, Value) {
        let ready = self.0.load(Ordering::Acquire);
        (ready, json!({ "ready": ready }))
    }

    fn observe(&self, metrics: &Metrics) -> bool {
        metrics.device("us-east-1", "soft-0", true, 0);
        self.0.load(Ordering::Acquire)
    }
}

/// The options of a front.
#[derive(Default)]
struct Ways {
    with_tls: bool,
    pages: Pages,
    cors: Cors,
    development: bool,
}

/// A front on an in-memory store. No operation here needs a device.
struct Rig {
    address: SocketAddr,
    audit: Arc<AuditLog>,
    ready: Arc<Told>,
    dir: TempDir,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

/// The time after which a test gives up, on a machine of any speed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Returns limits that end nothing while a test runs, so that whatever happens has another cause.
fn unhurried() -> Limits {
    let (head, idle, write, answer, drain) = (PATIENCE, PATIENCE, PATIENCE, PATIENCE, PATIENCE);
    Limits { head, idle, write, answer, drain, ..Limits::default() }
}

/// The longest pause between two steps of a test.
struct Pace {
    last: Instant,
    longest: Duration,
}

impl Pace {
    fn step(&mut self) {
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
    }
}

/// Returns the result of an attempt whose steps must follow each other within `limit`. A failed
/// attempt is repeated only if this machine has held it up for longer.
async fn not_held_up<T>(limit: Duration, attempt: impl AsyncFn(&mut Pace) -> Option<T>) -> T {
    let by = Instant::now() + PATIENCE;
    loop {
        let mut pace = Pace { last: Instant::now(), longest: Duration::ZERO };
        if let Some(done) = attempt(&mut pace).await {
            return done;
        }
        pace.step();
        assert!(
            pace.longest >= limit,
            "it fails although no step took longer than {:?}",
            pace.longest
        );
        assert!(Instant::now() < by, "this machine always takes longer than {limit:?} for a step");
    }
}

impl Rig {
    async fn start() -> Self {
        Self::start_with(false, unhurried()).await
    }

    async fn start_with(with_tls: bool, limits: Limits) -> Self {
        Self::start_on(without_devices(), with_tls, limits).await
    }

    async fn start_pages(pages: Pages) -> Self {
        let ways = Ways { pages, ..Ways::default() };
        Self::start_serving(without_devices(), Limits::default(), ways).await
    }

    async fn start_on(regions: Arc<Regions>, with_tls: bool, limits: Limits) -> Self {
        Self::start_serving(regions, limits, Ways { with_tls, ..Ways::default() }).await
    }

    async fn start_serving(
        regions: Arc<Regions>,
        limits: Limits,
        Ways { with_tls, pages, cors, development }: Ways,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (audit, _) = AuditLog::open(&dir.path().join("audit"), json!({})).await.unwrap();
        let audit = Arc::new(audit);
        let served = Arc::clone(&regions);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut credentials = Credentials::default();
        credentials.insert_root(ACCOUNT, ID, Zeroizing::new(SECRET.to_owned()));
        let iam = Iam::open(Setup {
            store: Arc::clone(&store),
            regions: Arc::clone(&regions),
            region: "us-east-1".to_owned(),
            clock: Arc::new(SystemClock),
            account: ACCOUNT.to_owned(),
            roots: credentials,
        })
        .await
        .unwrap();
        let iam = Arc::new(iam);
        let service = Service::open(store, regions, Arc::new(SystemClock)).await.unwrap();
        let ready = Arc::new(Told(AtomicBool::new(true)));
        let app = Arc::new(App {
            service: service.with_identities(Arc::clone(&iam)),
            management: Management::new(Arc::clone(&iam)),
            verifier: Verifier::new(
                Arc::new(move |region| served.has(region)),
                Duration::from_secs(300),
            ),
            iam,
            audit: Arc::clone(&audit),
            admission: crate::admission::Admission::default(),
            metrics: Metrics::new(),
            region: "us-east-1".to_owned(),
            account: ACCOUNT.to_owned(),
        });
        let front = Arc::new(Front {
            app,
            readiness: Arc::clone(&ready) as Arc<dyn Readiness>,
            development: development.then(|| Arc::new(Development::default())),
            memory: Memory::default(),
            memory_of_stores: Memory::of_stores(),
            cors,
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server::bind(&[address], limits).await.unwrap().serving(pages);
        if with_tls {
            let served = tls::Served::own(dir.path(), [], SystemTime::now()).unwrap();
            server = server.over_tls(served.config().unwrap());
        }
        let address = server.address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(front, async { drop(stopped.await) }));
        Self { address, audit, ready, dir, stop, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn signed(&self, target: &str, body: &[u8]) -> Vec<u8> {
        let headers = self.headers(target, body);
        let mut request = b"POST / HTTP/1.1\r\n".to_vec();
        for (name, value) in &headers {
            request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        request.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
        request.extend(body);
        request
    }

    /// Returns the headers of a signed request.
    fn headers(&self, target: &str, body: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name, value: &str| {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        };
        set("host", &self.address.to_string());
        set("content-type", "application/x-amz-json-1.1");
        set("x-amz-target", target);
        set("user-agent", "test/1");
        signer::sign(&mut headers, "/", body, (ID, SECRET), SystemTime::now(), false);
        headers
    }

    async fn exchange(&self, request: &[u8]) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        Reply::read(&mut stream).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.exchange(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await
    }

    /// Returns the audit records of the requests so far.
    fn records(&self) -> Vec<Value> {
        records(self.dir.path())
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
        drop(self.audit);
        assert_eq!(verify(&self.dir.path().join("audit")).unwrap().fault, None);
    }
}

fn records(dir: &Path) -> Vec<Value> {
    let requests = lines(dir).into_iter().filter(|line| line["kind"] == "request");
    requests.map(|mut line| line["record"].take()).collect()
}

/// Returns the lines of the log.
fn lines(dir: &Path) -> Vec<Value> {
    let segment = |path: &Path| path.extension().is_some_and(|extension| extension == "jsonl");
    fs::read_dir(dir.join("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| segment(path))
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            // The last line may not be complete on the disk yet.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            whole.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .map(|line| serde_json::from_str::<Value>(&line).unwrap())
        .collect()
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    /// Reads one response that has a content length.
    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "closed without a response");
        };
        let mut body = bytes.split_off(end);
        let head = String::from_utf8(bytes).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let reply = Self { status, head, body: Vec::new() };
        let length: usize = reply.header("content-length").unwrap().parse().unwrap();
        while body.len() < length {
            assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0, "closed within a response");
        }
        Self { body, ..reply }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["__type"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_is_answered_and_recorded() {
    let rig = Rig::start().await;
    let reply = rig.exchange(&rig.signed(LIST_KEYS, b"{}")).await;
    assert_eq!((reply.status, reply.json()["Keys"].clone()), (200, json!([])));
    assert_eq!(reply.header("content-type"), Some("application/x-amz-json-1.1"));
    assert!(reply.header("date").is_some());
    let records = rig.records();
    assert_eq!(records.len(), 1);
    assert_eq!(reply.header("x-amzn-requestid"), records[0]["requestID"].as_str());
    assert_eq!(records[0]["userIdentity"]["accessKeyId"], ID);
    assert_eq!(records[0]["userAgent"], "test/1");
    assert_eq!(records[0]["sourceIPAddress"], "127.0.0.1");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_typed_and_recorded_and_the_connection_goes_on() {
    let rig = Rig::start().await;
    let mut stream = rig.connect().await;
    let unsigned = b"POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.ListKeys\r\n\
                     content-length: 2\r\n\r\n{}";
    let other_path = b"POST /x HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.ListKeys\r\n\
                       content-length: 2\r\n\r\n{}";
    let cases: [(&[u8], &str); 6] = [
        (unsigned, "MissingAuthenticationTokenException"),
        (other_path, "UnknownOperationException"),
        (&rig.signed("TrentService.Nothing", b"{}"), "UnknownOperationException"),
        (&rig.signed("OtherService.ListKeys", b"{}"), "UnknownOperationException"),
        (&rig.signed(LIST_KEYS, b"{\"Limit\":"), "SerializationException"),
        (&rig.signed(LIST_KEYS, b"[1]"), "SerializationException"),
    ];
    for (request, code) in &cases {
        stream.write_all(request).await.unwrap();
        let reply = Reply::read(&mut stream).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, *code));
    }
    stream.write_all(&rig.signed(LIST_KEYS, b"{}")).await.unwrap();
    assert_eq!(Reply::read(&mut stream).await.status, 200);
    let codes: Vec<_> = rig.records().iter().map(|record| record["errorCode"].clone()).collect();
    let mut expected: Vec<_> = cases.iter().map(|(_, code)| json!(code)).collect();
    expected.push(Value::Null);
    assert_eq!(codes, expected);
    assert_eq!(rig.records()[0]["userIdentity"], json!({ "type": "Unknown" }));
    drop(stream);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_after_its_end() {
    let rig = Rig::start().await;
    let large = vec![b' '; (1 << 20) + 1];
    let reply = rig.exchange(&rig.signed(LIST_KEYS, &large)).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "RequestEntityTooLargeException"));
    assert_eq!(reply.header("connection"), Some("close"));

    let mut chunked = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..40 {
        chunked.extend(b"10000\r\n");
        chunked.extend([b' '; 0x10000]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(rig.exchange(&chunked).await.status, 413);
    let limit = vec![b' '; 1 << 20];
    assert_eq!(rig.exchange(&rig.signed(LIST_KEYS, &limit)).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_silence_end_their_connection_only() {
    let limits = Limits { head: Duration::from_millis(500), ..unhurried() };
    let rig = Rig::start_with(false, limits).await;
    let mut garbage = rig.connect().await;
    garbage.write_all(&[0; 1000]).await.unwrap();
    let mut silent = rig.connect().await;
    silent.write_all(b"POST / HTTP/1.1\r\nho").await.unwrap();
    for stream in [&mut garbage, &mut silent] {
        let mut answer = Vec::new();
        // The connection ends, with or without a 4xx response of the HTTP library.
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
        let _ = ended.await.expect("the connection ends");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    }
    let served = not_held_up(limits.head, async |pace| {
        let mut stream = rig.connect().await;
        let request = rig.signed(LIST_KEYS, b"{}");
        pace.step();
        stream.write_all(&request).await.ok()?;
        pace.step();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.ok()?;
        Some(status)
    });
    assert_eq!(&served.await, b"HTTP/1.1 200");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_leaves_is_recorded() {
    let rig = Rig::start().await;
    let mut stream = rig.connect().await;
    stream.write_all(&rig.signed(LIST_KEYS, b"{}")).await.unwrap();
    drop(stream);
    let mut cut = rig.connect().await;
    let request = rig.signed(LIST_KEYS, b"{\"Limit\":1}");
    cut.write_all(&request[..request.len() - 3]).await.unwrap();
    drop(cut);
    let by = Instant::now() + PATIENCE;
    while rig.records().len() < 2 {
        assert!(Instant::now() < by, "{:?}", rig.records());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_without_its_record() {
    let rig = Rig::start().await;
    assert_eq!(rig.exchange(&rig.signed(LIST_KEYS, b"{}")).await.status, 200);
    rig.audit.set_disk_full(true);
    for _ in 0..3 {
        let reply = rig.exchange(&rig.signed(LIST_KEYS, b"{}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (500, "KMSInternalException"));
    }
    rig.audit.set_disk_full(false);
    assert_eq!(rig.exchange(&rig.signed(LIST_KEYS, b"{}")).await.status, 200);
    let late = rig.records();
    assert_eq!(late.len(), 5, "refused requests are recorded later");
    assert!(late[2..4].iter().all(|record| record["errorCode"] == "KMSInternalException"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics() {
    let rig = Rig::start().await;
    rig.exchange(&rig.signed(LIST_KEYS, b"{}")).await;
    rig.exchange(&rig.signed("TrentService.Made\"Up", b"{}")).await;
    assert_eq!(rig.get("/healthz").await.status, 200);
    assert_eq!(
        (rig.get("/readyz").await.status, rig.get("/readyz").await.json()),
        (200, json!({ "ready": true }))
    );
    rig.ready.0.store(false, Ordering::Release);
    assert_eq!(rig.get("/readyz").await.status, 503);
    let page = String::from_utf8(rig.get("/metrics").await.body).unwrap();
    for line in [
        "strongroom_requests_total{operation=\"ListKeys\",code=\"OK\"} 1",
        "strongroom_requests_total{operation=\"unknown\",code=\"UnknownOperationException\"} 1",
        "strongroom_request_duration_seconds_count{operation=\"ListKeys\"} 1",
        "strongroom_device_up{region=\"us-east-1\",device=\"soft-0\"} 1",
        "strongroom_audit_pending_records 0",
        "strongroom_audit_sequence 3",
        "strongroom_ready 0",
    ] {
        assert!(page.lines().any(|known| known == line), "{line} not in\n{page}");
    }
    assert_eq!(rig.records().len(), 2, "these are not API requests");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_closes_idle_connections_at_once() {
    let rig = Rig::start().await;
    let _silent = rig.connect().await;
    let mut idle = rig.connect().await;
    idle.write_all(&rig.signed(LIST_KEYS, b"{}")).await.unwrap();
    assert_eq!(Reply::read(&mut idle).await.status, 200);
    let begin = Instant::now();
    rig.stop().await;
    assert!(begin.elapsed() < PATIENCE, "it has waited for them");
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
