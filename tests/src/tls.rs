//! TLS as a client that looks at what it is shown.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::patience::PATIENCE;

/// A connection over TLS.
#[derive(Debug)]
pub struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Connects to `address` as `name`, trusting the certificates in a PEM text.
    ///
    /// # Errors
    /// If the daemon's certificate is not good for the name.
    ///
    /// # Panics
    /// If nobody listens there, or the text has no certificate.
    pub fn connect(address: &str, name: &str, trusted: &str) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("a certificate");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(address).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let mut client = Self(StreamOwned::new(session, stream));
        // The handshake.
        client.0.conn.complete_io(&mut client.0.sock)?;
        Ok(client)
    }

    /// The certificate of the other end, DER.
    ///
    /// # Panics
    /// Never after [`TlsClient::connect`].
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().expect("shown")[0].to_vec()
    }

    /// Sends a request and returns the head of the response in lower case, once all of it is read.
    ///
    /// # Errors
    /// If the connection ends before.
    ///
    /// # Panics
    /// If the response does not say how long it is.
    pub fn exchange(&mut self, request: &[u8]) -> std::io::Result<String> {
        self.0.write_all(request)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length = length.and_then(|text| text.parse().ok()).expect("a length");
        self.0.read_exact(&mut vec![0; length])?;
        Ok(head)
    }

    /// Asks for `/healthz` on this connection and returns the head of the answer, which leaves the
    /// connection open.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn health(&mut self) -> String {
        self.0.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut answer = Vec::new();
        // The body is `ok` and a line feed.
        while !answer.ends_with(b"\r\n\r\nok\n") {
            let mut chunk = [0; 1024];
            let count = self.0.read(&mut chunk).expect("an answer");
            assert_ne!(count, 0, "the connection ended: {}", answer.escape_ascii());
            answer.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8(answer).expect("text")
    }
}

/// Makes a certificate for `localhost` and writes it and its key to these files; returns the
/// certificate, PEM.
///
/// # Panics
/// If the files cannot be written.
#[must_use]
pub fn make_certificate(certificate: &Path, key: &Path) -> String {
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let pair = KeyPair::generate().expect("a key");
    let pem = parameters.self_signed(&pair).expect("signed").pem();
    std::fs::write(certificate, &pem).expect("written");
    std::fs::write(key, pair.serialize_pem()).expect("written");
    pem
}
