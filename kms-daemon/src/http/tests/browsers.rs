//! Requests of browsers: preflights for pages of another origin, and the daemon's own page.

use super::*;

const APP: &str = "https://app.example";
const OTHER: &str = "https://evil.example";

impl Rig {
    async fn with_cors(origins: &[&str]) -> Self {
        let ways = Ways { cors: Cors::parse(origins).unwrap(), ..Ways::default() };
        Self::start_serving(without_devices(), Limits::default(), ways).await
    }

    /// Sends a preflight as Chromium does for the AWS SDK for JavaScript.
    async fn preflight(&self, path: &str, origin: &str, more: &str) -> Reply {
        let request = format!(
            "OPTIONS {path} HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\naccess-control-request-headers: \
             amz-sdk-invocation-id,amz-sdk-request,authorization,content-type,x-amz-date,\
             x-amz-target,x-amz-user-agent\r\n{more}\r\n"
        );
        self.exchange(request.as_bytes()).await
    }

    /// Sends a signed request from a page of this origin.
    async fn of_page(&self, origin: &str, body: &[u8]) -> Reply {
        let request = String::from_utf8(self.signed(LIST_KEYS, body)).unwrap();
        let with_origin = format!("\r\norigin: {origin}\r\n");
        self.exchange(request.replacen("\r\n", &with_origin, 1).as_bytes()).await
    }
}

