//! What the head of a request says, before anybody has vouched for it.

use hyper::Version;
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

/// `:authority` of HTTP/2. A request of HTTP/1.1 is for its `Host`.
pub(super) fn authority(head: &Parts) -> Option<&str> {
    let authority = head.uri.authority().filter(|_| head.version == Version::HTTP_2);
    authority.map(Authority::as_str)
}

/// The access key id in an `Authorization` header, if it looks like one.
pub(super) fn claimed_key(authorization: &str) -> Option<&str> {
    let (_, rest) = authorization.split_once("Credential=")?;
    let key = rest.split(['/', ',', ' ']).next()?;
    let plausible = (16..=128).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plausible.then_some(key)
}
