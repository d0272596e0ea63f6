//! Encryption, data keys and data key pairs.
//!
//! `context` is the canonical encryption context ([`crate::token::context`]), at most
//! [`MAX_CONTEXT`] bytes; empty for none. It is authenticated, never stored.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::key::KeyRef;
use crate::key_spec::{EncryptionAlgorithm, KeySpec};

/// Longest plaintext of `Encrypt`, in bytes: 4,096 of a caller of KMS, and 512 for what another KMS has put around
/// them before it uses a key here as that of an external key store.
pub const MAX_PLAINTEXT: usize = 4608;
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

/// Decrypts and re-encrypts; the plaintext stays in the device.
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

/// Draws a data key and returns it both in the clear and encrypted.
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
    /// In plaintext.
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

/// Encrypts with the public half of an asymmetric key. There is no encryption context.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct EncryptPublic<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The algorithm.
    pub algorithm: EncryptionAlgorithm,
    /// What to encrypt: as much as key and algorithm have room for (RFC 8017 7.1.1).
    #[serde(borrow)]
    pub plaintext: Bytes<'a>,
}

/// Decrypts with the private half of an asymmetric key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DecryptPrivate<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The algorithm.
    pub algorithm: EncryptionAlgorithm,
    /// The ciphertext, as long as the modulus.
    #[serde(borrow)]
    pub ciphertext: Bytes<'a>,
}

/// One side of [`ReEncryptAcross`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Side<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The algorithm.
    pub algorithm: EncryptionAlgorithm,
    /// Canonical encryption context; empty with an asymmetric algorithm.
    #[serde(borrow)]
    pub context: Bytes<'a>,
}

/// [`ReEncrypt`] between any two encryption algorithms; the plaintext stays in the device.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReEncryptAcross<'a> {
    /// What the ciphertext was made with.
    #[serde(borrow)]
    pub source: Side<'a>,
    /// The ciphertext.
    #[serde(borrow)]
    pub ciphertext: Bytes<'a>,
    /// What to encrypt with.
    #[serde(borrow)]
    pub destination: Side<'a>,
}

/// Makes a data key pair and returns its private half both in the clear and encrypted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GenerateDataKeyPair<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// Canonical encryption context.
    #[serde(borrow)]
    pub context: Bytes<'a>,
    /// The type of pair.
    pub spec: KeySpec,
    /// What [`super::key::PrepareKeyPair`] answered for a data key pair, if generation of the spec
    /// is slow; empty for the others.
    #[serde(borrow)]
    pub pair: Bytes<'a>,
}

/// A data key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeyPair<'o> {
    /// The private key in the clear, DER PKCS#8 (RFC 5958).
    #[serde(borrow)]
    pub private: Bytes<'o>,
    /// The private key encrypted ([`crate::token::Blob`]).
    #[serde(borrow)]
    pub blob: Bytes<'o>,
    /// The public key, DER `SubjectPublicKeyInfo`.
    #[serde(borrow)]
    pub public: Bytes<'o>,
}

/// Makes a data key pair and returns its private half only encrypted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GenerateDataKeyPairWithoutPlaintext<'a> {
    /// What to make.
    #[serde(borrow)]
    pub request: GenerateDataKeyPair<'a>,
}

/// A data key pair without the private key in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedDataKeyPair<'o> {
    /// The private key encrypted ([`crate::token::Blob`]).
    #[serde(borrow)]
    pub blob: Bytes<'o>,
    /// The public key, DER `SubjectPublicKeyInfo`.
    #[serde(borrow)]
    pub public: Bytes<'o>,
}
