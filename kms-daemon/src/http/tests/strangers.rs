//! What callers who do not sign can make the daemon write.

use std::net::Ipv4Addr;

use super::*;

/// An unauthenticated request that is as long as it can be.
fn unsigned() -> Vec<u8> {
    // As much as fits the first read: with more, each request has a connection of its own.
    let long = "\"".repeat(3600);
    format!(
        "POST / HTTP/1.1\r\nhost: {}\r\nuser-agent: {long}\r\nreferer: {long}\r\n\
         x-amz-target: {LIST_KEYS}\r\ncontent-length: 2\r\n\r\n{{}}",
        "h".repeat(250)
    )
    .into_bytes()
}

impl Rig {
    /// Bytes of the log.
    fn written(&self) -> u64 {
        let files = fs::read_dir(self.dir.path().join("audit")).unwrap().map(Result::unwrap);
        // The journal has one length, and is made by a thread of its own.
        let files = files.filter(|file| file.file_name() != "JOURNAL");
        files.map(|file| file.metadata().unwrap().len()).sum()
    }

    /// Ends the daemon; its lines.
    async fn end(self) -> Vec<Value> {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
        drop(self.audit);
        assert_eq!(verify(&self.dir.path().join("audit")).unwrap().fault, None);
        lines(self.dir.path())
    }
}

/// How many unauthenticated requests the log tells of, whole and counted.
fn told(lines: &[Value]) -> (u64, u64) {
    let whole = lines.iter().filter(|line| {
        line["kind"] == "request" && line["record"]["userIdentity"]["type"] == "Unknown"
    });
    let events = lines.iter().map(|line| &line["record"]);
    let events = events.filter(|record| record["eventName"] == "UnauthenticatedRequests");
    let counts = events.map(|record| {
        let details = &record["serviceEventDetails"];
        let codes = details["errorCodes"].as_object().unwrap();
        let sum: u64 = codes.values().filter_map(Value::as_u64).sum();
        assert_eq!(details["requests"], sum);
        sum
    });
    (u64::try_from(whole.count()).unwrap(), counts.sum())
}

async fn send(stream: &mut TcpStream, request: &[u8], count: usize) -> Vec<Reply> {
    let mut replies = Vec::with_capacity(count);
    for _ in 0..count {
        stream.write_all(request).await.unwrap();
        replies.push(Reply::read(stream).await);
    }
    replies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_counted_and_signed_requests_are_recorded_in_between() {
    let rig = Rig::start().await;
    let mut stream = rig.connect().await;
    let request = unsigned();
    let (before, mut signed, mut throttled) = (rig.written(), 0, 0);
    for _ in 0..200 {
        for reply in send(&mut stream, &request, 100).await {
            assert_eq!(reply.status, 400);
            match reply.code().as_str() {
                "MissingAuthenticationTokenException" => {}
                "ThrottlingException" => throttled += 1,
                other => panic!("{other}"),
            }
        }
        // The same connection, and one that was not served before.
        stream.write_all(&rig.signed(LIST_KEYS, b"{}")).await.unwrap();
        assert_eq!(Reply::read(&mut stream).await.status, 200);
        let body = format!("{{\"Limit\":{}}}", signed + 1);
        assert_eq!(rig.exchange(&rig.signed(LIST_KEYS, body.as_bytes())).await.status, 200);
        signed += 2;
    }
    assert!(throttled > 10_000, "{throttled}");
    assert!(rig.audit.counted() > 19_000);
    let lines = rig.end().await;
    let of_signed = |line: &&Value| line["record"]["userIdentity"]["type"] == "Root";
    let known: Vec<_> = lines.iter().filter(of_signed).collect();
    assert_eq!(known.len(), signed);
    let bytes_of =
        |lines: &[&Value]| lines.iter().map(|line| line.to_string().len()).sum::<usize>();
    let of_strangers: Vec<_> = lines.iter().filter(|line| !of_signed(line)).collect();
    let grown = bytes_of(&of_strangers);
    assert!(grown < 64 << 10, "{grown} bytes, {before} at first");
    let (whole, counted) = told(&lines);
    assert_eq!(whole + counted, 20_000);
    println!("20,000 unauthenticated requests: {grown} bytes, {whole} whole");
    let sample = &of_strangers[1]["record"];
    assert_eq!(sample["userAgent"].as_str().unwrap().len(), 128);
    assert!(sample.to_string().len() < 1500, "{sample}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sources_are_bounded_together() {
    let rig = Rig::start().await;
    let before = rig.written();
    let request = unsigned();
    for number in 1..=200 {
        let mut stream = rig.connect_from(Ipv4Addr::new(127, 0, 0, number)).await;
        for reply in send(&mut stream, &request, 100).await {
            // Sources that are counted together are slowed down together.
            let codes = ["MissingAuthenticationTokenException", "ThrottlingException"];
            assert!(codes.contains(&reply.code().as_str()), "{}", reply.code());
        }
    }
    let grown = rig.written() - before;
    assert!(grown < 256 << 10, "{grown} bytes");
    println!("20,000 unauthenticated requests of 200 addresses: {grown} bytes");
    let lines = rig.end().await;
    let (whole, counted) = told(&lines);
    assert_eq!(whole + counted, 20_000);
    let sources = lines.iter().map(|line| line["record"]["sourceIPAddress"].as_str());
    let sources: std::collections::BTreeSet<_> = sources.flatten().collect();
    assert!(sources.contains("127.0.0.1") && sources.contains("other sources"), "{sources:?}");
    assert!(sources.len() < 70, "{}", sources.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_counted_too() {
    let rig = Rig::start().await;
    let request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 43\r\n\
        content-type: application/x-www-form-urlencoded\r\n\r\n\
        Action=GetCallerIdentity&Version=2011-06-15";
    let mut stream = rig.connect().await;
    for _ in 0..35 {
        for reply in send(&mut stream, request, 100).await {
            assert_eq!(reply.status / 100, 4);
        }
    }
    let last = send(&mut stream, request, 1).await.remove(0);
    let text = String::from_utf8(last.body).unwrap();
    assert!(text.contains("Throttling"), "{text}");
    let lines = rig.end().await;
    assert_eq!(told(&lines), (10, 3491));
    let events = lines.iter().map(|line| &line["record"]["serviceEventDetails"]["eventSources"]);
    let of_sts = events.filter_map(|sources| sources["sts.amazonaws.com"].as_u64());
    assert_eq!(of_sts.sum::<u64>(), 3491);
}
