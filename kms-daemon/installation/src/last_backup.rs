//! The record that an installation keeps of its last backup.

use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use kms_base::durable;
use kms_store::{Store, StoreError, Transaction};

/// The file in the data directory that says the same as the store.
pub const LAST_BACKUP: &str = "last-backup.json";
/// Where it is in the store.
pub(crate) const STORE_KEY: &[u8] = b"service/last-backup";

/// The last backup that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastBackup {
    /// Version of this record.
    pub version: u32,
    /// When its snapshot was taken, ISO 8601.
    pub created: String,
    /// The file, as it was named on the machine where it was made.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// The domains of which it holds a device's flash: it brings back their keys by itself.
    pub domains: Vec<String>,
    /// The last record of the audit log in it.
    pub audit_sequence: u64,
}

impl LastBackup {
    /// The version that is written and read.
    pub const VERSION: u32 = 1;

    /// Writes what is known about the last backup beside the store, for users who can read the data directory;
    /// whether that is done. Blocks.
    pub fn note(data: &Path, last: Option<&Self>) -> bool {
        let path = data.join(LAST_BACKUP);
        let text = serde_json::to_string_pretty(&last).unwrap_or_default() + "\n";
        let written = durable::write(&path, text.as_bytes(), 0o600);
        if let Err(error) = &written {
            tracing::warn!(path = %path.display(), %error, "cannot write; it will be tried again");
        }
        written.is_ok()
    }

    /// Reads it. A record written by a newer release is ignored.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn read(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        let entry = store.get(STORE_KEY).await?.value;
        let record = entry.and_then(|entry| serde_json::from_slice::<Self>(&entry.value).ok());
        Ok(record.filter(|record| record.version == Self::VERSION))
    }

    /// The moment that it is of.
    #[must_use]
    pub fn time(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.created, &Rfc3339).ok()
    }

    /// Makes it the last one; durable when this returns.
    ///
    /// # Errors
    /// If the store does not take it.
    pub async fn write(&self, store: &dyn Store) -> Result<(), StoreError> {
        let value = serde_json::to_vec(self).map_err(|e| StoreError::Engine(e.to_string()))?;
        store.commit(Transaction::new().put(STORE_KEY, value)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_store::MemoryStore;

    #[tokio::test]
    async fn version_1() {
        let store = MemoryStore::default();
        assert_eq!(LastBackup::read(&store).await.unwrap(), None);
        let last = LastBackup {
            version: 1,
            created: "2026-11-28T03:00:00Z".to_owned(),
            path: "/backup/a".to_owned(),
            bytes: 12,
            sha256: "ab".to_owned(),
            domains: vec!["00".repeat(16)],
            audit_sequence: 5,
        };
        assert_eq!(last.time().unwrap().unix_timestamp(), 1_795_834_800);
        last.write(&store).await.unwrap();
        assert_eq!(LastBackup::read(&store).await.unwrap(), Some(last));
        let golden = r#"{"version":1,"created":"2026-11-28T03:00:00Z","path":"/backup/a","bytes":12,"sha256":"ab","domains":["00000000000000000000000000000000"],"auditSequence":5}"#;
        let entry = store.get(STORE_KEY).await.unwrap().value.unwrap();
        assert_eq!(std::str::from_utf8(&entry.value).unwrap(), golden);
    }
}
