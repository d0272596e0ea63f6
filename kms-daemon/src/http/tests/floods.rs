//! Clients that take room and give nothing: each is ended, and who comes with a request is served.

use std::net::Ipv4Addr;

use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use super::super::body::FIRST;
use super::*;

/// One of the addresses of this machine.
fn from(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

impl Rig {
    /// A connection from an address, whose client has hardly room for what it does not read.
    pub(super) async fn connect_from(&self, address: Ipv4Addr) -> TcpStream {
        self.connect_with(address, 4096).await
    }

    async fn connect_with(&self, address: Ipv4Addr, room: u32) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(room).unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Checks that somebody else is served.
    async fn assert_serves(&self) {
        let served = async {
            assert_eq!(self.get("/healthz").await.status, 200);
            assert_eq!(self.exchange(&self.signed(LIST_KEYS, b"{}")).await.status, 200);
        };
        timeout(PATIENCE, served).await.expect("others are served");
    }
}

/// Waits until the daemon has ended all of these.
async fn await_end(flood: &mut [TcpStream]) {
    let by = Instant::now() + PATIENCE;
    for stream in flood {
        while !is_over(stream).await {
            assert!(Instant::now() < by, "a connection is never ended");
        }
    }
}

/// Whether the daemon has ended a connection; what it answered before is thrown away.
async fn is_over(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match timeout(Duration::from_millis(20), stream.read(&mut bytes)).await {
            Err(_) => return false,
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
        }
    }
}

