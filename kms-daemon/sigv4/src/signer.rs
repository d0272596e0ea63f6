//! The AWS signer, for tests: another implementation of the same specification.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign as sign_request,
};
use aws_sigv4::sign::v4;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// What is signed besides headers and body, and with what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signing<'a> {
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) service: &'a str,
    pub(crate) key: (&'a str, &'a str),
    pub(crate) token: Option<&'a str>,
    pub(crate) time: SystemTime,
    /// Whether `x-amz-content-sha256` is added.
    pub(crate) declare: bool,
}

/// Signs a `POST` for the service `kms` in `us-east-1` and adds the resulting headers. `headers`
/// must have `host`; `declare` adds `x-amz-content-sha256`.
pub(crate) fn sign(
    headers: &mut HeaderMap,
    target: &str,
    body: &[u8],
    key: (&str, &str),
    time: SystemTime,
    declare: bool,
) {
    let (method, service, token) = ("POST", "kms", None);
    sign_with(headers, body, Signing { method, target, service, key, token, time, declare });
}

/// Signs anything, for `us-east-1`.
pub(crate) fn sign_with(headers: &mut HeaderMap, body: &[u8], signing: Signing<'_>) {
    let (id, secret) = signing.key;
    let token = signing.token.map(str::to_owned);
    let identity = Credentials::new(id, secret, token, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = match signing.declare {
        true => PayloadChecksumKind::XAmzSha256,
        false => PayloadChecksumKind::NoHeader,
    };
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name(signing.service)
        .time(signing.time)
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let uri = format!("http://{}{}", headers["host"].to_str().unwrap(), signing.target);
    let signable =
        SignableRequest::new(signing.method, uri.as_str(), pairs, SignableBody::Bytes(body))
            .unwrap();
    let (instructions, _) = sign_request(signable, &parameters).unwrap().into_parts();
    for (name, value) in instructions.headers() {
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
}
