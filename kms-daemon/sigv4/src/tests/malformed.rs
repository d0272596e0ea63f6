//! Each malformed form, with the text that it gets.

use super::*;

const SIGNED: &str = "content-type;host;x-amz-date;x-amz-target";

/// A request whose signature is `0…0`, with this `Authorization`.
fn with(authorization: &str) -> Request {
    let mut request = Request::signed("/", &[], b"{", SUITE_TIME);
    request.set("authorization", authorization);
    request
}

fn incomplete(authorization: &str) -> String {
    let (exception, text) = refusal(&with(authorization));
    assert_eq!(exception, Exception::IncompleteSignature, "{authorization}: {text}");
    text
}

fn authorization(credential: &str, signed: &str) -> String {
    let signature = "0".repeat(64);
    format!(
        "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"
    )
}

fn scoped(scope: &str) -> (Exception, String) {
    refusal(&with(&authorization(&format!("{ID}/{scope}"), SIGNED)))
}

fn signing(signed: &str) -> (Exception, String) {
    let credential = format!("{ID}/20150830/us-east-1/kms/aws4_request");
    refusal(&with(&authorization(&credential, signed)))
}

#[test]
fn no_authorization_or_too_many() {
    let mut request = Request::plain();
    request.headers.remove("authorization");
    let missing = "Missing Authentication Token".to_owned();
    assert_eq!(refusal(&request), (Exception::MissingAuthenticationToken, missing));
    let mut request = Request::plain();
    request.headers.append("authorization", HeaderValue::from_static("Basic eDp5"));
    let text = "The request must have exactly one Authorization header.".to_owned();
    assert_eq!(refusal(&request), (Exception::IncompleteSignature, text));
    assert_eq!(incomplete("é"), "The Authorization header contains invalid characters.");
}

#[test]
fn other_algorithms() {
    for (value, algorithm) in [
        ("AWS4-ECDSA-P256-SHA256 Credential=a", "AWS4-ECDSA-P256-SHA256"),
        ("AWS4-HMAC-SHA512 Credential=a", "AWS4-HMAC-SHA512"),
        ("aws4-hmac-sha256 Credential=a", "aws4-hmac-sha256"),
        ("AWS4-HMAC-SHA256,Credential=a", "AWS4-HMAC-SHA256,Credential=a"),
        ("AWS AKID:signature", "AWS"),
        ("Basic eDp5", "Basic"),
        ("", ""),
    ] {
        assert_eq!(incomplete(value), format!("Unsupported AWS 'algorithm': '{algorithm}'."));
    }
    let long = format!("{} x", "A".repeat(1000));
    assert_eq!(incomplete(&long).len(), "Unsupported AWS 'algorithm': ''.".len() + 64);
}

/// Every missing part is named, in one text.
#[test]
fn missing_parts() {
    const PARTS: [(&str, &str); 3] = [
        ("Credential=a/20150830/us-east-1/kms/aws4_request", "'Credential' parameter."),
        ("Signature=0", "'Signature' parameter."),
        ("SignedHeaders=host", "'SignedHeaders' parameter."),
    ];
    const DATE: &str = "existence of either a 'X-Amz-Date' or a 'Date' header.";
    for present in 0..16 {
        let has = |index: usize| present >> index & 1 == 1;
        let given: Vec<_> = (0..3).filter(|index| has(*index)).map(|i| PARTS[i].0).collect();
        let mut request = with(&format!("AWS4-HMAC-SHA256 {}", given.join(", ")));
        if !has(3) {
            request.headers.remove("x-amz-date");
        }
        let mut missing: Vec<_> = (0..3).filter(|i| !has(*i)).map(|i| PARTS[i].1).collect();
        if !has(3) {
            missing.push(DATE);
        }
        let texts: Vec<_> =
            missing.iter().map(|part| format!("Authorization header requires {part}")).collect();
        let (exception, text) = refusal(&request);
        assert_eq!(exception, Exception::IncompleteSignature);
        match missing.is_empty() {
            true => assert!(text.starts_with("'Signature' must be 64"), "{text}"),
            false => assert_eq!(text, texts.join(" ")),
        }
    }
    let empty = incomplete("AWS4-HMAC-SHA256 Credential=, SignedHeaders=host, Signature=0");
    assert_eq!(empty, "Authorization header requires 'Credential' parameter.");
    let bare = incomplete("AWS4-HMAC-SHA256");
    assert_eq!(bare.matches("Authorization header requires").count(), 3);
}

