//! HTTP requests to a running daemon, which is found as the AWS CLI finds KMS or IAM.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::aws::{Aws, Environment, Found, Service};
use super::{Failure, advice};
use kms_installation::data_dir::default_data;

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Where `kmsd` is unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8700";

/// How the daemon is found, with the settings of the AWS CLI where flags say nothing.
#[derive(Debug, clap::Args)]
#[group(id = "daemon")] // the commands that it is part of have one named after their own
pub(super) struct Arguments {
    /// URL of the daemon [default: AWS_ENDPOINT_URL_KMS, AWS_ENDPOINT_URL, the services section or
    /// endpoint_url of the profile in ~/.aws/config, http://127.0.0.1:8700; `kmsctl iam` looks for
    /// those of IAM first: AWS_ENDPOINT_URL_IAM …].
    #[arg(long, global = true, visible_alias = "endpoint-url")]
    url: Option<String>,
    /// Certificates to trust for https, PEM [default: AWS_CA_BUNDLE, ca_bundle of the profile, the
    /// daemon's own in DIR/tls/certificate.pem].
    #[arg(long, global = true, value_name = "FILE", visible_alias = "ca-bundle")]
    ca: Option<PathBuf>,
    /// Profile of the AWS CLI's files, or of --credentials [default: AWS_PROFILE, default].
    #[arg(long, global = true)]
    profile: Option<String>,
    /// Data directory of the daemon [default: STRONGROOM_DATA, as for kmsd].
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Where the daemon is, and what is known of it.
pub(super) struct Daemon {
    pub(super) url: Found<Uri>,
    /// The configuration of the AWS CLI.
    pub(super) aws: Aws,
    /// The data directory, if a flag names one.
    pub(super) data: Option<PathBuf>,
    ca: Option<Found<PathBuf>>,
}

/// An answer. It may have a secret in it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Arguments {
    /// The data directory that the flag names, or that of a daemon of this user.
    pub(super) fn data_dir(&self) -> Result<PathBuf, Failure> {
        let named = self.data.clone();
        let named = named.or_else(|| std::env::var_os("STRONGROOM_DATA").map(PathBuf::from));
        Ok(named.map_or_else(default_data, Ok)?)
    }

    /// Whether a flag or the environment names the data directory.
    pub(super) fn names_data(&self) -> bool {
        self.data.is_some() || std::env::var_os("STRONGROOM_DATA").is_some()
    }

    /// Finds the daemon.
    pub(super) fn find(&self, service: Service) -> Result<Daemon, Failure> {
        self.find_in(service, Environment::of_process())
    }

    /// The profile that a flag names, of a file that has one for the daemon.
    pub(super) fn profile_or_default(&self) -> &str {
        self.profile.as_deref().unwrap_or("default")
    }

    fn find_in(&self, service: Service, environment: Environment) -> Result<Daemon, Failure> {
        let aws = Aws::load(environment, self.profile.as_deref())?;
        let of_flag = self.url.clone().map(|url| Found::new(url, "--url"));
        let url = match of_flag {
            Some(url) => Some(url),
            None => aws.endpoint(service)?,
        };
        let url = url.unwrap_or_else(|| Found::new(DEFAULT_URL.to_owned(), "the default"));
        let Found { value, origin } = url;
        let wrong = |why: &str| {
            Failure(format!("{origin}: {value:?} {why}; it is a URL such as {DEFAULT_URL}"))
        };
        let uri: Uri = value.parse().map_err(|_| wrong("is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("begins with neither http:// nor https://"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("names no host"));
        }
        let ca = self.ca.clone().map(|path| Found::new(path, "--ca")).or_else(|| aws.ca_bundle());
        let ca = ca.or_else(|| {
            let data = self.data.clone().or_else(|| data_by_default(&aws))?;
            let path = data.join("tls/certificate.pem");
            path.exists().then(|| Found::new(path, "the data directory"))
        });
        Ok(Daemon { url: Found::new(uri, origin), aws, data: self.data.clone(), ca })
    }
}

/// The data directory where no flag names one.
pub(super) fn data_by_default(aws: &Aws) -> Option<PathBuf> {
    let named = aws.environment().get("STRONGROOM_DATA").map(PathBuf::from);
    named.or_else(|| default_data().ok())
}

impl Daemon {
    /// Sends a request and waits for its response, for at most `patience`.
    pub(super) fn ask(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked =
            runtime.block_on(async { tokio::time::timeout(patience, self.send(request)).await });
        asked.map_err(|_| Failure(format!("{self} does not answer; is kmsd running there?")))?
    }

    /// The `Host` header of requests.
    pub(super) fn host(&self) -> Result<&str, Failure> {
        let authority = self.url.value.authority().map(hyper::http::uri::Authority::as_str);
        authority.ok_or_else(|| Failure(format!("{self} names no host")))
    }

    /// What an answer says.
    pub(super) fn json(&self, answer: &Answer) -> Result<Value, Failure> {
        serde_json::from_slice(&answer.body).map_err(|_| self.not_json(answer))
    }

