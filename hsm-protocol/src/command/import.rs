//! Imports key material that was made elsewhere, wrapped to a key pair of the device.
//!
//! The host supplies the present time; the device compares it with the expiry.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::id::KeyId;
use crate::key_spec::{KeySpec, KeyUsage, WrappingAlgorithm};

/// Longest wrapped key material, in bytes.
pub const MAX_WRAPPED: usize = 6144;

/// Makes an import token and its public wrapping key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ParametersForImport<'a> {
    /// The key that the material will be for.
    pub id: KeyId,
    /// Its spec.
    pub spec: KeySpec,
    /// Its usage.
    pub usage: KeyUsage,
    /// How the material will be wrapped.
    pub algorithm: WrappingAlgorithm,
    /// When the token expires, milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
    /// The wrapping key pair: an RSA pair that [`super::key::PrepareKeyPair`] answered for an import.
    #[serde(borrow)]
    pub pair: Bytes<'a>,
}

/// What the owner of the material needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportParameters<'o> {
    /// The public wrapping key, DER `SubjectPublicKeyInfo`.
    #[serde(borrow)]
    pub public: Bytes<'o>,
    /// The import token ([`crate::token::sealed::ImportToken`]).
    #[serde(borrow)]
    pub token: Bytes<'o>,
}

/// Unwraps key material and wraps it under the domain key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ImportKey<'a> {
    /// The key; the token must be for the same.
    pub id: KeyId,
    /// The present time, milliseconds since 1970-01-01 UTC.
    pub now_ms: u64,
    /// What [`ParametersForImport`] answered.
    #[serde(borrow)]
    pub token: Bytes<'a>,
    /// The wrapped material: 32 raw bytes of AES, raw bytes of HMAC, or DER PKCS#8.
    #[serde(borrow)]
    pub wrapped: Bytes<'a>,
}
