//! Keys: made in the device, leaving it only as tokens.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::id::{KeyId, MaterialId};
use crate::key_spec::{KeySpec, KeyUsage};
use crate::token::sealed::PairPurpose;

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

/// Asks for a key pair of a spec whose generation is slow. The device looks for one between
/// requests and answers [`crate::ErrorCode::NOT_READY`] until it has found it; it hands out each
/// pair once, and works on one spec at a time: a request for another waits its turn.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PrepareKeyPair {
    /// The type of the pair.
    pub spec: KeySpec,
    /// The only purpose that it will be good for.
    pub purpose: PairPurpose,
}

/// A key pair that belongs to no key yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedKeyPair<'o> {
    /// The pair ([`crate::token::sealed::PreparedPair`]); to be used once.
    #[serde(borrow)]
    pub pair: Bytes<'o>,
}

/// Makes a prepared key pair of purpose [`PairPurpose::KEY`] the material of a key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AdoptKeyPair<'a> {
    /// The id that the token is bound to.
    pub id: KeyId,
    /// The key's only usage.
    pub usage: KeyUsage,
    /// What [`PrepareKeyPair`] answered.
    #[serde(borrow)]
    pub pair: Bytes<'a>,
}

/// Wraps a key under the active domain key. What is known and demanded of it goes along. The answer is that
/// of [`GenerateKey`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RewrapKey<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
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
    /// DER `SubjectPublicKeyInfo` (RFC 5280 4.1);
    /// [`crate::key_spec::KeySpecRow::public_size`] bytes.
    #[serde(borrow)]
    pub spki: Bytes<'o>,
}
