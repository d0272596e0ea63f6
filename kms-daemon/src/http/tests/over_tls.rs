//! TLS on the HTTP port.

use tokio_rustls::client::TlsStream;

use super::*;

/// Connects a client that offers these protocols by ALPN.
pub(super) async fn connect(rig: &Rig, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let certificate = rig.dir.path().join("tls/certificate.pem");
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, rig.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_record_says_so() {
    let rig = Rig::start_with(true, Limits::default()).await;
    let mut stream = connect(&rig, &[b"http/1.1"]).await;
    stream.write_all(&rig.signed(LIST_KEYS, b"{}")).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(Reply::read(&mut stream).await.status, 200);
    let details = rig.records()[0]["tlsDetails"].clone();
    assert_eq!(details["tlsVersion"], "TLSv1.3");
    assert!(details["cipherSuite"].as_str().unwrap().starts_with("TLS_"), "{details}");
    assert_eq!(details["clientProvidedHostHeader"], rig.address.to_string());

    let mut plain = rig.connect().await;
    plain.write_all(&rig.signed(LIST_KEYS, b"{}")).await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https://"), "{answer}");
    assert_eq!(rig.records().len(), 1, "a request in plain HTTP is not processed");
    rig.stop().await;
}

/// Programs that speak the wrong protocol to a port get an error, and never an API request.
#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_protocol_is_answered_and_ends() {
    let rig =
        Rig::start_with(true, Limits { head: Duration::from_secs(2), ..Limits::default() }).await;
    // The client sends as much as it may before it reads, and still gets the response.
    let long = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n{}",
        "x".repeat(60_000)
    );
    for begin in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "P", &long] {
        let mut plain = rig.connect().await;
        plain.write_all(begin.as_bytes()).await.unwrap();
        let reply = Reply::read(&mut plain).await;
        assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
        assert!(String::from_utf8(reply.body).unwrap().contains("use https://"));
        assert_eq!(plain.read(&mut [0; 1]).await.unwrap(), 0, "it ends");
    }
    // Clients that send neither HTTP nor TLS, or nothing, are disconnected in time.
    for begin in [&b"\0\0\0"[..], b"\x16\x03\x01\0\x05hello", b""] {
        let mut other = rig.connect().await;
        other.write_all(begin).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, other.read_to_end(&mut answer));
        let _ = ended.await.expect("the connection ends");
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert!(rig.records().is_empty());
    let mut stream = connect(&rig, &[b"http/1.1"]).await;
    stream.write_all(&rig.signed(LIST_KEYS, b"{}")).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(Reply::read(&mut stream).await.status, 200);
    rig.stop().await;
}