/// Sends requests, one after the other, until nobody reads them any more.
async fn pipeline(stream: &mut TcpStream) {
    let requests = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    while let Ok(Ok(())) = timeout(Duration::from_millis(100), stream.write_all(&requests)).await {}
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_is_ended() {
    let limits = Limits { write: Duration::from_millis(500), ..unhurried() };
    let rig = Rig::start_with(false, limits).await;
    let mut flood = Vec::new();
    for _ in 0..5 {
        let mut stream = rig.connect_from(from(2)).await;
        pipeline(&mut stream).await;
        flood.push(stream);
    }
    // Of these, a byte now and then is read.
    let by = Instant::now() + PATIENCE;
    loop {
        for stream in &mut flood[..2] {
            let _ = timeout(Duration::from_millis(10), stream.read(&mut [0; 1])).await;
        }
        sleep(Duration::from_millis(50)).await;
        let page = String::from_utf8(rig.get("/metrics").await.body).unwrap();
        if page.contains("strongroom_connections_ended_total{reason=\"stalled\"} 5") {
            break;
        }
        assert!(Instant::now() < by, "a client that does not read is never ended: {page}");
    }
    await_end(&mut flood).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_is_served() {
    let limits = Limits { write: Duration::from_millis(500), ..unhurried() };
    let rig = Rig::start_with(false, limits).await;
    let requests = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(999);
    let last = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let requests = [&requests[..], last].concat();
    let served = not_held_up(limits.write, async |pace| {
        let (mut read, mut write) = rig.connect_with(from(2), 64 << 10).await.into_split();
        let requests = requests.clone();
        let sent = tokio::spawn(async move { write.write_all(&requests).await });
        let (mut bytes, mut all) = (vec![0; 16 << 10], Vec::new());
        let begin = Instant::now();
        loop {
            pace.step();
            match read.read(&mut bytes).await.ok()? {
                0 => break,
                count => all.extend_from_slice(&bytes[..count]),
            }
            sleep(Duration::from_millis(5)).await;
        }
        sent.await.unwrap().ok()?;
        all.ends_with(b"ok\n").then(|| (all, begin.elapsed()))
    });
    let (all, took) = served.await;
    assert!(took > 2 * limits.write, "answers waited for longer than a client may pause");
    assert_eq!(all.windows(15).filter(|window| *window == b"HTTP/1.1 200 OK").count(), 1000);
    rig.stop().await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface, and settings by which nothing may be sent but heads.
fn closed_windows() -> Vec<u8> {
    let settings = frame(4, 0, 0, b"\0\x04\0\0\0\0");
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat()
}

/// `GET /healthz` as the whole of a stream.
fn get(stream: u32) -> Vec<u8> {
    frame(1, 5, stream, b"\x82\x86\x04\x08/healthz\x41\x01x")
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_windows_end_a_connection() {
    let limits = Limits { answer: Duration::from_millis(700), ..unhurried() };
    let rig = Rig::start_with(false, limits).await;
    let mut flood = [rig.connect_from(from(2)).await, rig.connect_from(from(2)).await];
    for stream in &mut flood {
        stream.write_all(&closed_windows()).await.unwrap();
    }
    // New requests keep the connections busy; on the second one the window opens by a byte at a
    // time, in which no answer fits soon enough.
    let by = Instant::now() + PATIENCE;
    let mut number = 1;
    while !(is_over(&mut flood[0]).await && is_over(&mut flood[1]).await) {
        assert!(Instant::now() < by, "answers wait for a window for good");
        let _ = flood[0].write_all(&get(number)).await;
        let _ = flood[1].write_all(&get(number)).await;
        let _ = flood[1].write_all(&frame(8, 0, 1, &1_u32.to_be_bytes())).await;
        number += 2;
        sleep(Duration::from_millis(400)).await;
    }
    rig.assert_serves().await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_opens_in_time_is_enough() {
    let limits = Limits { answer: Duration::from_millis(700), ..unhurried() };
    let rig = Rig::start_with(false, limits).await;
    let stayed = not_held_up(limits.answer, async |pace| {
        let mut stream = rig.connect().await;
        stream.write_all(&closed_windows()).await.unwrap();
        for number in 0..5 {
            let id = number * 2 + 1;
            pace.step();
            stream.write_all(&get(id)).await.ok()?;
            sleep(Duration::from_millis(400)).await;
            stream.write_all(&frame(8, 0, id, &3_u32.to_be_bytes())).await.ok()?;
            pace.step();
        }
        (!is_over(&mut stream).await).then_some(())
    });
    stayed.await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room() {
    let limits = Limits { connections: 40, address: 20, ..unhurried() };
    let rig = Rig::start_with(false, limits).await;
    let mut known = rig.connect().await;
    known.write_all(&rig.signed(LIST_KEYS, b"{}")).await.unwrap();
    assert_eq!(Reply::read(&mut known).await.status, 200);
    let mut flood = Vec::new();
    for number in 0..200 {
        flood.push(rig.connect_from(from(2 + number % 5)).await);
    }
    rig.assert_serves().await;
    // The one that has shown a signature was kept.
    known.write_all(&rig.signed(LIST_KEYS, b"{\"Limit\":2}")).await.unwrap();
    assert_eq!(Reply::read(&mut known).await.status, 200);
    let mut left = 0;
    for stream in &mut flood {
        left += usize::from(!is_over(stream).await);
    }
    assert!((20..=40).contains(&left), "{left}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_ends_its_own_connections() {
    let limits = Limits { connections: 40, address: 3, ..unhurried() };
    let rig = Rig::start_with(false, limits).await;
    let mut other = rig.connect_from(from(9)).await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(rig.connect_from(from(2)).await);
    }
    await_end(&mut flood[..17]).await;
    assert!(!is_over(&mut other).await);
    for (number, stream) in flood.iter_mut().enumerate() {
        assert_eq!(is_over(stream).await, number < 17, "{number}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_http2_that_hardly_come_make_room() {
    let limits = Limits { connections: 40, streams: 10, ..unhurried() };
    let rig = Rig::start_with(false, limits).await;
    let mut flood = Vec::new();
    // POST / with a body of which one byte comes.
    let begun = |stream| {
        let head = frame(1, 4, stream, b"\x83\x86\x84\x41\x01x");
        [head, frame(0, 0, stream, b"{")].concat()
    };
    for _ in 0..6 {
        let mut stream = rig.connect_from(from(2)).await;
        stream.write_all(&closed_windows()).await.unwrap();
        for number in 0..10 {
            let _ = stream.write_all(&begun(number * 2 + 1)).await;
        }
        flood.push(stream);
    }
    sleep(Duration::from_millis(200)).await;
    let mut client = http2::Client::connect(&rig).await;
    let answer = client.exchange(rig.request("http", b"{}"));
    let (status, _) = timeout(PATIENCE, answer).await.expect("others are served");
    assert_eq!(status, 200);
    drop(flood); // or the daemon would let it finish
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_body_is_for_who_names_a_key() {
    let rig = Rig::start().await;
    let large = vec![b' '; FIRST + 1];
    let good = rig.signed(LIST_KEYS, &large);
    assert_eq!(rig.exchange(&good).await.status, 200);
    let text = String::from_utf8(good).unwrap();
    let today = text.split_once("x-amz-date: ").unwrap().1[..8].to_owned();
    let changed = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    // A wrong signature is told when the body is here, as before.
    let mut wrong = text.clone().into_bytes();
    *wrong.last_mut().unwrap() = b'\n';
    assert_eq!(rig.exchange(&wrong).await.code(), "InvalidSignatureException");
    let cases = [
        (changed("authorization: ", "x-authorization: "), "MissingAuthenticationTokenException"),
        (changed("AWS4-HMAC-SHA256", "AWS4"), "IncompleteSignatureException"),
        (
            changed(&format!("x-amz-date: {today}"), "x-amz-date: 20010101"),
            "InvalidSignatureException",
        ),
        (changed("/us-east-1/kms/", "/us-east-1/sts/"), "InvalidSignatureException"),
        (changed("/us-east-1/kms/", "/nowhere/kms/"), "InvalidSignatureException"),
        (changed(ID, "AKIABBBBBBBBBBBBBBBB"), "UnrecognizedClientException"),
        (changed("ListKeys", "Nothing"), "UnknownOperationException"),
        (changed("Signature=", "Signature=0"), "IncompleteSignatureException"),
    ];
    for (request, code) in &cases {
        let reply = rig.exchange(request).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, *code));
        // The same of a body that is short, and of one that is too large.
        let (head, _) = std::str::from_utf8(request).unwrap().split_once("\r\n\r\n").unwrap();
        let with = |length: usize| {
            let announced = format!("content-length: {}", large.len());
            let head = head.replacen(&announced, &format!("content-length: {length}"), 1);
            [head.as_bytes(), b"\r\n\r\n", &vec![b' '; length]].concat()
        };
        let reply = rig.exchange(&with(2)).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, *code));
        assert_eq!(rig.exchange(&with((1 << 20) + 1)).await.status, 413);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_have_a_port_of_their_own() {
    let rig = Rig::start_pages(Pages::Api).await;
    let admin = Rig::start_pages(Pages::Reports).await;
    let of = async |rig: &Rig| {
        let mut all = Vec::new();
        for path in ["/healthz", "/readyz", "/metrics"] {
            all.push(rig.get(path).await.status);
        }
        all.push(rig.exchange(&rig.signed(LIST_KEYS, b"{}")).await.status);
        all
    };
    assert_eq!(of(&rig).await, [200, 404, 404, 200]);
    assert_eq!(of(&admin).await, [200, 200, 200, 404]);
    assert_eq!((rig.records().len(), admin.records().len()), (1, 0));
    rig.stop().await;
    admin.stop().await;
}
