//! The targets of trails: buckets of an S3-compatible service, or directories that stand for buckets.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use md5::{Digest, Md5};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::path::Path as ObjectPath;
use object_store::{
    Attribute, Attributes, BackoffConfig, ObjectStore, ObjectStoreExt, PutOptions, RetryConfig,
};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::digest::SIGNATURE_ALGORITHM;
use kms_base::durable;

/// Bytes of an answer that are read: what is asked for is short.
const MAX_ANSWER: usize = 1 << 20;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an exchange may take: the longest file at 300 KiB a second.
const EXCHANGE: Duration = Duration::from_secs(60);
/// How often an exchange is tried before delivery waits, and how long that may take.
const TRIES: (usize, Duration) = (2, Duration::from_secs(90));
/// An object that nobody writes: whether it can be asked for tells whether its bucket is there.
const PROBE: &str = "AWSLogs/strongroom-probe";
/// Why a bucket of a directory is not there.
const NO_DIRECTORY: &str = "there is no directory of its name";

/// Where buckets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Directories of their names in this one.
    Directory(PathBuf),
    /// An S3-compatible service.
    S3 {
        /// Its URL, without a bucket.
        endpoint: String,
        /// The Region of its signatures.
        region: String,
        /// A file of access keys in the form that AWS's programs share.
        credentials: Option<PathBuf>,
    },
}

/// Why something cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// There is no such bucket.
    #[error("the bucket {bucket} does not exist: {reason}")]
    NoBucket {
        /// Its name.
        bucket: String,
        /// What it is known by.
        reason: String,
    },
    /// The file system refuses.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The service does not take it.
    #[error("the bucket {bucket} does not accept {object}: {source}")]
    Store {
        /// The bucket.
        bucket: String,
        /// What is to be in it.
        object: String,
        /// What the service said.
        source: Box<object_store::Error>,
    },
    /// There are no credentials.
    #[error("cannot use the credentials of the bucket {bucket}: {reason}")]
    Credentials {
        /// The bucket.
        bucket: String,
        /// What is wrong.
        reason: String,
    },
}

/// A bucket.
#[derive(Debug)]
pub(super) enum Bucket {
    Directory(PathBuf),
    Store { name: String, store: Box<dyn ObjectStore> },
}

impl Place {
    /// A bucket. Credentials are read now, so that new ones need no restart.
    ///
    /// # Errors
    /// [`TargetError::Credentials`].
    pub(super) fn bucket(&self, name: &str) -> Result<Bucket, TargetError> {
        let (endpoint, region, credentials) = match self {
            Self::Directory(root) => return Ok(Bucket::Directory(root.join(name))),
            Self::S3 { endpoint, region, credentials } => (endpoint, region, credentials),
        };
        let unusable = |reason: String| {
            let bucket = name.to_owned();
            TargetError::Credentials { bucket, reason }
        };
        let builder = match credentials {
            Some(path) => {
                let (id, secret, token) = read_credentials(path).map_err(unusable)?;
                let builder = AmazonS3Builder::new()
                    .with_access_key_id(id)
                    .with_secret_access_key(secret.as_str());
                token.into_iter().fold(builder, AmazonS3Builder::with_token)
            }
            None => AmazonS3Builder::from_env(),
        };
        let backoff = BackoffConfig::default();
        let (max_retries, retry_timeout) = TRIES;
        let store = builder
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
            .with_region(region)
            .with_bucket_name(name)
            .with_virtual_hosted_style_request(false)
            .with_allow_http(endpoint.starts_with("http://"))
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(RetryConfig { backoff, max_retries, retry_timeout })
            .with_http_connector(Connector)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Bucket::Store { name: name.to_owned(), store: Box::new(store) })
    }
}

