//! Signatures.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::key::KeyRef;
use crate::key_spec::{MessageType, SigningAlgorithm};

/// Longest raw message, in bytes.
pub const MAX_MESSAGE: usize = 4096;

/// Signs a message or digest.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sign<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The algorithm.
    pub algorithm: SigningAlgorithm,
    /// Whether `message` is the message or its digest.
    pub message_type: MessageType,
    /// 1 to [`MAX_MESSAGE`] bytes, or exactly the digest's length.
    #[serde(borrow)]
    pub message: Bytes<'a>,
}

/// A signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature<'o> {
    /// ECDSA: DER `ECDSA-Sig-Value` (RFC 3279 2.2.3).
    #[serde(borrow)]
    pub signature: Bytes<'o>,
}

/// Verifies a signature; a bad one is [`crate::ErrorCode::SIGNATURE_INVALID`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Verify<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The algorithm.
    pub algorithm: SigningAlgorithm,
    /// Whether `message` is the message or its digest.
    pub message_type: MessageType,
    /// 1 to [`MAX_MESSAGE`] bytes, or exactly the digest's length.
    #[serde(borrow)]
    pub message: Bytes<'a>,
    /// The signature, in the form that [`Sign`] answers.
    #[serde(borrow)]
    pub signature: Bytes<'a>,
}
