//! Clients that take room and give nothing: the daemon ends them, and serves everybody else
//! meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use hsm_tests::daemon::{Credentials, Daemon};
use hsm_tests::flood::{address, allow_files, connect_from, fill, is_over, resident};
use hsm_tests::http::{Connection, Request, call, get};
use hsm_tests::patience::until;
use serde_json::json;

/// More connections than a daemon has places for.
const MANY: usize = 4150;

/// A flood takes this machine's patience: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn start(more: &[&str]) -> (Daemon, String) {
    allow_files(MANY as u64 + 500);
    let daemon = Daemon::start_with(&["soft"], more);
    let key = call(&daemon, "CreateKey", &json!({})).json();
    let key = key["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned();
    (daemon, key)
}

/// Checks that health and a signed request are answered.
fn assert_serves(daemon: &Daemon, key: &str) {
    assert_eq!(get(daemon, "/healthz").status, 200);
    let answer = call(daemon, "DescribeKey", &json!({ "KeyId": key }));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Checks that others are served while a flood is there, and not only once it has been ended. On a
/// slow machine that can be over before it has begun: then there is another flood, until one of them
/// is seen from beginning to end of what `serves` asks.
fn served_beside(flood: impl Fn() -> Vec<TcpStream>, mut serves: impl FnMut()) -> Vec<TcpStream> {
    let mut there = Vec::new();
    until("others are served while the flood is there", || {
        there = flood();
        serves();
        !there.iter_mut().all(is_over)
    });
    there
}

/// Waits until a flood has been ended, the last of it as well.
fn await_end(flood: &mut [TcpStream]) {
    until("the connections are ended", || flood.iter_mut().all(is_over));
}

/// The URL of health and metrics, which the daemon has logged.
fn admin(daemon: &Daemon) -> String {
    daemon.await_output("health and metrics");
    let output = daemon.output();
    let line = output.lines().find(|line| line.contains("health and metrics")).expect(&output);
    let (_, address) = line.split_once("http://").expect("a URL");
    address.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect()
}

/// Connections from so many addresses on which this is sent and nothing is read, opened by several
/// threads: all are there before the first one is too old.
fn flood_of(daemon: &Daemon, addresses: u8, bytes: &[u8]) -> Vec<TcpStream> {
    let open = |number| {
        let mut stream = connect_from(address(number, addresses), daemon).ok()?;
        let _ = stream.write(bytes);
        Some(stream)
    };
    thread::scope(|scope| {
        let part =
            |first| scope.spawn(move || Vec::from_iter((first..MANY).step_by(16).filter_map(open)));
        let parts: Vec<_> = (0..16).map(part).collect();
        parts.into_iter().flat_map(|part| part.join().expect("opened")).collect()
    })
}

#[test]
fn requests_whose_answers_are_never_read() {
    let _alone = ALONE.lock();
    let (daemon, key) = start(&[]);
    let requests = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20);
    let serves = || assert_serves(&daemon, &key);
    let mut flood = served_beside(|| flood_of(&daemon, 5, &requests), serves);
    // Some go on until nobody reads their requests.
    let last = flood.iter_mut().rev().take(200);
    let sent = last.map(|stream| fill(stream, &requests, 8 << 20)).max();
    assert!(sent < Some(8 << 20), "requests are read although their answers are not");
    assert_serves(&daemon, &key);
    await_end(&mut flood);
    assert_serves(&daemon, &key);
}

