//! The published suite, a differential test against the AWS signer, and refusals.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::credentials::Credentials;

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
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn view(&self) -> SignedRequest<'_> {
        SignedRequest {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
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
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        Self {
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers,
            body: body.to_vec(),
        }
    }

    fn plain() -> Self {
        Self::signed("/", &[], b"{\"KeyId\":\"alias/a\"}", SUITE_TIME)
    }
}

fn served() -> Served {
    Arc::new(|region| region == "us-east-1")
}

/// Authenticates requests to a service, of callers who have the one access key there is.
struct Service(&'static str);

impl Service {
    fn authenticate(
        &self,
        request: &SignedRequest<'_>,
        now: SystemTime,
    ) -> Result<(Principal, String), KmsError> {
        let mut credentials = Credentials::default();
        credentials.insert_root("000000000000", ID, Zeroizing::new(SECRET.to_owned()));
        let verifier = Verifier::new(served(), Duration::from_secs(5 * 60));
        let claim = verifier.claim(request, self.0, now)?;
        claim.verify(credentials.find(claim.access_key()), now.into())
    }
}

fn verifier(service: &'static str) -> Service {
    Service(service)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn verify(request: &Request) -> Result<Principal, KmsError> {
    verifier("kms").authenticate(&request.view(), at(SUITE_TIME)).map(|(principal, _)| principal)
}

fn refusal(request: &Request) -> (Exception, String) {
    let error = verify(request).unwrap_err();
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

        // The cases with a session token are of a temporary key, which this key is not.
        let expected = !request.headers.contains_key("x-amz-security-token");
        let outcome = verifier("service").authenticate(&request.view(), at(SUITE_TIME));
        assert_eq!(outcome.is_ok(), expected, "{name}: {outcome:?}");
    }
}

#[test]
fn window_is_symmetric_and_inclusive() {
    let request = Request::plain();
    let verify = |time| verifier("kms").authenticate(&request.view(), at(time));
    assert!(verify(SUITE_TIME + 300).is_ok());
    assert!(verify(SUITE_TIME - 300).is_ok());
    assert_eq!(
        verify(SUITE_TIME + 301).unwrap_err().message(),
        Some(
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z \
             (20150830T124101Z - 5 min.)"
        )
    );
    assert_eq!(
        verify(SUITE_TIME - 301).unwrap_err().message(),
        Some(
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z \
             (20150830T123059Z + 5 min.)"
        )
    );
    let wide = Verifier::new(served(), Duration::from_secs(86_400));
    assert_eq!(wide.window, MAX_WINDOW);
}

#[test]
fn unsigned_and_malformed_requests() {
    let header = |value: &str| {
        let mut request = Request::plain();
        request.headers.insert("authorization", HeaderValue::from_str(value).unwrap());
        refusal(&request)
    };
    let mut request = Request::plain();
    request.headers.remove("authorization");
    assert_eq!(
        refusal(&request),
        (Exception::MissingAuthenticationToken, "Missing Authentication Token".to_owned())
    );
    assert_eq!(
        header("AWS4-ECDSA-P256-SHA256 Credential=a"),
        (
            Exception::IncompleteSignature,
            "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'.".to_owned()
        )
    );
    assert_eq!(
        header("AWS4-HMAC-SHA256 Credential=a/b/c/d/e"),
        (
            Exception::IncompleteSignature,
            "Authorization header requires 'Signature' parameter. Authorization header requires \
             'SignedHeaders' parameter."
                .to_owned()
        )
    );
    let credential = |scope: &str| {
        let signature = "0".repeat(64);
        header(&format!(
            "AWS4-HMAC-SHA256 Credential={scope}, \
             SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target, \
             Signature={signature}"
        ))
    };
    let (exception, text) = credential("AKIDEXAMPLE/20150830/us-east-1/kms");
    assert_eq!(exception, Exception::IncompleteSignature);
    assert!(text.starts_with("Credential must have exactly 5 slash-delimited elements"));
    let (exception, text) = credential("AKIDEXAMPLE/20150829/eu-west-1/s3/aws3_request");
    assert_eq!(exception, Exception::InvalidSignature);
    assert_eq!(
        text,
        "Credential should be scoped to a valid region. Credential should be scoped to correct \
         service: 'kms'. Date in Credential scope does not match YYYYMMDD from ISO-8601 version \
         of date from HTTP: '20150829' != '20150830', from '20150830T123600Z'. Credential should \
         be scoped with a valid terminator: 'aws4_request'."
    );
    assert_eq!(
        credential("AKIDUNKNOWN/20150830/us-east-1/kms/aws4_request"),
        (Exception::UnrecognizedClient, UNKNOWN_CLIENT.to_owned())
    );
    assert_eq!(
        credential("AKIDEXAMPLE/20150830/us-east-1/kms/aws4_request"),
        (Exception::InvalidSignature, WRONG_SIGNATURE.to_owned())
    );
}

#[test]
fn dates() {
    let mut request = Request::plain();
    request.headers.insert("x-amz-date", HeaderValue::from_static("2015-08-30T12:36:00Z"));
    assert_eq!(
        refusal(&request),
        (
            Exception::IncompleteSignature,
            "Date must be in ISO-8601 'basic format'. Got '2015-08-30T12:36:00Z'.".to_owned()
        )
    );
    request.headers.remove("x-amz-date");
    let (exception, text) = refusal(&request);
    assert_eq!(exception, Exception::IncompleteSignature);
    assert!(text.contains("either a 'X-Amz-Date' or a 'Date' header"));

    let mut headers = HeaderMap::new();
    headers.insert("date", HeaderValue::from_static("Sun, 30 Aug 2015 12:36:00 GMT"));
    let date = RequestDate::from_headers(&headers).unwrap();
    assert_eq!((date.iso(), date.day()), ("20150830T123600Z", "20150830"));
}

#[test]
fn headers_that_must_be_signed() {
    let mut request = Request::plain();
    request.headers.insert("x-amz-extra", HeaderValue::from_static("1"));
    let (exception, text) = refusal(&request);
    assert_eq!(exception, Exception::InvalidSignature);
    assert_eq!(text, "'x-amz-extra' must be a 'SignedHeader' in the AWS Authorization.");
    // Tracing headers are added by proxies and are never signed.
    let mut request = Request::plain();
    request.headers.insert("x-amzn-trace-id", HeaderValue::from_static("Root=1-2-3"));
    assert!(verify(&request).is_ok());
}

#[test]
fn payload_and_query_rules() {
    let mut request = Request::signed("/", &[], b"{}", SUITE_TIME);
    assert!(verify(&request).is_ok());
    request.headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
    let (exception, text) = refusal(&request);
    assert_eq!(exception, Exception::InvalidSignature);
    assert!(text.contains("Unsigned payloads are not accepted."));

    let mut request = Request::plain();
    request.query = Some("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00".to_owned());
    assert_eq!(refusal(&request).0, Exception::IncompleteSignature);
}

#[test]
fn a_session_token_on_a_long_term_key_is_refused() {
    let token = [("x-amz-security-token".to_owned(), "token".to_owned())];
    let request = Request::signed("/", &token, b"{}", SUITE_TIME);
    assert_eq!(refusal(&request), (Exception::UnrecognizedClient, UNKNOWN_CLIENT.to_owned()));
}

prop_compose! {
    fn signed_request()(
        path in "(/[a-zA-Z0-9._~%-]{0,6}){1,3}(\\?[a-z]{1,3}=[a-zA-Z0-9-]{0,4}(&[a-z]{1,3}=[0-9]{0,2}){0,3})?",
        extra in proptest::collection::vec(("x-amz-m-[a-z]{1,6}", "[!-~]([ -~]{0,20}[!-~])?"), 0..4),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) -> Request {
        Request::signed(&path, &extra, &body, SUITE_TIME)
    }
}

proptest! {
    #[test]
    fn agrees_with_the_aws_signer(request in signed_request()) {
        prop_assert!(verify(&request).is_ok(), "{:?}", verify(&request));
    }

    #[test]
    fn a_changed_request_never_verifies(
        request in signed_request(),
        kind in 0..5,
        place in any::<prop::sample::Index>(),
        bit in 0..7,
    ) {
        let mut changed = request.clone();
        let flip = |byte: &mut u8| *byte ^= 1u8 << bit;
        match kind {
            0 => changed.body.insert(place.index(changed.body.len() + 1), 1u8 << bit),
            1 if !changed.body.is_empty() => {
                let at = place.index(changed.body.len());
                flip(&mut changed.body[at]);
            }
            2 => changed.method = "PUT".to_owned(),
            3 => changed.path.push('x'),
            _ => {
                // Change a byte of one header value, unless the result is no header value.
                let names: Vec<_> = changed.headers.keys().cloned().collect();
                let name = &names[place.index(names.len())];
                let mut value = changed.headers[name].as_bytes().to_vec();
                let at = place.index(value.len());
                flip(&mut value[at]);
                let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
                // White space at the ends, runs of it, and case of hexadecimal digits carry nothing.
                let same = |a: &[u8], b: &[u8]| {
                    let words = |v: &[u8]| v.split(|c| *c == b' ' || *c == b'\t')
                        .filter(|w| !w.is_empty()).map(<[u8]>::to_ascii_lowercase).collect::<Vec<_>>();
                    words(a) == words(b)
                };
                let meaningless = same(value.as_bytes(), changed.headers[name].as_bytes())
                    && name != "x-amz-target";
                prop_assume!(!meaningless);
                changed.headers.insert(name.clone(), value);
            }
        }
        prop_assert!(verify(&changed).is_err());
    }

    #[test]
    fn arbitrary_authorization_never_panics(
        value in "(AWS4-HMAC-SHA256 ?)?[ -~é]{0,200}",
        query in proptest::option::of("[ -~é]{0,60}"),
        path in "[ -~é]{0,60}",
    ) {
        let mut request = Request::plain();
        request.path = path;
        request.query = query;
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            request.headers.insert("authorization", value);
        }
        let _ = verify(&request);
    }
}
