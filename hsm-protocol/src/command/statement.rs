//! Statements of a device about itself and its keys ([`crate::attestation`]).

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::key::KeyRef;

/// Asks for a statement about the device and its domain. A fresh device makes one, too.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AttestDevice<'a> {
    /// Chosen by the verifier, covered by the signature; [`crate::attestation::NONCE`] bytes.
    #[serde(borrow)]
    pub nonce: Bytes<'a>,
}

/// Asks for a statement about a key. Nobody has to approve it: the secret is not used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AttestKey<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// Chosen by the verifier, covered by the signature; [`crate::attestation::NONCE`] bytes.
    #[serde(borrow)]
    pub nonce: Bytes<'a>,
}

/// A statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement<'o> {
    /// COSE_Sign1 ([`crate::attestation::Signed`]).
    #[serde(borrow)]
    pub statement: Bytes<'o>,
}