    fn not_json(&self, answer: &Answer) -> Failure {
        let text = String::from_utf8_lossy(&answer.body);
        let line = text.lines().next().unwrap_or_default();
        let is_plain = self.url.value.scheme_str() == Some("http");
        let status = answer.status;
        // As this daemon and most other servers answer plain HTTP.
        if is_plain && status == StatusCode::BAD_REQUEST && text.to_lowercase().contains("https") {
            return Failure(format!(
                "{self} speaks TLS; {}",
                advice::other_scheme(&self.url.value)
            ));
        }
        let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
        Failure(format!("{self} is not a kmsd: it responds with {status} {line:?}"))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let url = &self.url.value;
        let https = url.scheme_str() == Some("https");
        let host = url.host().unwrap_or_default();
        let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
        let bare = host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((bare, port)).await.map_err(|error| {
            Failure(format!(
                "cannot reach {self}: {error}; is kmsd running there? (--url names another)"
            ))
        })?;
        if !https {
            let answer = exchange(stream, request).await;
            let advice = advice::other_scheme(url);
            return answer.map_err(|failure| {
                Failure(format!(
                    "{self} does not answer in HTTP: {failure}; if it speaks TLS, {advice}"
                ))
            });
        }
        let name = ServerName::try_from(bare.to_owned())?;
        let connector = TlsConnector::from(Arc::new(self.trust()?));
        match connector.connect(name, stream).await {
            Ok(stream) => exchange(stream, request).await,
            Err(error) => {
                let ca = self.ca.as_ref().map(|ca| (ca.value.as_path(), ca.origin.as_str()));
                let why = advice::of_tls(&error, url, ca.unwrap_or((Path::new(""), "")));
                Err(Failure(format!("{self}: {why}")))
            }
        }
    }

    fn trust(&self) -> Result<ClientConfig, Failure> {
        let ca = self.ca.as_ref().ok_or_else(|| {
            Failure(format!(
                "{self} is reached over TLS: say with --ca FILE which certificate to trust; the \
                 daemon's own is DIR/tls/certificate.pem (--data DIR), those of public authorities \
                 are /etc/ssl/certs/ca-certificates.crt or the like"
            ))
        })?;
        let unusable = |error: &dyn std::fmt::Display| {
            let (path, origin) = (ca.value.display(), &ca.origin);
            Failure(format!("cannot use the certificates in {path} (from {origin}): {error}"))
        };
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(&ca.value);
        for certificate in certificates.map_err(|error| unusable(&error))? {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
        if roots.is_empty() {
            return Err(unusable(&"it contains no certificate in PEM form"));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

/// The URL, and why it is that one.
impl std::fmt::Display for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = self.url.value.to_string();
        write!(f, "{} (from {})", url.trim_end_matches('/'), self.url.origin)
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Failure> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Answer { status, body: Zeroizing::new(body.to_bytes().to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(arguments: &Arguments, variables: &[(&str, &str)]) -> Result<Daemon, String> {
        arguments
            .find_in(Service::Kms, variables.iter().copied().collect())
            .map_err(|failure| failure.0)
    }

    fn none() -> Arguments {
        Arguments { url: None, ca: None, profile: None, data: None }
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_default() {
        let variables = [("AWS_ENDPOINT_URL", "http://e:1"), ("AWS_CA_BUNDLE", "/e.pem")];
        let flags =
            Arguments { url: Some("https://f:2/".into()), ca: Some("/f.pem".into()), ..none() };
        let found = find(&flags, &variables).unwrap();
        assert_eq!(found.to_string(), "https://f:2 (from --url)");
        assert_eq!(found.ca.unwrap().value, Path::new("/f.pem"));
        let found = find(&none(), &variables).unwrap();
        assert_eq!(found.to_string(), "http://e:1 (from AWS_ENDPOINT_URL)");
        assert_eq!(found.ca.unwrap().value, Path::new("/e.pem"));
        let found = find(&none(), &[]).unwrap();
        assert_eq!(found.to_string(), "http://127.0.0.1:8700 (from the default)");
        // As for the AWS CLI, the flag counts whatever is to be ignored.
        let ignore = [("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"), variables[0]];
        assert_eq!(find(&flags, &ignore).unwrap().url.origin, "--url");
        assert_eq!(find(&none(), &ignore).unwrap().url.origin, "the default");
    }

    #[test]
    fn the_data_directory_has_the_certificate_to_trust() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tls")).unwrap();
        let certificate = dir.path().join("tls/certificate.pem");
        std::fs::write(&certificate, "x").unwrap();
        let flags = Arguments { data: Some(dir.path().into()), ..none() };
        assert_eq!(find(&flags, &[]).unwrap().ca.unwrap().value, certificate);
        let bundle = [("AWS_CA_BUNDLE", "/e.pem")];
        assert_eq!(find(&flags, &bundle).unwrap().ca.unwrap().origin, "AWS_CA_BUNDLE");
        let by_environment = [("STRONGROOM_DATA", dir.path().to_str().unwrap())];
        assert_eq!(find(&none(), &by_environment).unwrap().ca.unwrap().value, certificate);
    }

    #[test]
    fn what_is_no_url_is_named_with_its_place() {
        for url in ["localhost:8700", "ftp://x", "http://", "127.0.0.1", "http://a b"] {
            let error = find(&none(), &[("AWS_ENDPOINT_URL_KMS", url)]).err().unwrap();
            assert!(
                error.contains("AWS_ENDPOINT_URL_KMS") && error.contains(DEFAULT_URL),
                "{error}"
            );
        }
    }
}
