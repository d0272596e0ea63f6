//! Results for attested environments only: sealed inside the device to a key that an attestation
//! document vouches for (`Recipient` in the AWS KMS API).
//!
//! [`Attest`] verifies a document once and returns a token that stands for the attested key.
//! [`For`] runs another command and seals the secrets in its response to that key.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::agree::{DeriveSharedSecret, SharedSecret};
use crate::command::cipher::{
    DataKey, DataKeyPair, Decrypt, DecryptPrivate, GenerateDataKey, GenerateDataKeyPair, Plaintext,
};
use crate::command::random::{Random, RandomBytes};

/// Longest attestation document, in bytes.
pub const MAX_DOCUMENT: usize = 16 * 1024;
/// Most trusted roots of a device.
pub const MAX_ROOTS: usize = 8;
/// Length of a root's fingerprint in bytes: SHA-256 of the certificate's DER.
pub const ROOT_SIZE: usize = 32;

/// Asks for the trusted roots.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AttestationRoots;

/// The trusted roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootList<'o> {
    /// The fingerprints, [`ROOT_SIZE`] bytes each, one after another; at most [`MAX_ROOTS`].
    #[serde(borrow)]
    pub roots: Bytes<'o>,
}

/// Verifies an attestation document.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Attest<'a> {
    /// The present time, milliseconds since 1970-01-01 UTC.
    pub now_ms: u64,
    /// COSE_Sign1 as the AWS Nitro system makes it; at most [`MAX_DOCUMENT`] bytes.
    #[serde(borrow)]
    pub document: Bytes<'a>,
}

/// What the measurements of a document are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Measured {
    /// A Nitro enclave (`pcrs`).
    Enclave,
    /// An instance with NitroTPM (`nitrotpm_pcrs`).
    NitroTpm,
}

/// What a document says, verified; the host's policy decides on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attested<'o> {
    /// The attesting module's id.
    pub module_id: &'o str,
    /// When it was made, milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
    /// What was measured.
    pub measured: Measured,
    /// The platform configuration registers: index u8, length u8, value; one after another.
    #[serde(borrow)]
    pub pcrs: Bytes<'o>,
    /// Stands for the attested key in the other commands, until it expires
    /// ([`crate::token::sealed::AttestedRecipient`]).
    #[serde(borrow)]
    pub recipient: Bytes<'o>,
    /// When that is, milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
}

/// Who gets a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient<'a> {
    /// The present time, milliseconds since 1970-01-01 UTC.
    pub now_ms: u64,
    /// [`Attested::recipient`].
    #[serde(borrow)]
    pub token: Bytes<'a>,
}

/// A command whose secret result only the recipient can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct For<'a, C> {
    /// Who gets the result.
    #[serde(borrow)]
    pub recipient: Recipient<'a>,
    /// What to do.
    pub request: C,
}

/// [`Decrypt`] for a recipient.
pub type DecryptFor<'a> = For<'a, Decrypt<'a>>;
/// [`DecryptPrivate`] for a recipient.
pub type DecryptPrivateFor<'a> = For<'a, DecryptPrivate<'a>>;
/// [`DeriveSharedSecret`] for a recipient.
pub type DeriveSharedSecretFor<'a> = For<'a, DeriveSharedSecret<'a>>;
/// [`GenerateDataKey`] for a recipient.
pub type GenerateDataKeyFor<'a> = For<'a, GenerateDataKey<'a>>;
/// [`GenerateDataKeyPair`] for a recipient.
pub type GenerateDataKeyPairFor<'a> = For<'a, GenerateDataKeyPair<'a>>;
/// [`Random`] for a recipient.
pub type RandomFor<'a> = For<'a, Random>;

/// The result of [`For`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enveloped<'o> {
    /// What is secret, sealed to the recipient: CMS EnvelopedData (RFC 5652 6), DER.
    #[serde(borrow)]
    pub envelope: Bytes<'o>,
    /// The same under the KMS key ([`crate::token::Blob`]); empty unless the command makes one.
    #[serde(borrow)]
    pub blob: Bytes<'o>,
    /// The public key, DER `SubjectPublicKeyInfo`; empty unless the command makes a pair.
    #[serde(borrow)]
    pub public: Bytes<'o>,
}

/// An answer whose secret part may go to a recipient.
pub trait Confidential<'r> {
    /// Takes it apart.
    fn parts(self) -> Parts<'r>;
}

/// What [`Enveloped`] has, not yet sealed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'r> {
    /// What only the recipient may read.
    pub secret: &'r [u8],
    /// As [`Enveloped::blob`].
    pub blob: &'r [u8],
    /// As [`Enveloped::public`].
    pub public: &'r [u8],
}

impl<'r> Confidential<'r> for Plaintext<'r> {
    fn parts(self) -> Parts<'r> {
        Parts { secret: self.plaintext.0, ..Parts::default() }
    }
}

impl<'r> Confidential<'r> for SharedSecret<'r> {
    fn parts(self) -> Parts<'r> {
        Parts { secret: self.secret.0, ..Parts::default() }
    }
}

impl<'r> Confidential<'r> for RandomBytes<'r> {
    fn parts(self) -> Parts<'r> {
        Parts { secret: self.bytes.0, ..Parts::default() }
    }
}

impl<'r> Confidential<'r> for DataKey<'r> {
    fn parts(self) -> Parts<'r> {
        Parts { secret: self.plaintext.0, blob: self.blob.0, ..Parts::default() }
    }
}

impl<'r> Confidential<'r> for DataKeyPair<'r> {
    fn parts(self) -> Parts<'r> {
        Parts { secret: self.private.0, blob: self.blob.0, public: self.public.0 }
    }
}
