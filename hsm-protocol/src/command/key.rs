//! Keys: made in the device, leaving it only as tokens.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::id::{KeyId, MaterialId};
use crate::key_spec::{KeySpec, KeyUsage};

/// A key to use: the id that the host means, and the token that it stored.
///
/// The device refuses a token of another key, so a mixed-up store cannot swap keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRef<'a> {
    /// The key.
    pub id: KeyId,
    /// Its key token ([`crate::token::KeyToken`]).
    #[serde(borrow)]
    pub token: Bytes<'a>,
}

/// Generates key material.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GenerateKey {
    /// The id that the token is bound to.
    pub id: KeyId,
    /// The type of key.
    pub spec: KeySpec,
    /// Its only usage.
    pub usage: KeyUsage,
}

/// New key material, wrapped.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct NewKey<'o> {
    /// Identifies the material; also in the token.
    pub material: MaterialId,
    /// The key token.
    #[serde(borrow)]
    pub token: Bytes<'o>,
}

/// Asks for the public half of an asymmetric key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ExportPublicKey<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeyInfo<'o> {
    /// DER `SubjectPublicKeyInfo` (RFC 5280 4.1, RFC 5480); 91 bytes for P-256.
    #[serde(borrow)]
    pub spki: Bytes<'o>,
}