#[test]
fn health_has_a_port_of_its_own() {
    let _alone = ALONE.lock();
    let (daemon, key) = start(&["--admin-listen", "127.0.0.1:0"]);
    let admin = admin(&daemon);
    let ask = |path: &str| {
        let mut connection = Connection::to(&admin);
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        connection.write(request.as_bytes()).expect("sent");
        connection.read().expect("answered").status
    };
    let flood = || flood_of(&daemon, 5, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    let all = ["/healthz", "/readyz", "/metrics", "/"];
    let serves = || {
        assert_eq!(all.map(ask), [200, 200, 200, 404]);
        assert_eq!(
            ["/healthz", "/readyz", "/metrics"].map(|path| get(&daemon, path).status),
            [200, 404, 404]
        );
        assert_serves(&daemon, &key);
    };
    drop(served_beside(flood, serves));
    // Its own places are few, and a flood of it makes room as well.
    let connect = |_| TcpStream::connect(&admin).expect("connected");
    let idle = || (0..200).map(connect).collect();
    served_beside(idle, || assert_eq!(ask("/healthz"), 200));
}

#[test]
fn answers_are_read_a_byte_at_a_time() {
    let _alone = ALONE.lock();
    let (daemon, key) = start(&[]);
    let requests = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(250);
    let connect = |number| connect_from(address(number, 5), &daemon).expect("connected");
    let mut flood: Vec<_> = (0..20).map(connect).collect();
    for stream in &mut flood {
        let sent = fill(stream, &requests, 8 << 20);
        assert!(sent < 8 << 20, "requests are read although their answers are not");
    }
    // Nothing but these bytes is read: the daemon tells of what it has ended.
    let ended = "strongroom_connections_ended_total{reason=\"stalled\"} 20";
    until("the connections are ended", || {
        for stream in &mut flood {
            stream.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
            let _ = std::io::Read::read(stream, &mut [0]);
        }
        sleep(Duration::from_secs(1));
        let page = String::from_utf8(get(&daemon, "/metrics").body).expect("text");
        page.contains(ended)
    });
    await_end(&mut flood);
    assert_serves(&daemon, &key);
}

#[test]
fn idle_connections() {
    let _alone = ALONE.lock();
    let (daemon, key) = start(&[]);
    let known = Mutex::new(Connection::open(&daemon));
    let again = || {
        let mut connection = known.lock().expect("no panic");
        let describe = Request::new("DescribeKey", json!({ "KeyId": key }).to_string());
        connection.write(&describe.signed(&daemon).to_bytes(daemon.address())).expect("sent");
        assert_eq!(connection.read().expect("answered").status, 200);
    };
    again();
    // From one address: it has what an address may have. From five: there are no places left. The one
    // that is known is used meanwhile: after ten seconds without a request it would be ended anyhow.
    for addresses in [1, 5] {
        let flood = || {
            let opened = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !opened.load(Ordering::Relaxed) {
                        again();
                        sleep(Duration::from_millis(200));
                    }
                });
                let flood = flood_of(&daemon, addresses, b"");
                opened.store(true, Ordering::Relaxed);
                flood
            })
        };
        let serves = || {
            again();
            assert_serves(&daemon, &key);
            again();
        };
        drop(served_beside(flood, serves));
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface of HTTP/2, and settings by which no body may be sent.
fn closed_windows() -> Vec<u8> {
    let settings = frame(4, 0, 0, b"\0\x04\0\0\0\0");
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat()
}

#[test]
fn windows_that_are_never_opened() {
    let _alone = ALONE.lock();
    let (daemon, key) = start(&[]);
    let connect = |number| {
        let mut stream = connect_from(address(number, 5), &daemon).expect("connected");
        stream.write_all(&closed_windows()).expect("sent");
        stream
    };
    let mut flood: Vec<_> = (0..50).map(connect).collect();
    // A new request every two seconds, so that none of the connections is idle; half of them let a
    // byte of the first answer through each time.
    let mut number = 1;
    until("the connections are ended", || {
        for (at, stream) in flood.iter_mut().enumerate() {
            let get = frame(1, 5, number, b"\x82\x86\x04\x08/metrics\x41\x01x");
            let _ = stream.write_all(&get);
            if at % 2 == 0 {
                let _ = stream.write_all(&frame(8, 0, 1, &1_u32.to_be_bytes()));
            }
        }
        number += 2;
        sleep(Duration::from_secs(2));
        flood.iter_mut().all(is_over)
    });
    assert_serves(&daemon, &key);
}

#[test]
fn bodies_of_http2_that_hardly_come() {
    let _alone = ALONE.lock();
    let (daemon, _) = start(&[]);
    let begun = |stream| {
        let head = frame(1, 4, stream, b"\x83\x86\x84\x41\x01x");
        [head, frame(0, 0, stream, b"{")].concat()
    };
    let open = |number| {
        let mut stream = connect_from(address(number, 5), &daemon).expect("connected");
        stream.write_all(&closed_windows()).expect("sent");
        for request in 0..100 {
            let _ = stream.write_all(&begun(request * 2 + 1));
        }
        stream
    };
    let flood = || {
        let flood = (0..60).map(open).collect();
        sleep(Duration::from_millis(500));
        flood
    };
    served_beside(flood, || {
        let status = std::process::Command::new("curl")
            .args(["--disable", "--silent", "--http2-prior-knowledge"])
            .args(["--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"])
            .args(["--header", "x-amz-target: TrentService.ListKeys", "--data", "{}"])
            .arg(daemon.url())
            .output()
            .expect("curl is installed");
        assert_eq!(String::from_utf8_lossy(&status.stdout), "2 400");
    });
}

