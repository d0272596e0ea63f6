//! Message authentication codes.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::key::KeyRef;
use crate::key_spec::MacAlgorithm;

/// Computes a MAC over 1 to 4096 bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GenerateMac<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The algorithm.
    pub algorithm: MacAlgorithm,
    /// The message.
    #[serde(borrow)]
    pub message: Bytes<'a>,
}

/// A MAC, never truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mac<'o> {
    /// The tag; 32 bytes for HMAC-SHA-256.
    #[serde(borrow)]
    pub mac: Bytes<'o>,
}

/// Verifies a MAC in constant time; a bad one is [`crate::ErrorCode::MAC_INVALID`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct VerifyMac<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The algorithm.
    pub algorithm: MacAlgorithm,
    /// The message.
    #[serde(borrow)]
    pub message: Bytes<'a>,
    /// The tag to check.
    #[serde(borrow)]
    pub mac: Bytes<'a>,
}
