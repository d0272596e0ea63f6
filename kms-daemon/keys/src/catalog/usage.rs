//! Last uses of keys in the catalogue.

use super::form::{decode, encode};
use super::{Catalog, CatalogError, Update, unreadable};
use crate::last_usage::LastUsage;
use crate::layout;
use kms_base::clock::Timestamp;
use kms_base::identifier::{KeyId, Scope};
use kms_store::Transaction;

/// Where it is kept when tracking started.
const SINCE: &[u8] = b"service/usage-tracked-since";

/// When keys were last used.
#[derive(Clone, Copy)]
pub struct LastUses<'c>(&'c Catalog);

impl Catalog {
    /// When keys were last used.
    #[must_use]
    pub const fn last_uses(&self) -> LastUses<'_> {
        LastUses(self)
    }
}

impl LastUses<'_> {
    /// When tracking of uses started in this store: `now`, if it starts now.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn tracked_since(self, now: Timestamp) -> Result<Timestamp, CatalogError> {
        let start = Transaction::new().absent(SINCE).put(SINCE, encode(SINCE, &now)?);
        // Conflict means that it started before.
        let _ = self.0.store.commit(start).await?;
        let entry = self.0.store.get(SINCE).await?.value;
        let since = entry.map(|entry| decode(&entry.value)).transpose();
        Ok(since.map_err(|error| unreadable(SINCE, error))?.unwrap_or(now))
    }

    /// The last use of a key that was written.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn get(self, scope: &Scope, key: KeyId) -> Result<Option<LastUsage>, CatalogError> {
        let entry = layout::last_usage(scope, key);
        let Some(found) = self.0.store.get(&entry).await?.value else { return Ok(None) };
        decode(&found.value).map(Some).map_err(|error| unreadable(&entry, error))
    }

    /// Writes last uses, except of keys that are gone and where a later one is known.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn put(self, usages: &[((Scope, KeyId), LastUsage)]) -> Result<Update, CatalogError> {
        let mut transaction = Transaction::new();
        for ((scope, id), usage) in usages {
            let entry = layout::last_usage(scope, *id);
            let known = self.0.store.get(&entry).await?.value;
            let Some(key) = self.0.key(scope, *id).await? else { continue };
            // Another daemon may write it at the same time.
            transaction = match known {
                Some(known) => {
                    let read: LastUsage =
                        decode(&known.value).map_err(|error| unreadable(&entry, error))?;
                    if read.at > usage.at {
                        continue;
                    }
                    transaction.unchanged(entry.clone(), known.revision)
                }
                None => transaction.absent(entry.clone()),
            };
            let value = encode(&entry, usage)?;
            transaction =
                transaction.unchanged(layout::key(scope, *id), key.revision).put(entry, value);
        }
        self.0.commit(transaction).await
    }
}
