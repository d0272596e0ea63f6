//! Shared secrets: key agreement and key encapsulation.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::key::KeyRef;

/// Longest public key of a peer, in bytes.
pub const MAX_PEER: usize = 1024;

/// Agrees on a shared secret with a peer (ECDH, SP 800-56A r3, 5.7.1.2).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DeriveSharedSecret<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The peer's public key on the same curve, DER `SubjectPublicKeyInfo`.
    #[serde(borrow)]
    pub peer: Bytes<'a>,
}

/// A shared secret. Its exposure ends where the host zeroises the buffer it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedSecret<'o> {
    /// ECDH: the x-coordinate, 32, 48 or 66 bytes; ML-KEM: 32 bytes.
    #[serde(borrow)]
    pub secret: Bytes<'o>,
}

/// Encapsulates a fresh shared secret for the key (FIPS 203 7.2).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Encapsulate<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
}

/// A shared secret and its encapsulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encapsulation<'o> {
    /// 768, 1088 or 1568 bytes.
    #[serde(borrow)]
    pub ciphertext: Bytes<'o>,
    /// 32 bytes.
    #[serde(borrow)]
    pub secret: Bytes<'o>,
}

/// Decapsulates a shared secret (FIPS 203 7.3). A wrong ciphertext of the right length gives
/// another secret, not an error.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Decapsulate<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// What [`Encapsulate`] answered.
    #[serde(borrow)]
    pub ciphertext: Bytes<'a>,
}