impl Bucket {
    /// Writes an object; durable when it returns. One of that name is replaced: it has the same
    /// content, unless it is a file of which nothing else tells.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(super) async fn put(
        &self,
        object: &str,
        content: Vec<u8>,
        signature: Option<&str>,
    ) -> Result<(), TargetError> {
        match self {
            Self::Directory(root) => {
                let (root, object) = (root.clone(), object.to_owned());
                let signature = signature.map(str::to_owned);
                let written = tokio::task::spawn_blocking(move || {
                    write(&root, &object, &content, signature.as_deref())
                });
                written.await.unwrap_or_else(|error| {
                    let path = PathBuf::new();
                    Err(TargetError::File { path, source: io::Error::other(error) })
                })
            }
            Self::Store { name, store } => {
                let refused = |source| TargetError::Store {
                    bucket: name.clone(),
                    object: object.to_owned(),
                    source: Box::new(source),
                };
                let path = ObjectPath::parse(object).map_err(|error| refused(error.into()))?;
                let mut attributes = Attributes::new();
                attributes.insert(Attribute::ContentType, "application/x-gzip".into());
                if let Some(signature) = signature {
                    let metadata = |name: &'static str| Attribute::Metadata(name.into());
                    attributes.insert(metadata("signature"), signature.to_owned().into());
                    attributes.insert(metadata("signature-algorithm"), SIGNATURE_ALGORITHM.into());
                }
                let options = PutOptions { attributes, ..PutOptions::default() };
                let put = store.put_opts(&path, content.into(), options).await;
                put.map(drop).map_err(|error| match is_of_bucket(&error) {
                    true => TargetError::NoBucket {
                        bucket: name.clone(),
                        reason: "the service answers NoSuchBucket".to_owned(),
                    },
                    false => refused(error),
                })
            }
        }
    }

    /// Whether the bucket is there. A service that does not let it be read is believed.
    ///
    /// # Errors
    /// [`TargetError::NoBucket`], or what keeps from knowing it.
    pub(super) async fn probe(&self) -> Result<(), TargetError> {
        match self {
            Self::Directory(root) => require(root),
            Self::Store { name, store } => match store.get(&ObjectPath::from(PROBE)).await {
                Err(error) if is_of_bucket(&error) => Err(TargetError::NoBucket {
                    bucket: name.clone(),
                    reason: "the service answers NoSuchBucket".to_owned(),
                }),
                Ok(_)
                | Err(
                    object_store::Error::NotFound { .. }
                    | object_store::Error::PermissionDenied { .. },
                ) => Ok(()),
                Err(source) => Err(TargetError::Store {
                    bucket: name.clone(),
                    object: PROBE.to_owned(),
                    source: Box::new(source),
                }),
            },
        }
    }
}

/// Whether an error says that there is no bucket.
fn is_of_bucket(error: &object_store::Error) -> bool {
    let object_store::Error::NotFound { source, .. } = error else { return false };
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&**source);
    while let Some(error) = source {
        if error.to_string().contains("NoSuchBucket") {
            return true;
        }
        source = error.source();
    }
    false
}

fn require(root: &Path) -> Result<(), TargetError> {
    let bucket = || root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match fs::metadata(root) {
        Ok(found) if found.is_dir() => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(TargetError::File { path: root.to_owned(), source: error })
        }
        _ => Err(TargetError::NoBucket { bucket: bucket(), reason: NO_DIRECTORY.to_owned() }),
    }
}

/// What S3 has as metadata of a digest stands in a file beside it, which is there first.
fn write(
    root: &Path,
    object: &str,
    content: &[u8],
    signature: Option<&str>,
) -> Result<(), TargetError> {
    require(root)?;
    let path = root.join(object);
    let failed = |source| TargetError::File { path: path.clone(), source };
    let parent = path.parent().unwrap_or(root);
    durable::create_private_dir(parent).map_err(failed)?;
    for directory in parent.ancestors().skip(1).take_while(|one| one.starts_with(root)) {
        durable::sync_dir(directory).map_err(failed)?;
    }
    if let Some(signature) = signature {
        let beside = root.join(format!("{object}.signature"));
        let text = format!("signature-algorithm: {SIGNATURE_ALGORITHM}\nsignature: {signature}\n");
        durable::write(&beside, text.as_bytes(), 0o600).map_err(failed)?;
    }
    durable::write(&path, content, 0o600).map_err(failed)
}

/// The access key of the first profile of a file, and its session token.
fn read_credentials(path: &Path) -> Result<(String, Zeroizing<String>, Option<String>), String> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    let profile = text.lines().skip_while(|line| !line.trim_start().starts_with('['));
    let own: Vec<&str> =
        profile.skip(1).take_while(|line| !line.trim_start().starts_with('[')).collect();
    let value = |name: &str| {
        let pairs = own.iter().filter_map(|line| line.split_once('='));
        let found = pairs.into_iter().find(|(key, _)| key.trim() == name);
        found.map(|(_, value)| value.trim().to_owned())
    };
    let missing = |name: &str| format!("{} has no {name}", path.display());
    let id = value("aws_access_key_id").ok_or_else(|| missing("aws_access_key_id"))?;
    let secret = value("aws_secret_access_key").map(Zeroizing::new);
    let secret = secret.ok_or_else(|| missing("aws_secret_access_key"))?;
    Ok((id, secret, value("aws_session_token")))
}

