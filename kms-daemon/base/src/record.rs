//! Records of the store: JSON with a version, so that an operator can read them. A record of an unknown version
//! or with an unknown member is refused rather than read in part.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why stored bytes are not a record of this release.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON of a record.
    #[error("damaged record: {0}")]
    Damaged(String),
    /// Written by another release.
    #[error("record version {0} is not supported")]
    Version(u32),
}

/// Anything that is stored on its own.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Where it is in the store.
    fn key(&self) -> Vec<u8>;

    /// The stored form.
    ///
    /// # Errors
    /// [`RecordError::Damaged`] if a member has no stored form.
    fn encode(&self) -> Result<Vec<u8>, RecordError> {
        serde_json::to_vec(self).map_err(damaged)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`RecordError`] if it is not one of this release.
    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let header: Header = serde_json::from_slice(bytes).map_err(damaged)?;
        if header.version != VERSION {
            return Err(RecordError::Version(header.version));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

/// Version of the stored forms.
const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Header {
    version: u32,
}

/// The version of a record, as its first member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            VERSION => Ok(Self),
            other => Err(D::Error::custom(format_args!("version {other}"))),
        }
    }
}

/// [`RecordError::Damaged`], because of `error`.
pub fn damaged(error: impl std::fmt::Display) -> RecordError {
    RecordError::Damaged(error.to_string())
}

/// Writes bytes as Base64, for `serde`.
pub fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

/// Reads bytes from Base64, for `serde`.
pub fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64.decode(text).map_err(|_| D::Error::custom("not Base64"))
}
