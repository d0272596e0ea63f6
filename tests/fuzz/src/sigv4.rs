//! The verifier of request signatures, in front of everything that a client sends.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use kms_sigv4::{AccessKey, Session, SignedRequest, SigningService, TokenDigest, Verifier};

/// 2015-08-30T12:36:00Z, the time of the published suite.
const TIME: Duration = Duration::from_secs(1_440_938_160);
const SCOPE: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kms/aws4_request";

/// A key of which nobody has the secret; a temporary one if the request has a token.
struct Key(Option<Session>);

impl AccessKey for Key {
    fn secret(&self) -> &str {
        "a secret that no input has"
    }

    fn session(&self) -> Option<Session> {
        self.0
    }
}

/// Lines: method, path, query, `:authority`, `Authorization`, then headers; an empty one, and the
/// body. Nothing is verified, and what is refused is refused in words.
pub(crate) fn requests(input: &[u8]) {
    static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
        Verifier::new(Arc::new(|region| region == "us-east-1"), Duration::from_secs(300))
    });
    let end = input.windows(2).position(|window| window == b"\n\n").unwrap_or(input.len());
    let (head, body) = input.split_at(end);
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let (method, path, query, authority) = (text(), text(), text(), text());
    let mut headers = HeaderMap::new();
    // Half of the work is behind a good scope and a date: an input need not find them.
    let authorization = text().replacen('!', SCOPE, 1);
    if let Ok(value) = HeaderValue::from_bytes(authorization.as_bytes()) {
        headers.insert(AUTHORIZATION, value);
    }
    headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
        match (name.strip_prefix(b"="), HeaderName::from_bytes(name), value) {
            // A sign of equality replaces a header, all others add to it.
            (Some(name), _, Ok(value)) => {
                if let Ok(name) = HeaderName::from_bytes(name) {
                    headers.insert(name, value);
                }
            }
            (None, Ok(name), Ok(value)) => drop(headers.append(name, value)),
            _ => {}
        }
    }
    let request = SignedRequest {
        method,
        path,
        query: Some(query).filter(|query| !query.is_empty()),
        authority: Some(authority).filter(|authority| !authority.is_empty()),
        headers: &headers,
        body,
    };
    let now = SystemTime::UNIX_EPOCH + TIME;
    let claim = match VERIFIER.read(&request, SigningService::KMS, now) {
        Ok(claim) => claim,
        Err(error) => {
            let text = error.message().expect("every refusal has a text");
            assert!(text.len() < 1024, "a refusal repeats little of its request");
            return;
        }
    };
    let token = headers.get("x-amz-security-token").map(HeaderValue::as_bytes);
    let session = token.map(|token| Session::new(TokenDigest::of(token), now + TIME));
    let outcome = VERIFIER.verify(&claim, Some(Key(session)));
    assert!(outcome.is_err(), "a signature by chance");
}
