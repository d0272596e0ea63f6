//! Reading a request body within bounds of size and time.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::{Body, Bytes};
use zeroize::Zeroizing;

use crate::error::{Exception, KmsError};

/// Longest body, in bytes. The largest request of the API, a policy of 32 KiB with a description
/// and tags, is below 256 KiB.
pub(super) const MAX_BODY: usize = 1 << 20;
/// Longest body that is received to its end, in bytes, so that its sender reads the refusal: a
/// client that is cut off while it sends sees a broken connection only.
const MAX_DISCARDED: usize = 16 * MAX_BODY;
/// Longest time from the head of a request to the end of its body.
pub(super) const BODY_TIME: Duration = Duration::from_secs(20);

/// A body, zeroised when it is dropped: it may hold a plaintext.
pub(super) type Content = Zeroizing<Vec<u8>>;

/// White space before an answer over HTTP/2, in bytes. The library copies what begins a DATA frame
/// into a buffer that lives as long as the connection, up to this many bytes of the buffer, so that
/// head and beginning are written at once. JSON and XML may begin with white space.
const MARGIN: usize = 256;

/// The body of a response, zeroised once it has been written out.
pub(super) fn secret(version: Version, body: Zeroizing<Vec<u8>>) -> Bytes {
    if version < Version::HTTP_2 || body.is_empty() {
        return Bytes::from_owner(Secret(body));
    }
    let mut spaced = Zeroizing::new(Vec::with_capacity(MARGIN + body.len()));
    spaced.resize(MARGIN, b' ');
    spaced.extend_from_slice(&body);
    Bytes::from_owner(Secret(spaced))
}

/// Lets the HTTP library hold a body that is zeroised afterwards.
struct Secret(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a whole body.
///
/// # Errors
/// What the client is told; the connection cannot be used after that.
pub(super) async fn read<B>(body: B) -> Result<Content, KmsError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match tokio::time::timeout(BODY_TIME, collect(body)).await {
        Ok(content) => content,
        Err(_) => Err(unreadable("The request body did not arrive in time.")),
    }
}

async fn collect<B>(body: B) -> Result<Content, KmsError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > MAX_DISCARDED {
        return Err(too_large()); // as announced: nobody waits for that much
    }
    let mut content = Zeroizing::new(Vec::with_capacity(expected.min(MAX_BODY)));
    let mut body = std::pin::pin!(body);
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(unreadable("The request body is incomplete.")) };
        let data = frame.data_ref().map_or(&[][..], |data| data);
        length = length.saturating_add(data.len());
        if length > MAX_DISCARDED {
            break;
        }
        if length <= MAX_BODY {
            content.extend_from_slice(data);
        }
    }
    if length > MAX_BODY { Err(too_large()) } else { Ok(content) }
}

fn too_large() -> KmsError {
    KmsError::new(Exception::RequestEntityTooLarge, "The request body is larger than 1 MiB.")
}

fn unreadable(text: &'static str) -> KmsError {
    KmsError::new(Exception::Serialization, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_over_http2_begins_with_what_may_be_copied() {
        let body = || Zeroizing::new(b"{\"Plaintext\":\"AAAA\"}".to_vec());
        assert_eq!(secret(Version::HTTP_11, body()), body().as_slice());
        let spaced = secret(Version::HTTP_2, body());
        assert_eq!(spaced[..MARGIN], [b' '; MARGIN]);
        assert_eq!(spaced[MARGIN..], *body().as_slice());
        assert!(secret(Version::HTTP_2, Zeroizing::default()).is_empty());
    }
}