#[test]
fn parameters_that_are_none() {
    assert_eq!(
        incomplete("AWS4-HMAC-SHA256 Credential=a, Bearer"),
        "'Bearer' not a valid key=value pair (missing equal-sign) in Authorization header."
    );
    for name in ["Credential", "SignedHeaders", "Signature"] {
        assert_eq!(
            incomplete(&format!("AWS4-HMAC-SHA256 {name}=a, {name}=a")),
            format!("Authorization header has two '{name}'.")
        );
    }
    // Blanks after commas are optional, and unknown parameters mean nothing.
    let mut request = Request::plain();
    let value = request.headers["authorization"].to_str().unwrap().replace(", ", ",");
    assert!(verify(request.set("authorization", &format!("{value},Extra=1"))).is_ok());
    assert!(verify(request.set("authorization", &value.replace(',', " ,  "))).is_ok());
}

#[test]
fn credentials_that_are_none() {
    for credential in ["a", "a/b/c/d", "a/b/c/d/e/f", "AKIDEXAMPLE/20150830/us-east-1/kms"] {
        let text = incomplete(&authorization(credential, SIGNED));
        assert_eq!(
            text,
            format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term, got '{credential}'"
            )
        );
    }
}

#[test]
fn scopes() {
    let region = "Credential should be scoped to a valid region.";
    let service = "Credential should be scoped to correct service: 'kms'.";
    let day = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
               HTTP: '20150829' != '20150830', from '20150830T123600Z'.";
    let terminator = "Credential should be scoped with a valid terminator: 'aws4_request'.";
    let all = [region, service, day, terminator].join(" ");
    for (scope, text) in [
        ("20150830/eu-west-1/kms/aws4_request", region),
        ("20150830//kms/aws4_request", region),
        ("20150830/us-east-1/KMS/aws4_request", service),
        ("20150829/us-east-1/kms/aws4_request", day),
        ("20150830/us-east-1/kms/aws3_request", terminator),
        ("20150829/eu-west-1/s3/aws3_request", &all),
    ] {
        assert_eq!(scoped(scope), (Exception::InvalidSignature, text.to_owned()), "{scope}");
    }
    let unknown = authorization("AKIDUNKNOWN/20150830/us-east-1/kms/aws4_request", SIGNED);
    let refused = (Exception::UnrecognizedClient, UNKNOWN_CLIENT.to_owned());
    assert_eq!(refusal(&with(&unknown)), refused);
    let wrong = (Exception::InvalidSignature, WRONG_SIGNATURE.to_owned());
    assert_eq!(scoped("20150830/us-east-1/kms/aws4_request"), wrong);
}

#[test]
fn lists_of_signed_headers() {
    let malformed = (
        Exception::IncompleteSignature,
        "'SignedHeaders' must be a list of distinct lower-case header names separated by \
         semicolons."
            .to_owned(),
    );
    for list in ["host;", ";host", "host;;x-amz-date", "Host;x-amz-date", "host;host"] {
        assert_eq!(signing(list), malformed, "{list}");
    }
    let unsigned = |name: &str| {
        let text = format!("{name} must be a 'SignedHeader' in the AWS Authorization.");
        (Exception::InvalidSignature, text)
    };
    assert_eq!(signing("x-amz-date;x-amz-target"), unsigned("'Host' or ':authority'"));
    assert_eq!(signing("host;x-amz-target"), unsigned("'x-amz-date'"));
    assert_eq!(signing("host;x-amz-date"), unsigned("'x-amz-target'"));
    // One that is not there cannot have been signed.
    let absent = signing("absent;content-type;host;x-amz-date;x-amz-target");
    assert_eq!(absent, (Exception::InvalidSignature, WRONG_SIGNATURE.to_owned()));
    // Tracing headers are added by proxies and are never signed.
    let mut request = Request::plain();
    assert!(verify(request.set("x-amzn-trace-id", "Root=1-2-3")).is_ok());
    assert_eq!(refusal(request.set("x-amz-extra", "1")), unsigned("'x-amz-extra'"));
}

#[test]
fn signatures_that_are_none() {
    let upper = "A".repeat(64);
    let long = "0".repeat(66);
    for signature in ["0", &"0".repeat(63), &long, &upper, &"g".repeat(64), &"é".repeat(32)] {
        let value = authorization(&format!("{ID}/20150830/us-east-1/kms/aws4_request"), SIGNED)
            .replace(&"0".repeat(64), signature);
        let mut request = Request::plain();
        let (exception, text) = refusal(request.set("authorization", &value));
        assert_eq!(exception, Exception::IncompleteSignature);
        let expected = match signature.is_ascii() {
            true => "'Signature' must be 64 lower-case hexadecimal digits.",
            false => "The Authorization header contains invalid characters.",
        };
        assert_eq!(text, expected, "{signature}");
    }
}

