//! The published suite, and what the other tests build on.

mod differential;
mod malformed;
mod sessions;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::signature::signing_key;
use super::signer::{Signing, sign_with};
use super::*;
use hyper::header::{HeaderName, HeaderValue};

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30T12:36:00Z, the time of the published suite.
const SUITE_TIME: u64 = 1_440_938_160;

/// A request that owns its parts.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    path: String,
    query: Option<String>,
    authority: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn view(&self) -> SignedRequest<'_> {
        SignedRequest {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            authority: self.authority.as_deref(),
            headers: &self.headers,
            body: &self.body,
        }
    }

    /// Reads the suite's request files, which fold long headers over several lines.
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let mut lines = head.lines();
        let start = lines.next().unwrap().trim_end_matches(" HTTP/1.1");
        let (method, target) = start.split_once(' ').unwrap();
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut fields: Vec<String> = Vec::new();
        for line in lines {
            if line.starts_with(' ') {
                write!(fields.last_mut().unwrap(), " {}", line.trim()).unwrap();
            } else {
                fields.push(line.to_owned());
            }
        }
        let mut headers = HeaderMap::new();
        for field in fields {
            let (name, value) = field.split_once(':').unwrap();
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value.trim()).unwrap(),
            );
        }
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            authority: None,
            headers,
            body: body.as_bytes().to_vec(),
        }
    }

    /// A KMS request signed by the AWS signer as of `time`, in seconds since the epoch.
    fn signed(path: &str, extra: &[(String, String)], body: &[u8], time: u64) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:8700"));
        headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.1"));
        headers.insert("x-amz-target", HeaderValue::from_static("TrentService.Encrypt"));
        for (name, value) in extra {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let declare = body.len().is_multiple_of(2);
        super::signer::sign(&mut headers, path, body, (ID, SECRET), at(time), declare);
        Self::new("POST", path, headers, body)
    }

    fn new(method: &str, target: &str, headers: HeaderMap, body: &[u8]) -> Self {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            authority: None,
            headers,
            body: body.to_vec(),
        }
    }

    fn set(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    fn plain() -> Self {
        Self::signed("/", &[], b"{\"KeyId\":\"alias/a\"}", SUITE_TIME)
    }
}

fn served() -> Served {
    Arc::new(|region| region == "us-east-1")
}

/// A key of [`SECRET`].
#[derive(Debug, Clone, Copy)]
struct Key(Option<Session>);

impl AccessKey for Key {
    fn secret(&self) -> &str {
        SECRET
    }

    fn session(&self) -> Option<Session> {
        self.0
    }
}

fn verifier() -> Verifier {
    Verifier::new(served(), Duration::from_secs(5 * 60))
}

impl Verifier {
    /// As a front end does it, with [`ID`] as the only key.
    fn authenticate(
        &self,
        request: &Request,
        service: SigningService,
        now: SystemTime,
        session: Option<Session>,
    ) -> Result<(), KmsError> {
        let view = request.view();
        let claim = self.read(&view, service, now)?;
        let found = (claim.access_key_id() == ID).then_some(Key(session));
        self.verify(&claim, found).map(drop)
    }