/// What the daemon has in memory before, while and after so many clients send a body each.
/// Returns once all but `kept` MiB are given back.
fn memory(daemon: &Daemon, key: &str, bodies: &[Vec<u8>], kept: u64) -> [u64; 3] {
    for _ in 0..50 {
        assert_serves(daemon, key);
    }
    let before = resident(daemon.id());
    // All but the last byte, so that no request is over; by many at a time, as the daemon lets
    // some of them wait.
    let send = |body: &Vec<u8>| {
        let mut stream = TcpStream::connect(daemon.address()).expect("connected");
        stream.set_write_timeout(Some(Duration::from_secs(5))).expect("set");
        let _ = stream.write_all(&body[..body.len() - 1]);
        stream
    };
    let most = AtomicU64::new(0);
    let measure = || most.fetch_max(resident(daemon.id()), Ordering::Relaxed);
    let flood: Vec<Vec<_>> = thread::scope(|scope| {
        let part = |bodies| scope.spawn(move || Vec::from_iter(<[_]>::iter(bodies).map(send)));
        let sending: Vec<_> = bodies.chunks(10).map(part).collect();
        while sending.iter().any(|sending| !sending.is_finished()) {
            measure();
            sleep(Duration::from_millis(10));
        }
        sending.into_iter().map(|sending| sending.join().expect("sent")).collect()
    });
    measure();
    assert_serves(daemon, key);
    sleep(Duration::from_secs(1));
    measure();
    drop(flood);
    until("the memory is given back", || {
        assert_serves(daemon, key);
        resident(daemon.id()) < before + (kept << 20)
    });
    let during = most.into_inner();
    let megabytes = [before, during, resident(daemon.id())].map(|bytes| bytes >> 20);
    println!("before, during, after: {megabytes:?} MiB");
    megabytes
}

#[test]
fn bodies_of_strangers() {
    let _alone = ALONE.lock();
    let (daemon, key) = start(&[]);
    let request = Request::new("Encrypt", vec![b' '; 1 << 20]);
    let made_up = Credentials { id: "AKIABBBBBBBBBBBBBBBB".to_owned(), secret: "x".to_owned() };
    let root = Credentials { secret: "x".to_owned(), ..daemon.credentials() };
    let unsigned = request.to_bytes(daemon.address());
    let unknown = request.clone().signed_by(&made_up, &daemon).to_bytes(daemon.address());
    // Whoever knows the id of an access key can have it that its bodies are read.
    let named = request.signed_by(&root, &daemon).to_bytes(daemon.address());
    for (what, body) in [("unsigned", unsigned), ("unknown", unknown), ("named", named)] {
        println!("{what}");
        // Buffers of 400 connections stay with the allocator for the next ones; bodies do not.
        let kept = if what == "named" { 60 } else { 30 };
        let [before, during, after] = memory(&daemon, &key, &vec![body; 400], kept);
        assert!(during < before + 100, "{what}: {before}, {during} and {after} MiB");
    }
}

/// Large bodies of somebody with a key are served while strangers send theirs.
#[test]
fn large_bodies_are_served_meanwhile() {
    let _alone = ALONE.lock();
    let (daemon, key) = start(&[]);
    // A connection that has shown a signature. One that is idle while the others are opened is ended.
    let serves = || {
        let mut known = Connection::open(&daemon);
        for padding in [0, 900 << 10] {
            let body = json!({ "KeyId": key, "Padding": " ".repeat(padding) });
            let request = Request::new("DescribeKey", body.to_string()).signed(&daemon);
            known.write(&request.to_bytes(daemon.address())).expect("sent");
            assert_eq!(known.read().expect("answered").status, 200);
        }
    };
    serves();
    let root = Credentials { secret: "x".to_owned(), ..daemon.credentials() };
    let body = Request::new("Encrypt", vec![b' '; 1 << 20]).signed_by(&root, &daemon);
    let bytes = body.to_bytes(daemon.address());
    let open = |_| {
        let mut stream = TcpStream::connect(daemon.address()).expect("connected");
        stream.set_write_timeout(Some(Duration::from_millis(50))).expect("set");
        let _ = stream.write_all(&bytes[..bytes.len() - 1]);
        stream
    };
    served_beside(|| (0..60).map(open).collect(), serves);
}
