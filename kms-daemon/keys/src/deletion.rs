//! The end of a key: its record, tokens, aliases and grants are destroyed in one transaction.

use super::catalog::{self, Catalog, CatalogError, Update, What};
use super::{KeyRecord, Stored, layout};
use kms_base::clock::Timestamp;
use kms_model::state::KeyState;
use kms_store::Transaction;

/// The destruction of a key, read and prepared. Nothing is changed before [`Destruction::commit`].
#[must_use]
pub struct Destruction {
    key: Stored<KeyRecord>,
    transaction: Transaction,
    aliases: usize,
    grants: u64,
}

impl Destruction {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &KeyRecord {
        &self.key
    }

    /// Destroys the key; false if it or what belongs to it has changed since it was read.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn commit(self, catalog: &Catalog) -> Result<bool, CatalogError> {
        let destroyed = catalog.commit(self.transaction).await? == Update::Applied;
        if destroyed {
            let (aliases, grants) = (self.aliases, self.grants);
            tracing::info!(key = %self.key.arn(), aliases, grants, "key destroyed");
        }
        Ok(destroyed)
    }
}

impl Catalog {
    /// Prepares the destruction of a key whose waiting period ends at `due`; `None` if that is not so any more.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn destruction(
        &self,
        key: Stored<KeyRecord>,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Destruction>, CatalogError> {
        if key.state != KeyState::PendingDeletion || key.deletion != Some(due) {
            return Ok(None);
        }
        let (scope, id) = (&key.scope, key.id);
        let index = self.aliases().of_key(scope, id).await?;
        let grants = self.grants().count(scope, id).await?;
        let record = layout::key(scope, id);
        let transaction = Transaction::new()
            .unchanged(record.clone(), key.revision)
            .delete(record)
            .delete(layout::key_aliases(scope, id))
            .delete(layout::last_usage(scope, id))
            .delete(layout::owner(scope, id));
        let transaction = match &key.external {
            None => transaction,
            Some(external) => transaction.delete(layout::external_key(scope, external)),
        };
        let mut transaction = catalog::with_dates(transaction, scope, id, Some(&key), None);
        transaction = self.forgetting(transaction, &key, now).await?;
        let transaction = grants.guard(index.guard(transaction, scope, id), scope, id);
        // There can be more grants than fit into a transaction. They give nothing from here on.
        let transaction = match grants.count {
            0 => transaction,
            _ => transaction.put(layout::orphan(scope, id), Vec::new()),
        };
        let transaction =
            index.names.iter().fold(transaction, |t, name| t.delete(layout::alias(scope, name)));
        let (aliases, grants) = (index.names.len(), grants.count);
        Ok(Some(Destruction { key, transaction, aliases, grants }))
    }

    /// Lets the related keys forget a replica; its primary may have waited for that.
    async fn forgetting(
        &self,
        mut transaction: Transaction,
        key: &KeyRecord,
        now: Timestamp,
    ) -> Result<Transaction, CatalogError> {
        let related = self.related(key).await?;
        let elsewhere = catalog::elsewhere(key, &related);
        let primary = related.iter().find(|related| !related.is_replica());
        let version = primary.map_or(0, |primary| primary.version() + 1);
        for old in &related {
            let new = old.without_replica(&key.scope.region, version, now);
            transaction = catalog::replacing(transaction, old, &new)?;
            if !old.is_replica() {
                for scope in &elsewhere {
                    transaction = catalog::tell(transaction, &scope.region, &new, What::Changed)?;
                }
            }
        }
        match (primary, &key.multi_region) {
            // The primary is another daemon's.
            (None, Some(regions)) if key.is_replica() => {
                catalog::tell(transaction, &regions.primary, key, What::Gone)
            }
            _ => Ok(transaction),
        }
    }
}
