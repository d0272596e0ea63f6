//! Only clients whose certificates have the right names connect, if that is configured.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use hsm_tests::daemon::{Daemon, REGION, reserved_address};
use hsm_tests::patience::PATIENCE;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
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

/// The status line of the answer to a request without a signature, over a connection of this client.
fn answer(address: &str, trusted: &Path, client: Option<&Identity>) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(trusted).expect("a file") {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
            .expect("an identity"),
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = TcpStream::connect(address).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut stream = StreamOwned::new(session, stream);
    stream.write_all(
        b"POST /partner/kms/xks/v1/health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\
          connection: close\r\n\r\n",
    )?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

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
        assert_eq!(answer, "HTTP/1.1 401", "a certificate is not a credential");
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
