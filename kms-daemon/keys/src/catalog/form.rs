//! The stored form of what is not a key record: JSON with a version.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CatalogError, unreadable};
use kms_base::record::RecordError;

/// Version of the stored forms.
const VERSION: u32 = 1;

#[derive(Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<T> {
    version: u32,
    value: T,
}

/// The bytes of a value that goes to `key`.
pub(super) fn encode<T: Serialize + ?Sized>(
    key: &[u8],
    value: &T,
) -> Result<Vec<u8>, CatalogError> {
    serde_json::to_vec(&Envelope { version: VERSION, value })
        .map_err(|error| unreadable(key, RecordError::Damaged(error.to_string())))
}

/// Reads what [`encode`] wrote.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    let damaged = |error: serde_json::Error| RecordError::Damaged(error.to_string());
    let Envelope { version, value } = serde_json::from_slice(bytes).map_err(damaged)?;
    if version == VERSION { Ok(value) } else { Err(RecordError::Version(version)) }
}
