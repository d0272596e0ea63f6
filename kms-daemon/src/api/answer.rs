//! Response bodies.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use kms_base::clock::Timestamp;
use kms_base::error::KmsError;

/// Room for everything in a body but its blobs: member names, an ARN and algorithm names.
const OVERHEAD: usize = 4096;

/// The body of a successful response, zeroised when it is dropped: it may hold a plaintext.
#[derive(Debug)]
pub struct Answer(Zeroizing<Vec<u8>>);

impl Answer {
    /// The answer of operations without an output shape.
    pub(super) fn empty() -> Self {
        Self(Zeroizing::default())
    }

    /// A response of the service model.
    pub(super) fn of(response: &impl Response) -> Result<Self, KmsError> {
        Self::with_blobs(response, response.blobs())
    }

    /// A JSON object with blobs of `blobs` bytes in all. Nothing of it is left behind in memory,
    /// because the buffer is made large enough at the start.
    fn with_blobs<T: Serialize>(value: &T, blobs: usize) -> Result<Self, KmsError> {
        let mut body = Zeroizing::new(Vec::with_capacity(OVERHEAD + blobs.div_ceil(3) * 4 + 8));
        serde_json::to_writer(&mut *body, value).map_err(KmsError::internal)?;
        Ok(Self(body))
    }

    /// The body.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The body, still zeroised when it is dropped.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// A response of the service model.
pub(super) trait Response: Serialize {
    /// Bytes of all its blobs.
    fn blobs(&self) -> usize {
        0
    }
}

/// Bytes that are written as Base64, straight into the body.
#[derive(Clone, Copy)]
pub(super) struct Base64<'a>(pub(super) &'a [u8]);

impl Base64<'_> {
    /// Number of bytes.
    pub(super) const fn size(self) -> usize {
        self.0.len()
    }
}

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        kms_base::memory::assert_reached();
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// Writes a time as awsJson1.1 does.
pub(super) fn epoch_seconds<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(Timestamp::epoch_seconds).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_never_make_the_buffer_grow() {
        let blob = vec![7; 6144];
        let value = [Base64(&blob), Base64(&blob[..1])];
        let answer = Answer::with_blobs(&value, 6145).unwrap();
        assert!(answer.0.len() > 8192 && answer.0.len() <= answer.0.capacity());
        assert_eq!(answer.0.capacity(), OVERHEAD + 6145_usize.div_ceil(3) * 4 + 8);
    }
}
