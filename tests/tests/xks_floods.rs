//! Floods of the port for external key stores: other stores are served meanwhile, and so is the API of KMS.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use hsm_tests::daemon::{Credentials, Daemon, reserved_address};
use hsm_tests::flood::{address, allow_files, connect_to, is_over, resident};
use hsm_tests::http::{Connection, Request, call, get};
use hsm_tests::patience::until;
use hsm_tests::tls::TlsClient;
use hsm_tests::xks::{Rig, Store, assert_opens, assert_refused, post, to_encrypt};
use serde_json::json;

/// More connections than the port has places for.
const MANY: usize = 400;
/// As many as it has.
const PLACES: usize = 256;

/// A flood takes much of a machine: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A daemon with two stores, each with a key.
struct Target {
    rig: Rig,
    stores: [(Store, String); 2],
}

impl Target {
    fn start() -> Self {
        allow_files(MANY as u64 + 500);
        let rig = Rig::start();
        let stores = ["one", "other"].map(|prefix| rig.with_key(prefix));
        Self { rig, stores }
    }

    /// Checks that a store and the API of KMS answer, each on a connection that is new.
    fn assert_serves(&self) {
        let (store, key) = &self.stores[1];
        let made = self.rig.encrypted(store, key, b"x", b"aad");
        assert_opens(&self.rig.decrypt(store, key, &made, b"aad"), b"x");
        assert_eq!(get(&self.rig.daemon, "/healthz").status, 200);
        let answer = call(&self.rig.daemon, "DescribeKey", &json!({ "KeyId": key }));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// A request of the first store, with a body of so many bytes more than it needs.
    fn request(&self, padding: usize) -> Request {
        let (store, key) = &self.stores[0];
        let mut body = to_encrypt(b"x", b"");
        body["padding"] = json!(" ".repeat(padding));
        let path = format!("{}/keys/{key}/encrypt", store.path);
        self.rig.sign(&path, &body, &store.credentials)
    }

    /// Connections from five addresses on which this is sent and nothing is read, opened by several threads.
    fn flood(&self, bytes: &[u8]) -> Vec<TcpStream> {
        let open = |number| {
            let mut stream = connect_to(self.rig.address(), address(number, 5)).ok()?;
            let _ = stream.write(bytes);
            Some(stream)
        };
        thread::scope(|scope| {
            let part = |first| {
                scope.spawn(move || Vec::from_iter((first..MANY).step_by(8).filter_map(open)))
            };
            let parts: Vec<_> = (0..8).map(part).collect();
            parts.into_iter().flat_map(|part| part.join().expect("opened")).collect()
        })
    }

    /// Checks that others are served while a flood is there, and not only once it has been ended. On a slow machine
    /// that can be over before it has begun: then there is another flood.
    fn serves_beside(&self, flood: impl Fn() -> Vec<TcpStream>) -> Vec<TcpStream> {
        let mut there = Vec::new();
        until("others are served while the flood is there", || {
            there = flood();
            self.assert_serves();
            !there.iter_mut().all(is_over)
        });
        there
    }
}

/// The beginnings of requests that never end.
#[test]
fn connections_that_send_hardly_anything() {
    let _alone = ALONE.lock();
    let target = Target::start();
    let head = b"POST /one/kms/xks/v1/health HTTP/1.1\r\nhost: x\r\n";
    let with_length = [head.as_slice(), b"content-length: 100\r\n\r\n{"].concat();
    let chunked = [head.as_slice(), b"transfer-encoding: chunked\r\n\r\n5\r\n{"].concat();
    let proven = target.request(0).to_bytes("x");
    let cut = &proven[..proven.len() - 1];
    for bytes in
        [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", head, &with_length, &chunked, cut]
    {
        let mut flood = target.serves_beside(|| target.flood(bytes));
        until("the connections are ended", || flood.iter_mut().all(is_over));
    }
    target.assert_serves();
}

/// Clients that end their side and read nothing, or what was asked.
#[test]
fn connections_that_are_half_closed() {
    let _alone = ALONE.lock();
    let target = Target::start();
    let half_closed = |bytes: &[u8]| {
        let flood = target.flood(bytes);
        for stream in &flood {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        flood
    };
    let request = target.request(0).to_bytes(target.rig.daemon.address());
    for bytes in [&b""[..], b"POST / HTTP/1.1\r\n", &request] {
        let mut flood = half_closed(bytes);
        target.assert_serves();
        until("the connections are ended", || flood.iter_mut().all(is_over));
    }
    let mut connection = Connection::to(target.rig.address());
    connection.write(&request).expect("sent");
    connection.finish();
    assert_eq!(connection.read().expect("who waits for the answer gets it").status, 200);
}

#[test]
fn heads_and_bodies_that_are_too_large() {
    let _alone = ALONE.lock();
    let target = Target::start();
    let send = |bytes: &[u8]| {
        let mut connection = Connection::to(target.rig.address());
        let _ = connection.write(bytes);
        connection.read().map(|answer| answer.status)
    };
    let head =
        |more: &str| format!("POST /one/kms/xks/v1/health HTTP/1.1\r\nhost: x\r\n{more}\r\n");
    let huge = head(&format!("x: {}\r\n", "y".repeat(1 << 20)));
    assert!(!matches!(send(huge.as_bytes()), Ok(200..400)));
    let many: String = (0..2000).map(|number| format!("x-{number}: y\r\n")).collect();
    assert!(!matches!(send(head(&many).as_bytes()), Ok(200..400)));
    // As announced: nobody waits for that much.
    let announced = head(&format!("content-length: {}\r\n", 1_u64 << 40));
    assert!(!matches!(send(announced.as_bytes()), Ok(200..400)));
    // A body that never ends.
    let mut endless = connect_to(target.rig.address(), address(0, 1)).expect("connected");
    endless.set_write_timeout(Some(Duration::from_secs(5))).expect("set");
    endless.write_all(head("transfer-encoding: chunked\r\n").as_bytes()).expect("sent");
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    let taken = (0..4096).take_while(|_| endless.write_all(&chunk).is_ok()).count();
    assert!(taken < 1024, "{taken} chunks of 16 KiB of a stranger were taken");
    // What the store itself sends is told why.
    for padding in [64 << 10, 1 << 20] {
        assert_refused(
            &target.rig.send(&target.request(padding)),
            501,
            "UnsupportedOperationException",
        );
    }
    assert_eq!(target.rig.send(&target.request(32 << 10)).status, 200);
    target.assert_serves();
}

/// Whoever knows the id of a credential can have it that bodies are read, and takes no memory of the API of KMS.
#[test]
fn bodies_take_bounded_memory_of_their_own() {
    let _alone = ALONE.lock();
    let target = Target::start();
    let (store, key) = &target.stores[0];
    let forged = Credentials { secret: "x".repeat(44), ..store.credentials.clone() };
    let path = format!("{}/keys/{key}/encrypt", store.path);
    let sign = |length: usize| {
        let request = Request { body: vec![b' '; length], ..post(&path, &json!({})) };
        request.signed_for(hsm_tests::xks::SERVICE, &forged, &target.rig.daemon).to_bytes("x")
    };
    for _ in 0..20 {
        target.assert_serves();
    }
    let before = resident(target.rig.daemon.id());
    for length in [60 << 10, 1 << 20] {
        let bytes = sign(length);
        let cut = &bytes[..bytes.len() - 1];
        let send = |number| {
            let mut stream = connect_to(target.rig.address(), address(number, 5)).ok()?;
            stream.set_write_timeout(Some(Duration::from_millis(500))).ok()?;
            let _ = stream.write_all(cut);
            Some(stream)
        };
        let flood = || {
            thread::scope(|scope| {
                let part = |first| {
                    scope
                        .spawn(move || Vec::from_iter((first..PLACES).step_by(32).filter_map(send)))
                };
                let parts: Vec<_> = (0..32).map(part).collect();
                parts.into_iter().flat_map(|part| part.join().expect("sent")).collect()
            })
        };
        drop(target.serves_beside(|| {
            let flood = flood();
            let now = resident(target.rig.daemon.id());
            assert!(now < before + (60 << 20), "{} MiB more", (now - before) >> 20);
            // The largest body that the API of KMS takes, on a connection that has shown nothing yet.
            let body = json!({ "KeyId": key, "Padding": " ".repeat(900 << 10) });
            let answer = call(&target.rig.daemon, "DescribeKey", &body);
            assert_eq!(answer.status, 200, "{answer:?}");
            flood
        }));
    }
}

/// A store whose client has all connections, each with a request under way that hardly goes on.
#[test]
fn a_store_that_takes_all_places() {
    let _alone = ALONE.lock();
    let target = Target::start();
    let request = target.request(0).to_bytes(target.rig.daemon.address());
    let take = |number| {
        let mut stream = connect_to(target.rig.address(), address(number, 5)).ok()?;
        stream.write_all(&request).ok()?;
        // Its answer shows that the connection is one of the store. It stays in the buffer.
        stream.peek(&mut [0]).ok()?;
        stream.write_all(&request[..request.len() - 1]).ok()?;
        Some(stream)
    };
    let flood = || {
        thread::scope(|scope| {
            let part = |first| {
                scope.spawn(move || {
                    Vec::from_iter((first..PLACES + 40).step_by(32).filter_map(take))
                })
            };
            let parts: Vec<_> = (0..32).map(part).collect();
            parts.into_iter().flat_map(|part| part.join().expect("taken")).collect()
        })
    };
    drop(target.serves_beside(flood));
}

#[test]
fn handshakes_that_stop() {
    let _alone = ALONE.lock();
    allow_files(MANY as u64 + 500);
    let port = reserved_address().to_string();
    let arguments = ["--xks-listen", &port, "--tls-name", "localhost", "--rsa-stock", "0,0,0"];
    let daemon = Daemon::start_with(&["soft"], &arguments);
    let trusted = std::fs::read_to_string(daemon.data().join("tls/certificate.pem")).expect("made");
    let request = post("/one/kms/xks/v1/health", &json!({})).to_bytes("localhost");
    let serves = || {
        let mut client = TlsClient::connect(&port, "localhost", &trusted).expect("TLS");
        let head = client.exchange(&request).expect("an answer");
        assert!(head.starts_with("http/1.1 401"), "{head}");
        let mut main = TlsClient::connect(daemon.address(), "localhost", &trusted).expect("TLS");
        assert!(main.health().starts_with("HTTP/1.1 200"));
    };
    // The head of a record, and one of a handshake of 16 KiB that never comes.
    let hello = [&b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"[..], &[7; 100]].concat();
    for bytes in [&b""[..], b"\x16", &hello] {
        let open = |number| {
            let mut stream = connect_to(&port, address(number, 5)).ok()?;
            let _ = stream.write(bytes);
            Some(stream)
        };
        let mut flood = Vec::new();
        until("others are served while the flood is there", || {
            flood = (0..MANY).filter_map(open).collect();
            serves();
            !flood.iter_mut().all(is_over)
        });
        until("the connections are ended", || flood.iter_mut().all(is_over));
    }
}
