//! The end of a key: once its waiting period is over, its record, tokens, aliases and grants
//! are destroyed.

use std::sync::Arc;
use std::time::Duration;

use super::catalog::{self, Catalog, CatalogError, Update, What};
use super::due::{self, DueDates};
use super::{KeyId, KeyRecord, KeyState, Scope, layout};
use crate::clock::{Clock, Timestamp};
use crate::store::Transaction;

/// Time between two looks at the due dates. AWS KMS promises deletion within a day of the date.
const INTERVAL: Duration = Duration::from_secs(60);

/// Told of each key right before it is destroyed; an error keeps the key.
pub trait DeletionObserver: Send + Sync + 'static {
    /// Records that `key` is about to be destroyed.
    ///
    /// # Errors
    /// A text for the log. The key stays, and is tried again later.
    fn destroying(&self, key: &KeyRecord) -> impl Future<Output = Result<(), String>> + Send;
}

/// Destroys keys that are due, until the task is aborted.
pub async fn run(
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    observer: Arc<impl DeletionObserver>,
) {
    let mut interval = due::every(INTERVAL);
    loop {
        interval.tick().await;
        if let Err(error) = destroy_due(&catalog, clock.now(), &*observer).await {
            tracing::error!(%error, "cannot delete due keys, will try again");
        }
    }
}

/// Destroys every key that is due at `now`, and returns how many.
///
/// # Errors
/// [`CatalogError`]; keys destroyed before it stay destroyed.
pub async fn destroy_due(
    catalog: &Catalog,
    now: Timestamp,
    observer: &impl DeletionObserver,
) -> Result<usize, CatalogError> {
    let mut destroyed = 0;
    let mut dates = DueDates::new(catalog, layout::DELETIONS, now);
    while let Some((due, scope, id)) = dates.next().await? {
        destroyed += usize::from(catalog.destroy((due, now), &scope, id, observer).await?);
    }
    catalog.remove_orphans().await?;
    Ok(destroyed)
}

impl Catalog {
    /// Destroys one key if it is still due. A key that changes meanwhile is left for later.
    async fn destroy(
        &self,
        (due, now): (Timestamp, Timestamp),
        scope: &Scope,
        id: KeyId,
        observer: &impl DeletionObserver,
    ) -> Result<bool, CatalogError> {
        let Some(key) = self.key(scope, id).await? else { return Ok(false) };
        if key.state != KeyState::PendingDeletion || key.deletion != Some(due) {
            return Ok(false);
        }
        let index = self.aliases_of(scope, id).await?;
        let grants = self.grant_count(scope, id).await?;
        if let Err(error) = observer.destroying(&key).await {
            tracing::error!(key = %key.arn(), %error, "cannot record the deletion, key kept");
            return Ok(false);
        }
        let record = layout::key(scope, id);
        let transaction = Transaction::new()
            .unchanged(record.clone(), key.revision)
            .delete(record)
            .delete(layout::key_aliases(scope, id))
            .delete(layout::last_usage(scope, id))
            .delete(layout::owner(scope, id));
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
        let destroyed = self.commit(transaction).await? == Update::Applied;
        if destroyed {
            let (aliases, grants) = (index.names.len(), grants.count);
            tracing::info!(key = %key.arn(), aliases, grants, "key destroyed");
        }
        Ok(destroyed)
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