/// Makes clients that speak HTTP/1.1 over connections of their own: there is one exchange in
/// minutes. Of TLS, the machine's roots are trusted, or those of `SSL_CERT_FILE`.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Client))
    }
}

#[derive(Debug)]
struct Client;

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl HttpService for Client {
    // The form of a method of `#[async_trait]`.
    fn call<'life0, 'async_trait>(
        &'life0 self,
        request: HttpRequest,
    ) -> std::pin::Pin<
        Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>,
    >
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let late = |_| HttpError::new(HttpErrorKind::Timeout, Late);
            tokio::time::timeout(EXCHANGE, exchange(request)).await.map_err(late)?
        })
    }
}

/// An exchange took too long.
#[derive(Debug)]
struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {} s", EXCHANGE.as_secs())
    }
}

impl std::error::Error for Late {}

async fn exchange(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let of = |kind| move |error: Failure| HttpError::new_boxed(kind, error);
    let connect = |request: &HttpRequest| {
        let uri = request.uri();
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().to_owned();
        (secure, host, uri.port_u16().unwrap_or(if secure { 443 } else { 80 }))
    };
    let (secure, host, port) = connect(&request);
    let address = (host.trim_start_matches('[').trim_end_matches(']'), port);
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_| HttpError::new(HttpErrorKind::Connect, Late))?;
    let stream = stream.map_err(|error| of(HttpErrorKind::Connect)(error.into()))?;
    if !secure {
        return send(request, TokioIo::new(stream)).await.map_err(of(HttpErrorKind::Request));
    }
    let tls = trust().map_err(of(HttpErrorKind::Connect))?;
    let name = ServerName::try_from(address.0.to_owned());
    let name = name.map_err(|error| of(HttpErrorKind::Connect)(error.into()))?;
    let stream = tls.connect(name, stream).await;
    let stream = stream.map_err(|error| of(HttpErrorKind::Connect)(error.into()))?;
    send(request, TokioIo::new(stream)).await.map_err(of(HttpErrorKind::Request))
}

async fn send<S>(request: HttpRequest, stream: S) -> Result<HttpResponse, Failure>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let connection = AbortOnDrop(tokio::spawn(connection));
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().map(|authority| authority.as_str().to_owned());
    if let Some(authority) = authority
        && !head.headers.contains_key(hyper::header::HOST)
    {
        head.headers.insert(hyper::header::HOST, authority.parse()?);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    head.uri = path;
    let content = body.collect().await?.to_bytes();
    if head.method == hyper::Method::PUT {
        // What S3 asks for where objects get locked. It says nothing: the signature is over the SHA-256.
        let md5 = BASE64.encode(Md5::digest(&content));
        head.headers.insert("content-md5", md5.parse()?);
    }
    let request = hyper::Request::from_parts(head, Full::new(content));
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    drop(connection);
    let body = Full::new(body).map_err(|never| match never {});
    Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
}

/// A connection whose exchange is over, or was given up.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn trust() -> Result<TlsConnector, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "this machine has no certificates of authorities; install ca-certificates, or name a \
             file with SSL_CERT_FILE"
                .into(),
        );
    }
    let config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_root_certificates(roots)
    .with_no_client_auth();
    Ok(TlsConnector::from(std::sync::Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_stands_for_a_bucket() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::Directory(dir.path().to_owned());
        let bucket = place.bucket("logs").unwrap();
        let gone = bucket.put("a/b.gz", b"x".to_vec(), None).await.unwrap_err();
        assert!(matches!(gone, TargetError::NoBucket { .. }), "{gone}");
        assert!(matches!(bucket.probe().await, Err(TargetError::NoBucket { .. })));
        fs::create_dir(dir.path().join("logs")).unwrap();
        bucket.probe().await.unwrap();
        bucket.put("a/b.gz", b"x".to_vec(), Some("0f")).await.unwrap();
        assert_eq!(fs::read(dir.path().join("logs/a/b.gz")).unwrap(), b"x");
        let beside = fs::read_to_string(dir.path().join("logs/a/b.gz.signature")).unwrap();
        assert_eq!(beside, "signature-algorithm: SHA256withRSA\nsignature: 0f\n");
    }

    #[test]
    fn credentials_are_of_the_first_profile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let text = "# x\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n[other]\n\
                    aws_session_token = T\n";
        fs::write(&path, text).unwrap();
        let (id, secret, token) = read_credentials(&path).unwrap();
        assert_eq!((id.as_str(), secret.as_str(), token), ("A", "B=", None));
        fs::write(&path, "[default]\naws_access_key_id = A\n").unwrap();
        assert!(read_credentials(&path).unwrap_err().contains("aws_secret_access_key"));
    }
}
