//! The AWS signer, for tests: another implementation of the same specification.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign as sign_request,
};
use aws_sigv4::sign::v4;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// Signs a `POST` for the service `kms` in `us-east-1` and adds the resulting headers. `headers`
/// must have `host`; `declare` adds `x-amz-content-sha256`.
pub(crate) fn sign(
    headers: &mut HeaderMap,
    target: &str,
    body: &[u8],
    (id, secret): (&str, &str),
    time: SystemTime,
    declare: bool,
) {
    let identity = Credentials::new(id, secret, None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind =
        if declare { PayloadChecksumKind::XAmzSha256 } else { PayloadChecksumKind::NoHeader };
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("kms")
        .time(time)
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let uri = format!("http://{}{target}", headers["host"].to_str().unwrap());
    let signable =
        SignableRequest::new("POST", uri.as_str(), pairs, SignableBody::Bytes(body)).unwrap();
    let (instructions, _) = sign_request(signable, &parameters).unwrap().into_parts();
    for (name, value) in instructions.headers() {
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
}
