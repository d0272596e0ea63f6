//! The keys that the service has for itself, as they are stored: they belong to no account, so no request can
//! name them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use kms_base::clock::Timestamp;
use kms_base::hex;
use kms_base::record::{Record, RecordError, Version, from_base64, to_base64};

/// Start of the names of system keys in the store.
pub(super) const SYSTEM_KEYS: &str = "system-keys/";
/// Start of the names of digest keys in the store.
pub(super) const DIGEST_KEYS: &str = "trail-keys/";

/// The stored form of a system key.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SystemKey {
    /// Version of the form.
    pub version: Version,
    /// Whose devices can open the token.
    pub region: String,
    /// The key id.
    pub id: String,
    /// Id of the key material.
    pub material: String,
    /// The key token.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub token: Vec<u8>,
}

impl Record for SystemKey {
    fn key(&self) -> Vec<u8> {
        Self::entry(&self.region)
    }
}

impl SystemKey {
    /// Where the key of a Region is in the store.
    pub fn entry(region: &str) -> Vec<u8> {
        format!("{SYSTEM_KEYS}{region}").into_bytes()
    }

    /// The key token of a system key as it is stored.
    ///
    /// # Errors
    /// [`RecordError`] if that is not a record of this release.
    pub(super) fn token_in(stored: &[u8]) -> Result<Vec<u8>, RecordError> {
        Ok(Self::decode(stored)?.token)
    }

    /// The stored form of a system key with another token of the same key.
    ///
    /// # Errors
    /// [`RecordError`] if it is not a record of this release.
    pub(super) fn with_token(stored: &[u8], token: Vec<u8>) -> Result<Vec<u8>, RecordError> {
        Self { token, ..Self::decode(stored)? }.encode()
    }
}

/// A secret as a device has encrypted it, under the system key of a Region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sealed {
    /// The Region whose devices can open it.
    pub region: String,
    /// The ciphertext blob.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub blob: Vec<u8>,
}

/// A digest key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DigestKey {
    /// Version of the form.
    pub version: Version,
    /// Whose devices have it.
    pub region: String,
    /// The key id.
    pub id: String,
    /// Id of the key material.
    pub material: String,
    /// The key token.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub token: Vec<u8>,
    /// The public half: DER `RSAPublicKey` (RFC 8017 A.1.1), which is what the AWS CLI reads.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub public: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
}

impl Record for DigestKey {
    fn key(&self) -> Vec<u8> {
        Self::entry(&self.region)
    }
}

/// Bytes of a fingerprint: AWS's have 32 hexadecimal digits.
const FINGERPRINT: usize = 16;

impl DigestKey {
    /// What digests name it by.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(&Sha256::digest(&self.public)[..FINGERPRINT])
    }

    /// The public half, Base64 of its DER.
    #[must_use]
    pub fn public_text(&self) -> String {
        BASE64.encode(&self.public)
    }

    /// Where the key of a Region is in the store.
    pub fn entry(region: &str) -> Vec<u8> {
        format!("{DIGEST_KEYS}{region}").into_bytes()
    }

    /// The key token of a digest key as it is stored.
    ///
    /// # Errors
    /// [`RecordError`] if that is not a record of this release.
    pub(super) fn token_in(stored: &[u8]) -> Result<Vec<u8>, RecordError> {
        Ok(Self::decode(stored)?.token)
    }

    /// The stored form of a digest key with another token of the same key.
    ///
    /// # Errors
    /// [`RecordError`] if it is not a record of this release.
    pub(super) fn with_token(stored: &[u8], token: Vec<u8>) -> Result<Vec<u8>, RecordError> {
        Self { token, ..Self::decode(stored)? }.encode()
    }
}
