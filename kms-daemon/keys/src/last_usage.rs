//! When each key was last used, and by which request.
//!
//! A use is noted in memory and written to the store soon after, many at a time: a cryptographic
//! operation waits for no write. What a crash loses of it is in the audit log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::catalog::{Catalog, CatalogError, Update};
use kms_base::clock::Timestamp;
use kms_base::identifier::{KeyId, Scope};

/// Keys written at a time: each takes two of the 128 guards of a transaction.
const BATCH: usize = 60;

/// The last successful cryptographic operation with a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastUsage {
    /// Name of the operation.
    pub operation: String,
    /// When it was complete.
    pub at: Timestamp,
    /// `eventID` of its audit record.
    pub event: Uuid,
    /// Its request id.
    pub request: Uuid,
}

/// Notes the uses of keys.
pub struct UsageTracker {
    catalog: Arc<Catalog>,
    since: Timestamp,
    recent: Mutex<HashMap<(Scope, KeyId), LastUsage>>,
}

impl UsageTracker {
    /// A tracker over the catalogue. The first one over a store starts the tracking at `now`.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn open(catalog: Arc<Catalog>, now: Timestamp) -> Result<Self, CatalogError> {
        let since = catalog.last_uses().tracked_since(now).await?;
        Ok(Self { catalog, since, recent: Mutex::default() })
    }

    /// When tracking started.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Notes a use.
    pub fn note(&self, scope: &Scope, key: KeyId, usage: LastUsage) {
        self.recent().insert((scope.clone(), key), usage);
    }

    /// The last use of a key.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn last(&self, scope: &Scope, key: KeyId) -> Result<Option<LastUsage>, CatalogError> {
        let recent = self.recent().get(&(scope.clone(), key)).cloned();
        let stored = self.catalog.last_uses().get(scope, key).await?;
        // Another daemon may have used it since.
        Ok([recent, stored].into_iter().flatten().max_by_key(|usage| usage.at))
    }

    /// Writes what was noted, and returns for how many keys.
    ///
    /// # Errors
    /// [`CatalogError`]; what is not written yet stays noted.
    pub async fn flush(&self) -> Result<usize, CatalogError> {
        let noted: Vec<_> = self.recent().clone().into_iter().collect();
        let mut written = 0;
        for batch in noted.chunks(BATCH) {
            if self.catalog.last_uses().put(batch).await? == Update::Conflict {
                // A key of it is being changed: the next time will do.
                continue;
            }
            let mut recent = self.recent();
            for (key, usage) in batch {
                // Used again meanwhile: that is still to be written.
                if recent.get(key) == Some(usage) {
                    recent.remove(key);
                }
            }
            written += batch.len();
        }
        Ok(written)
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<(Scope, KeyId), LastUsage>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
