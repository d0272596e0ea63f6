//! What a store says while it is filled from a file, and afterwards.
//!
//! The mark is changed in the same transaction as the records that it counts, so an import that was cut off goes on
//! where it stopped. No program uses a store whose import did not come to its end.

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use kms_base::record::{Record, RecordError, Version, from_base64, to_base64};

/// The key of the mark.
pub const MARK: &[u8] = b"service/import";

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is under way, or was cut off.
    UnderWay,
    /// Everything that is in the file is in the store.
    Complete,
}

/// The mark of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mark {
    /// Version of the record.
    pub version: Version,
    /// SHA-256 of the file, hexadecimal.
    pub file: String,
    /// Whether all of it is there.
    pub state: State,
    /// Records that are there.
    pub records: u64,
    /// The last key that is there; empty before the first.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub after: Vec<u8>,
}

impl Record for Mark {
    fn key(&self) -> Vec<u8> {
        MARK.to_vec()
    }
}

impl Mark {
    /// Reads the value of [`MARK`].
    ///
    /// # Errors
    /// [`StoreError::Engine`] if it cannot be read: nobody knows then what is in the store.
    pub fn read(value: &[u8]) -> Result<Self, StoreError> {
        let unreadable = |error: RecordError| {
            StoreError::Engine(format!("the mark of an import cannot be read: {error}"))
        };
        Self::decode(value).map_err(unreadable)
    }

    /// Refuses a store whose import did not come to its end. `value` is that of [`MARK`], if there is one.
    ///
    /// # Errors
    /// [`StoreError::HalfImported`]; [`StoreError::Engine`] if the mark cannot be read.
    pub fn ensure_complete(value: Option<&[u8]>) -> Result<(), StoreError> {
        let Some(mark) = value.map(Self::read).transpose()? else { return Ok(()) };
        match mark.state {
            State::Complete => Ok(()),
            State::UnderWay => {
                Err(StoreError::HalfImported { file: mark.file, records: mark.records })
            }
        }
    }
}

/// Refuses a store whose import did not come to its end.
///
/// # Errors
/// [`StoreError::HalfImported`]; what the store says.
pub async fn ensure_whole(store: &dyn Store) -> Result<(), StoreError> {
    let mark = store.get(MARK).await?.value;
    Mark::ensure_complete(mark.as_ref().map(|entry| &*entry.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, Transaction};

    #[tokio::test]
    async fn a_store_that_is_filled_in_part_is_refused() {
        let store = MemoryStore::default();
        ensure_whole(&store).await.unwrap();
        let mut mark = Mark {
            version: Version,
            file: "ab".repeat(32),
            state: State::UnderWay,
            records: 7,
            after: b"k".to_vec(),
        };
        let golden = format!(
            r#"{{"version":1,"file":"{}","state":"under-way","records":7,"after":"aw=="}}"#,
            mark.file
        );
        assert_eq!(String::from_utf8(mark.encode().unwrap()).unwrap(), golden);
        let put = |value: Vec<u8>| Transaction::new().put(MARK, value);
        let _ = store.commit(put(mark.encode().unwrap())).await.unwrap();
        let refused = ensure_whole(&store).await.unwrap_err();
        assert!(matches!(&refused, StoreError::HalfImported { records: 7, .. }));
        assert!(refused.to_string().contains("run it again with the same file"), "{refused}");
        mark.state = State::Complete;
        let _ = store.commit(put(mark.encode().unwrap())).await.unwrap();
        ensure_whole(&store).await.unwrap();
        // What cannot be read does not count as nothing.
        let _ = store.commit(put(b"{}".to_vec())).await.unwrap();
        assert!(matches!(ensure_whole(&store).await, Err(StoreError::Engine(_))));
    }
}
