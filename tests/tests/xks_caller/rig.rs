//! An installation that calls, and what stands in for a proxy that does not do what it should.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Answer, Connection, call};
use hsm_tests::patience::until;
use hsm_tests::tls::make_certificate;
use hsm_tests::xks::Store;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The installation that calls proxies.
pub(crate) struct Caller {
    pub(crate) daemon: Daemon,
}

impl Caller {
    /// One that calls the proxy at an address as `localhost`, trusting the certificates in a file.
    pub(crate) fn start(address: &str, trusted: &str, more: &[&str]) -> Self {
        let host = format!("localhost={address}");
        let arguments = ["--xks-proxy-allow", &host, "--xks-proxy-ca", trusted];
        let quick = ["--rsa-stock", "0,0,0"];
        let arguments = [&arguments[..], &quick, more].concat();
        Self { daemon: Daemon::start_with(&["soft"], &arguments) }
    }

    pub(crate) fn call(&self, operation: &str, body: &Value) -> Answer {
        call(&self.daemon, operation, body)
    }

    pub(crate) fn ok(&self, operation: &str, body: &Value) -> Value {
        let answer = self.call(operation, body);
        assert_eq!(answer.status, 200, "{operation}: {}", answer.body.escape_ascii());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    pub(crate) fn refused(&self, operation: &str, body: &Value) -> String {
        self.call(operation, body).code()
    }

    /// Makes a custom key store, and returns its id.
    pub(crate) fn store(&self, name: &str, store: &Store) -> String {
        let made = self.ok("CreateCustomKeyStore", &to_create(name, store));
        text(&made["CustomKeyStoreId"])
    }

    pub(crate) fn described(&self, id: &str) -> Value {
        let found = self.ok("DescribeCustomKeyStores", &json!({ "CustomKeyStoreId": id }));
        found["CustomKeyStores"][0].clone()
    }

    /// Connects a store and returns how that has ended.
    pub(crate) fn connect(&self, id: &str) -> Value {
        self.ok("ConnectCustomKeyStore", &json!({ "CustomKeyStoreId": id }));
        let mut found = Value::Null;
        until("the store is connected or not", || {
            found = self.described(id);
            found["ConnectionState"] != "CONNECTING"
        });
        found
    }

    pub(crate) fn connected(&self, name: &str, store: &Store) -> String {
        let id = self.store(name, store);
        assert_eq!(self.connect(&id)["ConnectionState"], "CONNECTED");
        id
    }

    /// Makes a key for an external key, and returns its metadata.
    pub(crate) fn key(&self, store: &str, external: &str) -> Value {
        let made = self.ok("CreateKey", &to_make(store, external));
        made["KeyMetadata"].clone()
    }

    /// The records of a service, newest last.
    pub(crate) fn records(daemon: &Daemon, source: &str) -> Vec<Value> {
        let log = daemon.data().join("audit");
        let (code, text) = ctl::text(&["--json", "audit", "query", log.to_str().expect("UTF-8")]);
        assert_eq!(code, 0, "{text}");
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        all.filter(|record| record["eventSource"] == source).collect()
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

pub(crate) fn to_create(name: &str, store: &Store) -> Value {
    json!({
        "CustomKeyStoreName": name,
        "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
        "XksProxyConnectivity": "PUBLIC_ENDPOINT",
        "XksProxyUriEndpoint": "https://localhost",
        "XksProxyUriPath": store.path,
        "XksProxyAuthenticationCredential": credential(store),
    })
}

pub(crate) fn credential(store: &Store) -> Value {
    let who = &store.credentials;
    json!({ "AccessKeyId": who.id, "RawSecretAccessKey": who.secret })
}

pub(crate) fn to_make(store: &str, external: &str) -> Value {
    json!({ "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store, "XksKeyId": external })
}

pub(crate) fn to_encrypt(key: &str, plaintext: &[u8]) -> Value {
    json!({
        "KeyId": key,
        "Plaintext": BASE64.encode(plaintext),
        "EncryptionContext": { "project": "nile" },
    })
}

pub(crate) fn to_decrypt(blob: &Value) -> Value {
    json!({ "CiphertextBlob": blob, "EncryptionContext": { "project": "nile" } })
}

/// What stands before a proxy does with requests.
pub(crate) enum Mode {
    /// Lets the proxy respond.
    Forward,
    /// Lets the proxy respond, and changes what it said.
    Alter(fn(&mut Value)),
    /// Says these bytes instead, and ends the connection.
    Say(Vec<u8>),
    /// Reads requests and says nothing.
    Hang,
    /// Lets the proxy respond so much later to requests whose path begins so.
    Delay(&'static str, Duration),
    /// Ends each connection before there is TLS.
    Close,
}

/// What stands before a proxy: a server with TLS that knows no secret.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    requests: Arc<AtomicUsize>,
    under_way: Arc<UnderWay>,
    directory: TempDir,
}

/// Requests that have no response yet, and the most that there were at a time.
#[derive(Default)]
struct UnderWay {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One of them.
struct One<'u>(&'u UnderWay);

impl<'u> One<'u> {
    fn of(under_way: &'u UnderWay) -> Self {
        let now = under_way.now.fetch_add(1, Ordering::Relaxed) + 1;
        under_way.most.fetch_max(now, Ordering::Relaxed);
        Self(under_way)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Front {
    pub(crate) fn start(proxy: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) =
            (directory.path().join("certificate.pem"), directory.path().join("key.pem"));
        let _ = make_certificate(&certificate, &key);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = CertificateDer::from_pem_file(&certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&key).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("an identity");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let mode = Arc::new(Mutex::new(Mode::Forward));
        let requests = Arc::new(AtomicUsize::new(0));
        let (of_thread, counted, proxy) =
            (Arc::clone(&mode), Arc::clone(&requests), proxy.to_owned());
        let under_way = Arc::new(UnderWay::default());
        let all = Arc::clone(&under_way);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, mode) = (Arc::clone(&config), Arc::clone(&of_thread));
                let (counted, all) = (Arc::clone(&counted), Arc::clone(&all));
                let proxy = proxy.clone();
                thread::spawn(move || serve(stream, config, &mode, (&counted, &all), &proxy));
            }
        });
        Self { address, mode, requests, under_way, directory }
    }

    pub(crate) fn trusted(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().expect("no panic") = mode;
    }

    /// The most requests that were under way at a time.
    pub(crate) fn most_under_way(&self) -> usize {
        self.under_way.most.load(Ordering::Relaxed)
    }

    /// How many requests have come.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    mode: &Mutex<Mode>,
    (counted, under_way): (&AtomicUsize, &UnderWay),
    proxy: &str,
) {
    if matches!(*mode.lock().expect("no panic"), Mode::Close) {
        return;
    }
    let session = ServerConnection::new(config).expect("a session");
    let mut stream = StreamOwned::new(session, stream);
    while let Some(request) = read_request(&mut stream) {
        counted.fetch_add(1, Ordering::Relaxed);
        let _one = One::of(under_way);
        let mut late = Duration::ZERO;
        let alter = match &*mode.lock().expect("no panic") {
            Mode::Forward => None,
            Mode::Alter(alter) => Some(*alter),
            Mode::Say(bytes) => {
                let _ = stream.write_all(bytes);
                stream.conn.send_close_notify();
                let _ = stream.flush();
                return;
            }
            Mode::Close => return,
            Mode::Delay(path, delay) => {
                let is_late = request.starts_with(format!("POST {path}").as_bytes());
                late = if is_late { *delay } else { Duration::ZERO };
                None
            }
            Mode::Hang => {
                // The other end gives up first.
                thread::sleep(Duration::from_secs(30));
                return;
            }
        };
        thread::sleep(late);
        let mut behind = Connection::to(proxy);
        if behind.write(&request).is_err() {
            return;
        }
        let Ok(Answer { status, mut body, .. }) = behind.read() else { return };
        if let Some(alter) = alter {
            let mut value: Value = serde_json::from_slice(&body).expect("JSON");
            alter(&mut value);
            body = value.to_string().into_bytes();
        }
        if stream.write_all(&response(status, &body)).is_err() {
            return;
        }
    }
}

pub(crate) fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A request as it came; `None` at the end of the connection.
fn read_request(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&chunk[..count]);
        let Some(end) = request.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
        let length =
            head.split("content-length: ").nth(1)?.lines().next()?.parse::<usize>().ok()?;
        if request.len() >= end + 4 + length {
            return Some(request);
        }
    }
}
