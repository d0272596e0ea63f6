//! HTTP/2: it has the same API and the same limits as HTTP/1.1.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWrite;

use super::*;

/// The connection preface and an empty SETTINGS frame, with which HTTP/2 begins.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    ended: JoinHandle<hyper::Result<()>>,
}

impl Client {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        Self { sender, ended: tokio::spawn(connection) }
    }

    pub(super) async fn connect(rig: &Rig) -> Self {
        Self::over(rig.connect().await).await
    }

    fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = hyper::Result<Response<hyper::body::Incoming>>> + use<> {
        self.sender.send_request(request)
    }

    /// Sends a request and reads the whole response: the status, and the error code or `OK`.
    pub(super) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> (u16, String) {
        let reply = self.send(request).await.unwrap();
        assert!(reply.headers().contains_key("date"), "{reply:?}");
        read(reply).await
    }
}

async fn read(reply: Response<hyper::body::Incoming>) -> (u16, String) {
    assert_eq!(reply.version(), Version::HTTP_2);
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let json: Value = serde_json::from_slice(&body).unwrap();
    (status, json["__type"].as_str().unwrap_or("OK").to_owned())
}

fn ok() -> (u16, String) {
    (200, "OK".to_owned())
}

impl Rig {
    /// Returns a signed request as clients send it: `:authority` takes the place of `host`.
    pub(super) fn request(&self, scheme: &str, body: &[u8]) -> Request<Full<Bytes>> {
        let mut headers = self.headers(LIST_KEYS, body);
        headers.remove("host");
        let body = Full::new(Bytes::copy_from_slice(body));
        let mut request =
            Request::post(format!("{scheme}://{}/", self.address)).body(body).unwrap();
        *request.headers_mut() = headers;
        request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_prior_knowledge() {
    let rig = Rig::start().await;
    let mut client = Client::connect(&rig).await;
    let reply = client.send(rig.request("http", b"{}")).await.unwrap();
    let id = reply.headers()["x-amzn-requestid"].to_str().unwrap().to_owned();
    assert_eq!(reply.headers()["content-type"], "application/x-amz-json-1.1");
    assert!(reply.headers().contains_key("date"));
    assert_eq!(read(reply).await, ok());
    let records = rig.records();
    assert_eq!(records[0]["requestID"], id);
    assert_eq!(records[0]["userIdentity"]["accessKeyId"], ID);

    // The request is signed for this host and sent to another.
    let mut request = rig.request("http", b"{}");
    *request.uri_mut() = "http://another.example/".parse().unwrap();
    let refused = (400, "InvalidSignatureException".to_owned());
    assert_eq!(client.exchange(request).await, refused);
    let mut unsigned = rig.request("http", b"{}");
    unsigned.headers_mut().remove("authorization");
    let refused = (400, "MissingAuthenticationTokenException".to_owned());
    assert_eq!(client.exchange(unsigned).await, refused);

    // One connection takes many requests at a time, and the same port speaks HTTP/1.1.
    let all: Vec<_> = (0..50)
        .map(|limit| {
            client.send(rig.request("http", format!("{{\"Limit\":{}}}", limit + 1).as_bytes()))
        })
        .collect();
    for reply in all {
        assert_eq!(read(reply.await.unwrap()).await, ok());
    }
    assert_eq!(rig.exchange(&rig.signed(LIST_KEYS, b"{}")).await.status, 200);
    assert_eq!(rig.get("/healthz").await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_by_alpn() {
    let rig = Rig::start_with(true, Limits::default()).await;
    for protocols in [&[b"h2".as_slice()][..], &[b"http/1.1", b"h2"]] {
        let stream = over_tls::connect(&rig, protocols).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let mut client = Client::over(stream).await;
        assert_eq!(client.exchange(rig.request("https", b"{}")).await, ok());
    }
    for protocols in [&[b"http/1.1".as_slice()][..], &[]] {
        let mut stream = over_tls::connect(&rig, protocols).await;
        stream.write_all(&rig.signed(LIST_KEYS, b"{}")).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(Reply::read(&mut stream).await.status, 200);
    }
    for record in rig.records() {
        let details = &record["tlsDetails"];
        assert_eq!(details["tlsVersion"], "TLSv1.3");
        assert_eq!(details["clientProvidedHostHeader"], rig.address.to_string());
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_the_connection_goes_on() {
    let rig = Rig::start().await;
    let mut client = Client::connect(&rig).await;
    let large = vec![b' '; (1 << 20) + 1];
    let refused = (413, "RequestEntityTooLargeException".to_owned());
    assert_eq!(client.exchange(rig.request("http", &large)).await, refused);
    assert_eq!(client.exchange(rig.request("http", &large[1..])).await, ok());

    let mut request = rig.request("http", b"{}");
    let long = "x".repeat(70_000);
    request.headers_mut().insert("x-long", HeaderValue::from_str(&long).unwrap());
    match client.send(request).await {
        Ok(reply) => assert_eq!(reply.status(), 431),
        Err(error) => assert!(!error.is_closed(), "{error}"),
    }
    assert_eq!(client.exchange(rig.request("http", b"{}")).await, ok());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_wait() {
    let rig = Rig::start_with(false, Limits { streams: 2, ..Limits::default() }).await;
    let mut client = Client::connect(&rig).await;
    // The client learns the limit from the daemon's settings; until then the daemon refuses
    // streams.
    assert_eq!(client.exchange(rig.request("http", b"{}")).await, ok());
    let all: Vec<_> = (0..20).map(|_| client.send(rig.request("http", b"{}"))).collect();
    for reply in all {
        assert_eq!(read(reply.await.unwrap()).await, ok());
    }
    rig.stop().await;
}

/// Reads until the daemon ends the connection. Returns the code of its GOAWAY frame, if there was
/// one.
async fn end(stream: &mut TcpStream) -> Option<u32> {
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
    let _ = ended.await.expect("the connection ends");
    let mut rest = bytes.as_slice();
    let mut code = None;
    while let Some((head, tail)) = rest.split_first_chunk::<9>() {
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = tail.get(..length)?;
        if head[3] == 7 {
            code = Some(u32::from_be_bytes(*payload[4..].first_chunk().unwrap()));
        }
        rest = &tail[length..];
    }
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let rig = Rig::start().await;
    let mut stream = rig.connect().await;
    let mut attack = BEGIN.to_vec();
    for number in 0..20_000_u32 {
        let id = (number * 2 + 1).to_be_bytes();
        // The headers are :method POST, :scheme http, :path / and :authority x; a CANCEL follows.
        attack.extend([b"\0\0\x06\x01\x04".as_slice(), &id, b"\x83\x86\x84\x41\x01x"].concat());
        attack.extend([b"\0\0\x04\x03\0".as_slice(), &id, b"\0\0\0\x08"].concat());
    }
    let _ = stream.write_all(&attack).await;
    let code = end(&mut stream).await;
    assert!(matches!(code, None | Some(11)), "ENHANCE_YOUR_CALM or cut off: {code:?}");
    assert!(rig.records().len() < 2000, "{} requests were begun", rig.records().len());
    assert_eq!(rig.exchange(&rig.signed(LIST_KEYS, b"{}")).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection() {
    let (head, idle) = (Duration::from_millis(300), Duration::from_millis(600));
    let rig = Rig::start_with(false, Limits { head, idle, ..unhurried() }).await;
    // The client stops in the preface, after it, or in a HEADERS frame.
    let half: &[u8] = b"\0\0\x06\x01\0\0\0\0\x01\x83\x86\x84\x41\x01x";
    for sent in [b"PRI * HTT".as_slice(), BEGIN, &[BEGIN, half].concat()] {
        let mut stream = rig.connect().await;
        stream.write_all(sent).await.unwrap();
        end(&mut stream).await;
    }
    rig.stop().await;
    // A client that sends requests in time stays for longer than the limit, and is disconnected
    // once it is silent.
    let idle = Duration::from_secs(2);
    let rig = Rig::start_with(false, Limits { idle, ..unhurried() }).await;
    let client = not_held_up(idle, async |pace| {
        let mut client = Client::connect(&rig).await;
        for _ in 0..5 {
            pace.step();
            let reply = client.send(rig.request("http", b"{}")).await.ok()?;
            assert_eq!(read(reply).await, ok());
            pace.step();
            tokio::time::sleep(idle / 4).await;
        }
        Some(client)
    });
    let client = client.await;
    tokio::time::timeout(PATIENCE, client.ended).await.unwrap().unwrap().unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_in_pieces_is_one() {
    let rig = Rig::start().await;
    let mut stream = rig.connect().await;
    for piece in BEGIN.chunks(5) {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "SETTINGS");
    // Input that only begins like the preface is an HTTP/1.1 request, or invalid.
    let mut other = rig.connect().await;
    other.write_all(b"PRI / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert_eq!(Reply::read(&mut other).await.code(), "UnknownOperationException");
    drop(stream);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_requests_finish() {
    let rig = Rig::start().await;
    let mut idle = Client::connect(&rig).await;
    assert_eq!(idle.exchange(rig.request("http", b"{}")).await, ok());
    let mut busy = Client::connect(&rig).await;
    let all: Vec<_> = (0..20).map(|_| busy.send(rig.request("http", b"{}"))).collect();
    let by = Instant::now() + PATIENCE;
    while rig.records().len() < 2 {
        assert!(Instant::now() < by);
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    rig.stop().await;
    assert!(begin.elapsed() < PATIENCE, "it has waited for an idle connection");
    for reply in all {
        // A request is answered, or refused as not begun: no response is cut off.
        match reply.await {
            Ok(reply) => assert_eq!(read(reply).await, ok()),
            Err(error) => assert!(!error.is_incomplete_message(), "{error:?}"),
        }
    }
    idle.ended.await.unwrap().unwrap();
}
