//! Session tokens, and that nothing tells whether a key exists.

use super::super::signature::work;
use super::*;

const SESSION_TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLETOKEN/+==";

fn session(token: &str, expires: u64) -> Session {
    Session::new(TokenDigest::of(token.as_bytes()), at(expires))
}

/// A request with this token, signed with this secret.
fn request(token: Option<&str>, secret: &str) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("127.0.0.1:8700"));
    let (method, target, service) = ("POST", "/", "kms");
    let (key, time, declare) = ((ID, secret), at(SUITE_TIME), false);
    let signing = Signing { method, target, service, key, token, time, declare };
    sign_with(&mut headers, b"{}", signing);
    Request::new(method, target, headers, b"{}")
}

fn outcome(request: &Request, session: Option<Session>) -> Option<(Exception, String)> {
    let outcome = verifier().authenticate(request, SigningService::KMS, at(SUITE_TIME), session);
    outcome.err().map(|error| (error.exception(), error.message().unwrap().to_owned()))
}

#[test]
fn a_session_token_must_be_the_one_of_its_key() {
    let own = Some(session(SESSION_TOKEN, SUITE_TIME + 1));
    let unknown = Some((Exception::UnrecognizedClient, UNKNOWN_CLIENT.to_owned()));
    assert_eq!(outcome(&request(Some(SESSION_TOKEN), SECRET), own), None);
    assert_eq!(outcome(&request(None, SECRET), own), unknown, "no token");
    assert_eq!(outcome(&request(Some("another"), SECRET), own), unknown, "another session's");
    assert_eq!(outcome(&request(Some(SESSION_TOKEN), SECRET), None), unknown, "a long-term key");
    let empty = Some(session("", SUITE_TIME + 1));
    assert_eq!(outcome(&request(None, SECRET), empty), unknown, "no token is not an empty one");

    let wrong = Some((Exception::InvalidSignature, WRONG_SIGNATURE.to_owned()));
    assert_eq!(outcome(&request(Some(SESSION_TOKEN), "another"), own), wrong);
}

#[test]
fn a_session_ends() {
    let signed = request(Some(SESSION_TOKEN), SECRET);
    let expired = Some((Exception::ExpiredToken, EXPIRED_TOKEN.to_owned()));
    let ends = |time| Some(session(SESSION_TOKEN, time));
    assert_eq!(outcome(&signed, ends(SUITE_TIME)), expired);
    assert_eq!(outcome(&signed, ends(SUITE_TIME - 1000)), expired);
    assert_eq!(outcome(&signed, ends(SUITE_TIME + 1)), None);
    // Only who has the key and the token is told so.
    let forged = request(Some(SESSION_TOKEN), "another");
    assert_eq!(outcome(&forged, ends(SUITE_TIME)).unwrap().0, Exception::InvalidSignature);
    let other = request(Some("another"), SECRET);
    assert_eq!(outcome(&other, ends(SUITE_TIME)).unwrap().0, Exception::UnrecognizedClient);
}

#[test]
fn a_token_must_be_signed_and_come_once() {
    let own = Some(session(SESSION_TOKEN, SUITE_TIME + 1));
    let mut added = request(None, SECRET);
    added.set(TOKEN, SESSION_TOKEN);
    let text = "'x-amz-security-token' must be a 'SignedHeader' in the AWS Authorization.";
    assert_eq!(outcome(&added, own), Some((Exception::InvalidSignature, text.to_owned())));
    let mut twice = request(Some(SESSION_TOKEN), SECRET);
    twice.headers.append(TOKEN, HeaderValue::from_static("b"));
    let text = "The request must have exactly one 'x-amz-security-token' header.";
    assert_eq!(outcome(&twice, own), Some((Exception::IncompleteSignature, text.to_owned())));
}

/// The same HMACs over as many blocks, whether there is a key or not, and whatever is wrong.
#[test]
fn every_answer_takes_the_same_work() {
    let works = |request: &Request, found: Option<Key>| {
        let verifier = verifier();
        let view = request.view();
        let claim = verifier.read(&view, SigningService::KMS, at(SUITE_TIME)).unwrap();
        work::take();
        let outcome = verifier.verify(&claim, found).map(drop);
        (work::take(), outcome.map_err(|error| error.exception()))
    };
    let own = Key(Some(session(SESSION_TOKEN, SUITE_TIME + 1)));
    let ended = Key(Some(session(SESSION_TOKEN, SUITE_TIME)));
    let signed = request(Some(SESSION_TOKEN), SECRET);
    let forged = request(Some(SESSION_TOKEN), "another");
    let (expected, verified) = works(&signed, Some(own));
    assert_eq!((expected.len(), verified), (5, Ok(())));
    for (request, found, refused) in [
        (&signed, None, Exception::UnrecognizedClient),
        (&forged, None, Exception::UnrecognizedClient),
        (&forged, Some(own), Exception::InvalidSignature),
        (&signed, Some(ended), Exception::ExpiredToken),
        (&signed, Some(Key(None)), Exception::UnrecognizedClient),
        (&forged, Some(Key(None)), Exception::UnrecognizedClient),
    ] {
        assert_eq!(works(request, found), (expected.clone(), Err(refused)));
    }
}

#[test]
fn debug_output_has_no_request() {
    let signed = request(Some(SESSION_TOKEN), SECRET);
    let verifier = verifier();
    let view = signed.view();
    let claim = verifier.read(&view, SigningService::KMS, at(SUITE_TIME)).unwrap();
    assert!(!format!("{claim:?}").contains("IQoJ"));
}

/// A KMS that uses keys here as those of an external key store is in a Region of its own.
#[test]
fn external_key_stores_are_signed_for_any_region_and_path() {
    let path = "/partner/kms/xks/v1/keys/a.b-c_1/encrypt";
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("xks.example"));
    let signing = Signing {
        method: "POST",
        target: path,
        service: "kms-xks-proxy",
        key: (ID, SECRET),
        token: None,
        time: at(SUITE_TIME),
        declare: false,
    };
    sign_with(&mut headers, b"{}", signing);
    let request = Request::new("POST", path, headers, b"{}");
    let nowhere = Verifier::new(Arc::new(|_| false), Duration::from_secs(300));
    let outcome = |request: &Request, service| {
        nowhere.authenticate(request, service, at(SUITE_TIME), None).map_err(|e| e.exception())
    };
    assert_eq!(outcome(&request, SigningService::EXTERNAL_STORE), Ok(()));
    // For another service the Region would have to be served.
    let refused = Err(Exception::InvalidSignature);
    assert_eq!(outcome(&request, SigningService::KMS), refused);
    let other = Request { path: path.replace("encrypt", "decrypt"), ..request };
    assert_eq!(outcome(&other, SigningService::EXTERNAL_STORE), refused);
}
