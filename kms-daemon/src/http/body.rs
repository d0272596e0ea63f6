//! Reading a request body within bounds of size and time.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use zeroize::Zeroizing;

use crate::error::{Exception, KmsError};

/// Longest body, in bytes. The largest request of the API, a policy of 32 KiB with a description
/// and tags, is below 256 KiB.
pub(super) const MAX_BODY: usize = 1 << 20;
/// Longest time from the head of a request to the end of its body.
pub(super) const BODY_TIME: Duration = Duration::from_secs(20);

/// A body, zeroised when it is dropped: it may hold a plaintext.
pub(super) type Content = Zeroizing<Vec<u8>>;

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
    let mut content = Zeroizing::new(Vec::with_capacity(expected.min(MAX_BODY)));
    let mut body = std::pin::pin!(Limited::new(body, MAX_BODY));
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => content.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Err(error) if error.is::<LengthLimitError>() => {
                let text = "The request body is larger than 1 MiB.";
                return Err(KmsError::new(Exception::RequestEntityTooLarge, text));
            }
            Err(_) => return Err(unreadable("The request body is incomplete.")),
        }
    }
    Ok(content)
}

fn unreadable(text: &'static str) -> KmsError {
    KmsError::new(Exception::Serialization, text)
}