/// Returns the headers of the CORS protocol in a response.
fn cors(reply: &Reply) -> Vec<&str> {
    reply.head.lines().filter(|line| line.starts_with("access-control-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_headers_are_in_title_case() {
    let rig = Rig::start().await;
    let refused = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999\r\n\r\n".to_vec();
    for request in [
        rig.signed(LIST_KEYS, b"{}"),
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        refused,
    ] {
        let mut stream = rig.connect().await;
        stream.write_all(&request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
        let answer = String::from_utf8(answer).unwrap();
        // libmongocrypt looks for this header with exactly these letters.
        assert!(answer.contains("\r\nContent-Length: "), "{answer}");
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        for line in head.lines().skip(1) {
            let (name, _) = line.split_once(": ").unwrap();
            let is_title = |word: &str| word.starts_with(|c: char| c.is_ascii_uppercase());
            assert!(name.split('-').all(is_title), "{line}");
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_named_origins_may_use_the_api() {
    let rig = Rig::with_cors(&[APP, "http://localhost:3000"]).await;
    for origin in [APP, "http://localhost:3000"] {
        let reply = rig.preflight("/", origin, "").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
        assert_eq!(reply.header("access-control-allow-methods"), Some("post"));
        assert_eq!(reply.header("access-control-max-age"), Some("7200"));
        assert_eq!(reply.header("vary"), Some("origin"));
        let allowed = reply.header("access-control-allow-headers").unwrap();
        for name in [
            "authorization",
            "content-type",
            "x-amz-date",
            "x-amz-target",
            "x-amz-security-token",
            "x-amz-user-agent",
            "x-amz-content-sha256",
            "amz-sdk-invocation-id",
            "amz-sdk-request",
        ] {
            assert!(allowed.split(',').any(|known| known == name), "{name} not in {allowed}");
        }
        assert!(!allowed.contains('*') && !allowed.contains("x-strongroom-reset"), "{allowed}");
        let reply = rig.of_page(origin, b"{}").await;
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (200, Some(origin))
        );
        let exposed = reply.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-amzn-requestid") && exposed.contains("date"), "{exposed}");
        assert_eq!(reply.header("vary"), Some("origin"));
        // A page can read why its request was refused.
        let refused = rig.of_page(origin, b"[1]").await;
        assert_eq!(refused.status, 400);
        assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
    }
    assert_eq!(rig.records().len(), 4, "a preflight is not a request that is recorded");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_see_nothing() {
    let none: &[&str] = &[];
    for origins in [none, &[APP]] {
        let rig = Rig::with_cors(origins).await;
        for origin in [
            OTHER,
            "null",
            "*",
            "https://app.example.evil.example",
            "https://app.example:8443",
            "http://app.example",
            "https://APP.example",
            "https://app.example/",
            "",
            "https://app.example https://evil.example",
        ] {
            let reply = rig.preflight("/", origin, "").await;
            assert_eq!(reply.status, 403, "{origin}");
            assert_eq!(cors(&reply), [""; 0], "{origin}");
            // The request is signed, so it is served; but no page may read the response.
            let served = rig.of_page(origin, b"{}").await;
            assert_eq!(cors(&served), [""; 0], "{origin}");
        }
        // Two `Origin` headers are not a valid origin.
        let two = rig.preflight("/", APP, &format!("origin: {OTHER}\r\n")).await;
        assert_eq!((two.status, cors(&two).len()), (403, 0));
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_origin_is_allowed_without_credentials_and_not_into_private_networks() {
    let private = "access-control-request-private-network: true\r\n";
    let rig = Rig::with_cors(&["*"]).await;
    for origin in [OTHER, "null"] {
        let reply = rig.preflight("/", origin, private).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some("*")));
        assert_eq!(reply.header("access-control-allow-credentials"), None);
        assert_eq!(reply.header("access-control-allow-private-network"), None);
        let reply = rig.of_page(origin, b"{}").await;
        assert_eq!(
            reply.header("access-control-allow-origin"),
            Some("*"),
            "never the requester's own"
        );
        assert_eq!(reply.header("access-control-allow-credentials"), None);
    }
    rig.stop().await;
    let rig = Rig::with_cors(&[APP]).await;
    let reply = rig.preflight("/", APP, private).await;
    assert_eq!(reply.header("access-control-allow-private-network"), Some("true"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    assert_eq!(
        rig.preflight("/", APP, "").await.header("access-control-allow-private-network"),
        None
    );
    rig.stop().await;
}

/// Pages cannot use paths that need no signature, whichever origin is named: reports, and the reset
/// that deletes all keys.
#[tokio::test(flavor = "multi_thread")]
async fn other_paths_are_for_no_page() {
    let ways = Ways { cors: Cors::parse(&["*"]).unwrap(), development: true, ..Ways::default() };
    let rig = Rig::start_serving(without_devices(), Limits::default(), ways).await;
    for path in ["/readyz", "/metrics", "/healthz", "/_strongroom/reset", "/x"] {
        let reply = rig.preflight(path, APP, "").await;
        assert_eq!((reply.status, cors(&reply).len()), (403, 0), "{path}");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\norigin: {APP}\r\n\r\n");
        let reply = rig.exchange(request.as_bytes()).await;
        assert_eq!(cors(&reply), [""; 0], "{path}");
    }
    let reset = format!(
        "POST /_strongroom/reset HTTP/1.1\r\nhost: x\r\norigin: {APP}\r\ncontent-length: 0\r\n\r\n"
    );
    let reply = rig.exchange(reset.as_bytes()).await;
    assert_eq!((reply.status, cors(&reply).len()), (403, 0));
    rig.stop().await;
}

/// Anybody may send a preflight, so it costs as little as `/healthz` and leaves no record.
#[tokio::test(flavor = "multi_thread")]
async fn preflights_are_bounded() {
    let rig = Rig::with_cors(&[APP]).await;
    let mut stream = rig.connect().await;
    for _ in 0..200 {
        let request = format!(
            "OPTIONS / HTTP/1.1\r\nhost: x\r\norigin: {APP}\r\naccess-control-request-method: \
             POST\r\naccess-control-request-headers: {}\r\n\r\n",
            "x-y,".repeat(500)
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let reply = Reply::read(&mut stream).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        assert!(!reply.head.contains("x-y"), "what is asked for is not sent back");
        assert!(reply.head.len() < 1024);
    }
    assert!(rig.records().is_empty());
    // An `OPTIONS` request without the headers of a preflight is handled like any other request.
    let plain = rig.exchange(b"OPTIONS / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((plain.status, plain.code().as_str()), (400, "UnknownOperationException"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_for_reports_knows_no_pages() {
    let ways =
        Ways { cors: Cors::parse(&["*"]).unwrap(), pages: Pages::Reports, ..Ways::default() };
    let rig = Rig::start_serving(without_devices(), Limits::default(), ways).await;
    assert_eq!(cors(&rig.preflight("/", APP, "").await), [""; 0]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_what_this_is() {
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (pages, links) in [
        (Pages::All, &["/healthz", "/readyz", "/metrics"][..]),
        (Pages::Api, &["/healthz"]),
        (Pages::Reports, &["/healthz", "/readyz", "/metrics"]),
    ] {
        let rig = Rig::start_pages(pages).await;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: <script>\r\naccept: {accept}\r\nuser-agent: <b>\r\n\r\n"
        );
        let reply = rig.exchange(request.as_bytes()).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        let page = String::from_utf8(reply.body.clone()).unwrap();
        assert!(page.len() < 4096 && page.contains("<h1>Strongroom</h1>"), "{page}");
        let found: Vec<_> =
            page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(found, links);
        for link in links {
            assert_eq!(rig.get(link).await.status, 200, "{link}");
        }
        // The page loads nothing, and it contains nothing of the request or the daemon.
        for part in
            ["src=", "<script", "<style", "<b>", "http:", "https:", ACCOUNT, ID, "us-east-1"]
        {
            assert!(!page.contains(part), "{part} in {page}");
        }
        let head = request.replacen("GET", "HEAD", 1);
        let mut stream = rig.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let count = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).to_lowercase();
        assert!(answer.starts_with("http/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(rig.records().is_empty());
        rig.stop().await;
    }
}

/// A program that sends its request the wrong way gets the error in the form that it reads.
#[tokio::test(flavor = "multi_thread")]
async fn programs_see_no_page() {
    let rig = Rig::start().await;
    for more in
        ["accept: */*\r\n", "", "accept: text/html\r\nx-amz-target: TrentService.ListKeys\r\n"]
    {
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{more}\r\n");
        let reply = rig.exchange(request.as_bytes()).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "UnknownOperationException"),
            "{more}"
        );
    }
    rig.stop().await;
}
