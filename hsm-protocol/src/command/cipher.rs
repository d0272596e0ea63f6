//! Symmetric encryption and data keys.
//!
//! `context` is the canonical encryption context ([`crate::token::context`]), at most
//! [`MAX_CONTEXT`] bytes; empty for none. It is authenticated, never stored.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::key::KeyRef;

/// Longest plaintext of `Encrypt`, in bytes.
pub const MAX_PLAINTEXT: usize = 4096;
/// Longest canonical encryption context, in bytes.
pub const MAX_CONTEXT: usize = 8192;
/// Longest data key, in bytes.
pub const MAX_DATA_KEY: usize = 1024;

/// Encrypts 1 to [`MAX_PLAINTEXT`] bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Encrypt<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// Canonical encryption context.
    #[serde(borrow)]
    pub context: Bytes<'a>,
    /// What to encrypt.
    #[serde(borrow)]
    pub plaintext: Bytes<'a>,
}

/// A ciphertext blob ([`crate::token::Blob`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ciphertext<'o> {
    /// The blob.
    #[serde(borrow)]
    pub blob: Bytes<'o>,
}

/// Decrypts a blob.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Decrypt<'a> {
    /// The key, with the token of the material that the blob names.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// Canonical encryption context.
    #[serde(borrow)]
    pub context: Bytes<'a>,
    /// The blob.
    #[serde(borrow)]
    pub blob: Bytes<'a>,
}

/// A plaintext. Its exposure ends where the host zeroises the buffer it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plaintext<'o> {
    /// The bytes.
    #[serde(borrow)]
    pub plaintext: Bytes<'o>,
}

/// Decrypts and encrypts anew; the plaintext stays in the device.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReEncrypt<'a> {
    /// The key that the blob was made with.
    #[serde(borrow)]
    pub source: KeyRef<'a>,
    /// Canonical encryption context of the blob.
    #[serde(borrow)]
    pub source_context: Bytes<'a>,
    /// The blob.
    #[serde(borrow)]
    pub blob: Bytes<'a>,
    /// The key to encrypt with; may be the same.
    #[serde(borrow)]
    pub destination: KeyRef<'a>,
    /// Canonical encryption context of the new blob.
    #[serde(borrow)]
    pub destination_context: Bytes<'a>,
}

/// Draws a data key and returns it both in clear and encrypted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GenerateDataKey<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// Canonical encryption context.
    #[serde(borrow)]
    pub context: Bytes<'a>,
    /// Length of the data key, 1 to [`MAX_DATA_KEY`] bytes.
    pub length: u16,
}

/// A data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKey<'o> {
    /// In clear.
    #[serde(borrow)]
    pub plaintext: Bytes<'o>,
    /// Encrypted ([`crate::token::Blob`]).
    #[serde(borrow)]
    pub blob: Bytes<'o>,
}

/// Draws a data key and returns it only encrypted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GenerateDataKeyWithoutPlaintext<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// Canonical encryption context.
    #[serde(borrow)]
    pub context: Bytes<'a>,
    /// Length of the data key, 1 to [`MAX_DATA_KEY`] bytes.
    pub length: u16,
}
