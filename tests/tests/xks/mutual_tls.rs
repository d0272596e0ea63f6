//! Only clients whose certificates have the right names connect, if that is configured.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::{Daemon, REGION, reserved_address};
use hsm_tests::patience::{PATIENCE, until};
use hsm_tests::process::signal_process;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// An authority for clients.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    fn client(&self, common_name: &str, names: &[&str]) -> Identity {
        let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        (certificate.der().clone(), key)
    }
}

/// A connection over TLS.
type Connection = StreamOwned<ClientConnection, TcpStream>;

/// What a client connects with, each time with the sessions of the times before.
fn client(trusted: &Path, identity: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(trusted).expect("a file") {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    Arc::new(match identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
            .expect("an identity"),
    })
}

fn connect(address: &str, client: &Arc<ClientConfig>) -> Connection {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::clone(client), name).expect("a client");
    let stream = TcpStream::connect(address).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    StreamOwned::new(session, stream)
}

/// A request without a signature, for a body of four bytes.
const HEAD: &[u8] =
    b"POST /partner/kms/xks/v1/health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n";
const BODY: &[u8] = b"null";

/// The status line and the rest of the response that comes next.
fn read(stream: &mut Connection) -> io::Result<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.and_then(|text| text.parse().ok()).expect("a length")];
    stream.read_exact(&mut body)?;
    Ok((head.chars().take(12).collect(), head))
}

fn ask(stream: &mut Connection) -> io::Result<String> {
    stream.write_all(&[HEAD, BODY].concat())?;
    read(stream).map(|(status, _)| status)
}

/// Waits until the daemon ends a connection, and says whether it does so without a word.
fn is_ended(stream: &mut Connection) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// The status line of the answer to a request without a signature, over a connection of this client.
fn answer(address: &str, trusted: &Path, identity: Option<&Identity>) -> io::Result<String> {
    ask(&mut connect(address, &client(trusted, identity)))
}

const REFUSED: &str = "http/1.1 401";

#[test]
fn only_clients_with_a_named_certificate_connect() {
    let directory = tempfile::tempdir().expect("a directory");
    let (authority, other) = (Authority::new(), Authority::new());
    let file = directory.path().join("clients.pem");
    fs::write(&file, &authority.pem).expect("written");
    let address = reserved_address().to_string();
    let authorities = file.to_str().expect("UTF-8");
    let arguments =
        ["--xks-listen", &address, "--xks-client-ca", authorities, "--tls-name", "localhost"];
    let daemon = Daemon::start_with(&["soft"], &arguments);
    let trusted = daemon.data().join("tls/certificate.pem");
    let of_aws = format!("cks.kms.{REGION}.amazonaws.com");

    for client in [authority.client(&of_aws, &[]), authority.client("x", &[&of_aws])] {
        let answer = answer(&address, &trusted, Some(&client)).expect("an answer");
        assert_eq!(answer, REFUSED, "a certificate is not a credential");
    }
    for client in [
        Some(authority.client("cks.kms.eu-west-1.amazonaws.com", &[])),
        Some(authority.client("x", &["localhost"])),
        Some(authority.client(&format!("{of_aws}.example"), &[])),
        Some(other.client(&of_aws, &[])),
        None,
    ] {
        let answer = answer(&address, &trusted, client.as_ref());
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[test]
fn authorities_are_replaced_while_connections_are_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let (first, second) = (Authority::new(), Authority::new());
    let file = directory.path().join("clients.pem");
    fs::write(&file, &first.pem).expect("written");
    let address = reserved_address().to_string();
    let authorities = file.to_str().expect("UTF-8");
    let arguments =
        ["--xks-listen", &address, "--xks-client-ca", authorities, "--tls-name", "localhost"];
    let daemon = Daemon::start_with(&["soft"], &arguments);
    let trusted = daemon.data().join("tls/certificate.pem");
    let of_aws = format!("cks.kms.{REGION}.amazonaws.com");
    let [old, new] = [&first, &second].map(|it| client(&trusted, Some(&it.client(&of_aws, &[]))));
    let read_again = |pem: &str, said: &str| {
        fs::write(&file, pem).expect("written");
        signal_process(daemon.id(), Signal::HUP);
        daemon.await_output(said);
    };
    let mut idle = connect(&address, &old);
    assert_eq!(ask(&mut idle).expect("of the first authority"), REFUSED);
    assert!(ask(&mut connect(&address, &new)).is_err());

    // What cannot be read changes nothing, and says so.
    read_again("no certificate", "those from before still count");
    assert!(daemon.output().contains("clients.pem"), "it says which file");
    assert_eq!(ask(&mut idle).expect("it goes on"), REFUSED);
    assert_eq!(ask(&mut connect(&address, &old)).expect("as before"), REFUSED);
    assert!(ask(&mut connect(&address, &new)).is_err());

    // Both, as one does before all clients have changed: nobody notices.
    read_again(&format!("{}{}", first.pem, second.pem), "authorities of clients were read again");
    assert_eq!(ask(&mut idle).expect("it goes on"), REFUSED);
    let mut of_both = [&old, &new].map(|client| connect(&address, client));
    for stream in &mut of_both {
        assert_eq!(ask(stream).expect("both count"), REFUSED);
    }

    // The first one is gone: its clients finish what is under way, and come no more, with sessions either.
    let [under_way, stays] = &mut of_both;
    let asked = Instant::now();
    assert_eq!(ask(&mut idle).expect("it goes on"), REFUSED);
    under_way.write_all(HEAD).expect("sent");
    under_way.flush().expect("sent");
    thread::sleep(Duration::from_millis(200)); // so that it has arrived
    fs::write(&file, &second.pem).expect("written");
    signal_process(daemon.id(), Signal::HUP);
    until("the authorities are read again", || {
        daemon.output().matches("authorities of clients were read again").count() == 2
    });
    assert!(is_ended(&mut idle), "the idle connection is ended");
    // Without a request it would have been after ten seconds.
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    under_way.write_all(BODY).expect("sent");
    let (status, head) = read(under_way).expect("what is under way is finished");
    assert_eq!(status, REFUSED);
    assert!(head.contains("connection: close"), "{head}");
    assert!(is_ended(under_way), "then the connection is ended");
    for _ in 0..3 {
        let answer = ask(&mut connect(&address, &old));
        assert!(answer.is_err(), "{answer:?}");
    }
    assert_eq!(ask(stays).expect("of the second authority"), REFUSED);
    assert_eq!(ask(&mut connect(&address, &new)).expect("of the second authority"), REFUSED);
}

#[test]
fn certificates_are_asked_for_only_over_tls() {
    for (arguments, advice) in [
        (&["--xks-listen", "127.0.0.1:0", "--xks-client-ca", "/nowhere"][..], "--tls-name"),
        (&["--xks-client-ca", "/nowhere"], "--xks-listen"),
        (
            &[
                "--xks-listen",
                "127.0.0.1:0",
                "--xks-client-ca",
                "/nowhere",
                "--tls-name",
                "localhost",
            ],
            "/nowhere",
        ),
    ] {
        let said = Daemon::refused(arguments);
        assert!(said.contains(advice), "{arguments:?}: {said}");
    }
}