    fn at(&self, request: &Request, now: u64) -> Result<(), KmsError> {
        self.authenticate(request, SigningService::KMS, at(now), None)
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn verify(request: &Request) -> Result<(), KmsError> {
    verifier().at(request, SUITE_TIME)
}

fn refusal(request: &Request) -> (Exception, String) {
    told(verify(request))
}

fn told(outcome: Result<(), KmsError>) -> (Exception, String) {
    let error = outcome.unwrap_err();
    (error.exception(), error.message().unwrap().to_owned())
}

fn suite() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sigv4");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

#[test]
fn published_suite() {
    let cases = suite();
    assert_eq!(cases.len(), 31);
    for case in cases {
        let file = |name: &str| fs::read_to_string(case.join(name)).unwrap();
        let request = Request::parse(&file("header-signed-request.txt"));
        let authorization = Authorization::from_headers(&request.headers).unwrap();
        let date = RequestDate::from_headers(&request.headers).unwrap();
        let canonical = CanonicalRequest {
            request: &request.view(),
            signed_headers: &authorization.signed_headers,
            payload_hash: &hex::encode(&Sha256::digest(&request.body)),
        }
        .to_bytes();
        let name = case.display();
        assert_eq!(
            String::from_utf8(canonical.clone()).unwrap(),
            file("header-canonical-request.txt"),
            "canonical request of {name}"
        );
        let to_sign = string_to_sign(&date, &authorization.scope, &canonical);
        assert_eq!(to_sign, file("header-string-to-sign.txt"), "string to sign of {name}");
        let signature = signature(SECRET, &authorization.scope, &to_sign);
        assert_eq!(signature, authorization.signature, "signature of {name}");

        let token = request.headers.get(TOKEN).map(|token| TokenDigest::of(token.as_bytes()));
        let session = token.map(|token| Session::new(token, at(SUITE_TIME + 1)));
        let service = SigningService::OF_SUITE;
        let outcome = verifier().authenticate(&request, service, at(SUITE_TIME), session);
        // One case adds the session token after signing, which services of AWS may allow.
        match session.is_none() || authorization.signs(TOKEN) {
            true => outcome.unwrap(),
            false => {
                assert!(name.to_string().ends_with("post-sts-header-after"));
                assert!(told(outcome).1.contains(TOKEN));
            }
        }
    }
}

#[test]
fn window_is_symmetric_and_inclusive() {
    let request = Request::plain();
    let verify = |time| verifier().at(&request, time);
    assert!(verify(SUITE_TIME + 300).is_ok());
    assert!(verify(SUITE_TIME - 300).is_ok());
    assert_eq!(
        told(verify(SUITE_TIME + 301)),
        (
            Exception::InvalidSignature,
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z \
             (20150830T124101Z - 5 min.)"
                .to_owned()
        )
    );
    assert_eq!(
        told(verify(SUITE_TIME - 301)),
        (
            Exception::InvalidSignature,
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z \
             (20150830T123059Z + 5 min.)"
                .to_owned()
        )
    );
    assert_eq!(Verifier::new(served(), Duration::from_secs(86_400)).window, MAX_WINDOW);
}

#[test]
fn services_and_their_regions() {
    let signed = |service: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("h"));
        let (method, target, key, time) = ("POST", "/", (ID, SECRET), at(SUITE_TIME));
        let signing = Signing { method, target, service, key, token: None, time, declare: false };
        sign_with(&mut headers, b"Action=x", signing);
        Request::new("POST", "/", headers, b"Action=x")
    };
    let elsewhere = Verifier::new(Arc::new(|region| region == "eu-west-1"), MAX_WINDOW);
    for (service, is_global) in [
        (SigningService::KMS, false),
        (SigningService::STS, true),
        (SigningService::IAM, true),
        (SigningService::EXTERNAL_STORE, true),
    ] {
        let request = signed(service.name());
        let now = at(SUITE_TIME);
        verifier().authenticate(&request, service, now, None).unwrap();
        let outcome = elsewhere.authenticate(&request, service, now, None);
        assert_eq!(outcome.is_ok(), is_global, "{service:?}: {outcome:?}");
        let other = signed("s3");
        let (exception, text) = told(verifier().authenticate(&other, service, now, None));
        assert_eq!(exception, Exception::InvalidSignature);
        let name = service.name();
        assert_eq!(text, format!("Credential should be scoped to correct service: '{name}'."));
    }
}

#[test]
fn a_signature_is_used_once() {
    let verifier = verifier();
    let request = Request::plain();
    let used = (Exception::InvalidSignature, USED_SIGNATURE.to_owned());
    // Equal requests of one second look the same, and the clients' libraries make them.
    verifier.at(&request, SUITE_TIME).unwrap();
    verifier.at(&request, SUITE_TIME).unwrap();

    let unique = [
        ("amz-sdk-invocation-id".to_owned(), "1".to_owned()),
        ("amz-sdk-request".to_owned(), "attempt=1; max=3".to_owned()),
    ];
    let unique = Request::signed("/", &unique, b"{}", SUITE_TIME);
    verifier.at(&unique, SUITE_TIME).unwrap();
    assert_eq!(told(verifier.at(&unique, SUITE_TIME)), used);
    // A request that did not verify does not count.
    let mut changed = Request::signed("/", &[], b"{\"a\":1}", SUITE_TIME);
    let body = std::mem::take(&mut changed.body);
    assert!(verifier.at(&changed, SUITE_TIME).is_err());
    changed.body = body;
    verifier.at(&changed, SUITE_TIME).unwrap();
}

/// A client of a daemon that was restarted this moment retries, and signs anew.
#[test]
fn requests_from_before_the_start_are_refused_so_that_clients_retry() {
    let start = Instant::now().checked_sub(Duration::from_millis(500)).unwrap();
    let verifier = verifier().since(start);
    let now = SUITE_TIME + 2;
    assert_eq!(
        told(verifier.at(&Request::plain(), now)),
        (
            Exception::ServiceUnavailable,
            "It is not known whether this request was used already: it was signed at \
             20150830T123600Z, and signatures are remembered from 20150830T123601Z on. Sign the \
             request anew."
                .to_owned()
        )
    );
    let later = Request::signed("/", &[], b"{}", now);
    verifier.at(&later, now).unwrap();
}

/// Not a test of anything but speed: `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure() {
    const TIMES: u32 = 20_000;
    let time = |what: &str, run: &dyn Fn()| {
        let begin = std::time::Instant::now();
        (0..TIMES).for_each(|_| run());
        println!("{what}: {} ns", begin.elapsed().as_nanos() / u128::from(TIMES));
    };
    let (verifier, request) = (verifier(), Request::plain());
    let view = request.view();
    let now = at(SUITE_TIME);
    let claim = verifier.read(&view, SigningService::KMS, now).unwrap();
    let scope = &claim.authorization.scope;
    time("read", &|| drop(verifier.read(&view, SigningService::KMS, now).unwrap()));
    time("verify", &|| assert!(verifier.verify(&claim, Some(Key(None))).is_ok()));
    time("derive the signing key", &|| drop(signing_key(SECRET, scope)));
    signature::work::take();
}