#[test]
fn dates() {
    for date in [
        "2015-08-30T12:36:00Z",
        "20150830T123600",
        "+20150830T12360Z",
        "20150830T126000Z",
        "20150830T123600.0Z",
        "20150230T123600Z",
        "Sun, 30 Aug 2015 12:36:00 GMT",
        "",
    ] {
        let text = format!("Date must be in ISO-8601 'basic format'. Got '{date}'.");
        let mut request = Request::plain();
        let refused = refusal(request.set("x-amz-date", date));
        assert_eq!(refused, (Exception::IncompleteSignature, text));
    }
    let fallback = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_static(value));
        let date = RequestDate::from_headers(&headers);
        date.map(|date| (date.iso().to_owned(), date.day().to_owned(), date.header()))
    };
    let expected = ("20150830T123600Z".to_owned(), "20150830".to_owned(), "date");
    assert_eq!(fallback("Sun, 30 Aug 2015 12:36:00 GMT").unwrap(), expected);
    assert_eq!(fallback("20150830T123600Z").unwrap(), expected);
    let error = fallback("yesterday").unwrap_err();
    let text = "Date must be in ISO-8601 'basic format'. Got 'yesterday'.";
    assert_eq!(error.message(), Some(text));
}

/// The whole way with `Date`, which then must be signed.
#[test]
fn a_date_header_takes_the_place_of_another() {
    let mut request = Request::new("POST", "/", HeaderMap::new(), b"{}");
    request.set("host", "h").set("date", "Sun, 30 Aug 2015 12:36:00 GMT");
    let credential = format!("{ID}/20150830/us-east-1/kms/aws4_request");
    for signed in ["date;host", "host"] {
        request.set("authorization", &authorization(&credential, signed));
        let view = request.view();
        let claim = match verifier().read(&view, SigningService::KMS, at(SUITE_TIME)) {
            Ok(claim) => claim,
            Err(error) => {
                let text = "'date' must be a 'SignedHeader' in the AWS Authorization.";
                assert_eq!((signed, error.message()), ("host", Some(text)));
                continue;
            }
        };
        let canonical = CanonicalRequest {
            request: &view,
            signed_headers: &claim.authorization.signed_headers,
            payload_hash: &claim.payload_hash,
        };
        let to_sign =
            string_to_sign(&claim.date, &claim.authorization.scope, &canonical.to_bytes());
        let right = signature(SECRET, &claim.authorization.scope, &to_sign);
        let value = authorization(&credential, signed);
        let value = value.replace(&"0".repeat(64), &hex::encode(&right));
        assert!(verify(request.set("authorization", &value)).is_ok());
    }
}

#[test]
fn payloads_that_are_not_signed() {
    let mut request = Request::signed("/", &[], b"{}", SUITE_TIME);
    assert!(verify(&request).is_ok());
    for declared in [
        "UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ] {
        let refused = refusal(request.set("x-amz-content-sha256", declared));
        let text = "The value of the 'x-amz-content-sha256' header is not the SHA-256 of the body. \
                    Unsigned payloads are not accepted.";
        assert_eq!(refused, (Exception::InvalidSignature, text.to_owned()));
    }
}

/// Neither instead of the header nor beside it.
#[test]
fn query_authentication() {
    let text = "Query-string authentication is not supported. Sign the request with an \
                Authorization header.";
    for query in [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00",
        "a=b&X-Amz-Signature=00",
        "x-amz-credential",
        "X%2DAmz-Sign%61ture=00",
        "X-Amz-Security-Token=t",
        "X-Amz-Expires=60",
    ] {
        let mut request = Request::plain();
        for _ in 0..2 {
            request.query = Some(query.to_owned());
            assert_eq!(refusal(&request), (Exception::IncompleteSignature, text.to_owned()));
            request.headers.remove("authorization");
        }
    }
}

#[test]
fn headers_that_come_twice() {
    for name in SINGLE {
        let mut request = Request::plain();
        request.headers.insert(name, HeaderValue::from_static("a"));
        request.headers.append(name, HeaderValue::from_static("b"));
        let text = format!("The request must have exactly one '{name}' header.");
        assert_eq!(refusal(&request), (Exception::IncompleteSignature, text));
    }
}

#[test]
fn hosts_of_http2() {
    let mut request = Request::plain();
    request.authority = Some("127.0.0.1:8700".to_owned());
    assert!(verify(&request).is_ok(), "both, and the same");
    request.headers.remove("host");
    assert!(verify(&request).is_ok(), ":authority alone");
    request.authority = Some("127.0.0.1:8701".to_owned());
    assert_eq!(refusal(&request).1, WRONG_SIGNATURE);
    request.set("host", "127.0.0.1:8700");
    let text = "':authority' and 'Host' must be the same.".to_owned();
    assert_eq!(refusal(&request), (Exception::IncompleteSignature, text));
    request.headers.remove("host");
    request.authority = None;
    assert_eq!(refusal(&request).1, WRONG_SIGNATURE, "no host at all");
}
