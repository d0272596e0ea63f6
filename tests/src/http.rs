//! Requests as bytes: a client that can also be malformed on purpose.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;

use crate::daemon::{Credentials, Daemon, REGION};
use crate::patience::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.body.escape_ascii()))
    }

    /// The error code, without a namespace.
    ///
    /// # Panics
    /// If the response is not an error.
    #[must_use]
    pub fn code(&self) -> String {
        assert!(self.status >= 400, "no error: {self:?}");
        self.json()["__type"].as_str().expect("an error has a type").to_owned()
    }
}

/// A request to build and send.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, without `Host` and `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Request {
    /// A call of an operation, not yet signed.
    #[must_use]
    pub fn new(operation: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: vec![
                ("content-type".to_owned(), "application/x-amz-json-1.1".to_owned()),
                ("x-amz-target".to_owned(), format!("TrentService.{operation}")),
            ],
            body: body.into(),
        }
    }

    /// A call of IAM or STS that asks for an answer in JSON, not yet signed. Values are of
    /// unreserved characters.
    #[must_use]
    pub fn form(version: &str, action: &str, parameters: &[(&str, &str)]) -> Self {
        let mut body = format!("Action={action}&Version={version}");
        for (name, value) in parameters {
            body.push_str(&format!("&{name}={value}"));
        }
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        Self {
            headers: vec![
                ("content-type".to_owned(), kind.to_owned()),
                ("accept".to_owned(), "application/json".to_owned()),
            ],
            ..Self::new("", body)
        }
    }

    /// Replaces or adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Signs the request as it is now, with the account root's key.
    ///
    /// # Panics
    /// If the signer refuses it.
    #[must_use]
    pub fn signed(self, daemon: &Daemon) -> Self {
        self.signed_by(&daemon.credentials(), daemon)
    }

    /// Signs the request as it is now, with anybody's access key.
    ///
    /// # Panics
    /// If the signer refuses it.
    #[must_use]
    pub fn signed_by(self, who: &Credentials, daemon: &Daemon) -> Self {
        self.signed_for("kms", who, daemon)
    }

    /// Signs the request as it is now for a service: `kms`, `iam` or `sts`.
    ///
    /// # Panics
    /// If the signer refuses it.
    #[must_use]
    pub fn signed_for(self, service: &str, who: &Credentials, daemon: &Daemon) -> Self {
        self.signed_in(REGION, service, who, daemon)
    }

    /// The same, for another Region.
    ///
    /// # Panics
    /// If the signer refuses it.
    #[must_use]
    pub fn signed_in(
        self,
        region: &str,
        service: &str,
        who: &Credentials,
        daemon: &Daemon,
    ) -> Self {
        let Credentials { id, secret } = who;
        let identity = AwsCredentials::new(id, secret, None, None, "test").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .expect("complete")
            .into();
        let url = format!("{}{}", daemon.url(), self.path);
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = SignableBody::Bytes(&self.body);
        let signable = SignableRequest::new(&self.method, url, headers, body).expect("signable");
        let (instructions, _) = sign(signable, &parameters).expect("signed").into_parts();
        let (added, _) = instructions.into_parts();
        let mut signed = self.clone();
        for header in added {
            signed = signed.header(header.name(), header.value());
        }
        signed
    }

    /// The request's bytes.
    #[must_use]
    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it on a connection of its own.
    ///
    /// # Panics
    /// If there is no whole answer.
    #[must_use]
    pub fn send(&self, daemon: &Daemon) -> Answer {
        let mut connection = Connection::open(daemon);
        // The daemon may answer and close before it has read all of an oversize body.
        let _ = connection.write(&self.to_bytes(daemon.address()));
        connection.read().expect("an answer")
    }
}

/// Calls an operation with a signed request.
#[must_use]
pub fn call(daemon: &Daemon, operation: &str, body: &Value) -> Answer {
    Request::new(operation, body.to_string()).signed(daemon).send(daemon)
}

/// The same, in another Region.
#[must_use]
pub fn call_in(daemon: &Daemon, region: &str, operation: &str, body: &Value) -> Answer {
    let request = Request::new(operation, body.to_string());
    request.signed_in(region, "kms", &daemon.credentials(), daemon).send(daemon)
}

/// Asks for one of the paths that are for operators; nothing is signed.
#[must_use]
pub fn get(daemon: &Daemon, path: &str) -> Answer {
    let (method, path) = ("GET".to_owned(), path.to_owned());
    Request { method, path, headers: Vec::new(), body: Vec::new() }.send(daemon)
}

/// Waits until exactly so many devices are in service, by the daemon's own metrics.
///
/// # Panics
/// If they never are.
pub fn await_devices(daemon: &Daemon, wanted: usize) {
    let by = Instant::now() + PATIENCE;
    loop {
        let found = devices_in_service(daemon);
        if found == wanted {
            return;
        }
        assert!(Instant::now() < by, "{found} devices, not {wanted}\n{}", daemon.output());
        thread::sleep(Duration::from_millis(20));
    }
}

/// How many devices are in service now, by the daemon's own metrics.
///
/// # Panics
/// If it does not tell.
#[must_use]
pub fn devices_in_service(daemon: &Daemon) -> usize {
    let metrics = String::from_utf8(get(daemon, "/metrics").body).expect("text");
    let devices = metrics.lines().filter(|line| line.starts_with("strongroom_device_up{"));
    devices.filter(|line| line.ends_with(" 1")).count()
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// If the daemon does not listen.
    #[must_use]
    pub fn open(daemon: &Daemon) -> Self {
        Self::to(daemon.address())
    }

    /// Connects to another port of it.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn to(address: &str) -> Self {
        Self::try_to(address, PATIENCE).expect("the daemon listens")
    }

    /// Connects to an address where perhaps nobody listens, for answers that take no longer than `patience`.
    ///
    /// # Errors
    /// If nobody does.
    pub fn try_to(address: &str, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the daemon closed the connection.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Ends the sending direction.
    pub fn finish(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// If the connection ends or stays silent before the answer is complete.
    pub fn read(&mut self) -> io::Result<Answer> {
        let mut received = Vec::new();
        let head_end = loop {
            if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more(&mut received)?;
        };
        let head = String::from_utf8_lossy(&received[..head_end]).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, head.clone());
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .ok_or_else(invalid)?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .and_then(|(_, value)| value.parse().ok())
            .ok_or_else(invalid)?;
        let mut body = received.split_off(head_end);
        while body.len() < length {
            self.more(&mut body)?;
        }
        Ok(Answer { status, headers, body })
    }

    /// Whether bytes of an answer have come, or the daemon ended the connection.
    #[must_use]
    pub fn has_answer(&self) -> bool {
        self.peek().is_some()
    }

    /// Whether the daemon ended the connection; what it answered before is thrown away.
    #[must_use]
    pub fn is_over(&mut self) -> bool {
        while let Some(count) = self.peek() {
            if count == 0 || self.0.read(&mut [0; 4096]).is_err() {
                return true;
            }
        }
        false
    }

    /// How many bytes can be read without waiting; 0 at the end of the stream.
    fn peek(&self) -> Option<usize> {
        self.0.set_nonblocking(true).expect("a socket can be made so");
        let peeked = self.0.peek(&mut [0; 64]);
        self.0.set_nonblocking(false).expect("a socket can be made so");
        match peeked {
            Ok(count) => Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }

    fn more(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        match self.0.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                buffer.extend_from_slice(&chunk[..length]);
                Ok(())
            }
        }
    }
}
