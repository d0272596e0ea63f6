//! Results for attested environments only: sealed inside the device to a key that an attestation
//! document vouches for (`Recipient` in the AWS KMS API).

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::agree::DeriveSharedSecret;
use crate::command::cipher::{Decrypt, DecryptPrivate, GenerateDataKey, GenerateDataKeyPair};
use crate::command::random::Random;

/// Longest attestation document, in bytes.
pub const MAX_DOCUMENT: usize = 16 * 1024;
/// Most trusted roots of a device.
pub const MAX_ROOTS: usize = 8;

/// Replaces the roots that attestation documents must chain to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SetAttestationRoots<'a> {
    /// SHA-256 of each root certificate's DER, one after another; at most [`MAX_ROOTS`].
    #[serde(borrow)]
    pub roots: Bytes<'a>,
}

/// Asks for the trusted roots.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AttestationRoots;

/// The trusted roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootList<'o> {
    /// As in [`SetAttestationRoots`].
    #[serde(borrow)]
    pub roots: Bytes<'o>,
}

/// Verifies an attestation document.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Attest<'a> {
    /// The present time, milliseconds since 1970-01-01 UTC.
    pub now_ms: u64,
    /// COSE_Sign1, as the Nitro security module makes it; at most [`MAX_DOCUMENT`] bytes.
    #[serde(borrow)]
    pub document: Bytes<'a>,
}

/// What a document says, verified; the host's policy decides on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attested<'o> {
    /// The attesting module's id.
    pub module_id: &'o str,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
    /// The platform configuration registers: index u8, length u8, value; one after another.
    #[serde(borrow)]
    pub pcrs: Bytes<'o>,
    /// Stands for the attested key in the other commands, for five minutes
    /// ([`crate::token::sealed::AttestedRecipient`]).
    #[serde(borrow)]
    pub recipient: Bytes<'o>,
}

/// Who gets a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient<'a> {
    /// The present time, milliseconds since 1970-01-01 UTC.
    pub now_ms: u64,
    /// What [`Attest`] answered.
    #[serde(borrow)]
    pub token: Bytes<'a>,
}

/// A result sealed to a recipient: CMS EnvelopedData (RFC 5652 6), DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enveloped<'o> {
    /// The message.
    #[serde(borrow)]
    pub envelope: Bytes<'o>,
}

/// [`Decrypt`] for a recipient.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DecryptFor<'a> {
    /// Who gets the plaintext.
    #[serde(borrow)]
    pub recipient: Recipient<'a>,
    /// What to do.
    #[serde(borrow)]
    pub request: Decrypt<'a>,
}

/// [`DecryptPrivate`] for a recipient.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DecryptPrivateFor<'a> {
    /// Who gets the plaintext.
    #[serde(borrow)]
    pub recipient: Recipient<'a>,
    /// What to do.
    #[serde(borrow)]
    pub request: DecryptPrivate<'a>,
}

/// [`DeriveSharedSecret`] for a recipient.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DeriveSharedSecretFor<'a> {
    /// Who gets the secret.
    #[serde(borrow)]
    pub recipient: Recipient<'a>,
    /// What to do.
    #[serde(borrow)]
    pub request: DeriveSharedSecret<'a>,
}

/// [`GenerateDataKey`] for a recipient.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GenerateDataKeyFor<'a> {
    /// Who gets the plaintext.
    #[serde(borrow)]
    pub recipient: Recipient<'a>,
    /// What to do.
    #[serde(borrow)]
    pub request: GenerateDataKey<'a>,
}

/// A data key for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeyFor<'o> {
    /// The data key, sealed to the recipient.
    #[serde(borrow)]
    pub envelope: Bytes<'o>,
    /// The data key under the KMS key ([`crate::token::Blob`]).
    #[serde(borrow)]
    pub blob: Bytes<'o>,
}

/// [`GenerateDataKeyPair`] for a recipient.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GenerateDataKeyPairFor<'a> {
    /// Who gets the private key.
    #[serde(borrow)]
    pub recipient: Recipient<'a>,
    /// What to do.
    #[serde(borrow)]
    pub request: GenerateDataKeyPair<'a>,
}

/// A data key pair for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeyPairFor<'o> {
    /// The private key, DER PKCS#8, sealed to the recipient.
    #[serde(borrow)]
    pub envelope: Bytes<'o>,
    /// The private key under the KMS key ([`crate::token::Blob`]).
    #[serde(borrow)]
    pub blob: Bytes<'o>,
    /// The public key, DER `SubjectPublicKeyInfo`.
    #[serde(borrow)]
    pub public: Bytes<'o>,
}

/// [`Random`] for a recipient.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RandomFor<'a> {
    /// Who gets the bytes.
    #[serde(borrow)]
    pub recipient: Recipient<'a>,
    /// What to do.
    pub request: Random,
}
