//! Destroys keys whose waiting period is over.

use std::time::Duration;

use serde_json::json;

use super::clusters;
use crate::app::App;
use kms_audit::AuditLog;
use kms_base::clock::Timestamp;
use kms_keys::due::DueDates;
use kms_keys::{Catalog, CatalogError, KeyRecord};

/// Time between two looks at the due dates. AWS KMS promises deletion within a day of the date.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// Told of each key right before it is destroyed; an error keeps the key.
pub trait DeletionObserver: Send + Sync + 'static {
    /// Records that `key` is about to be destroyed.
    ///
    /// # Errors
    /// A text for the log. The key stays, and is tried again later.
    fn destroying(&self, key: &KeyRecord) -> impl Future<Output = Result<(), String>> + Send;

    /// Learns that `key` is destroyed, for good.
    fn destroyed(&self, _key: &KeyRecord) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A key is destroyed only after the record of it is durable.
impl DeletionObserver for AuditLog {
    async fn destroying(&self, key: &KeyRecord) -> Result<(), String> {
        let answer = json!({ "keyId": key.arn() });
        let details = json!({ "keyId": key.id });
        self.service_event("DeleteKey", (&key.scope, &key.arn()), &details, Some(&answer), &[])
            .await
    }
}

/// As for the log; and what tokens have of the key is destroyed once nobody can take that back.
impl DeletionObserver for App {
    async fn destroying(&self, key: &KeyRecord) -> Result<(), String> {
        self.audit.destroying(key).await
    }

    async fn destroyed(&self, key: &KeyRecord) {
        if let Some(external) = key.external.as_ref().filter(|it| it.cluster.is_some()) {
            clusters::destroy((&self.service, &self.iam), key, external).await;
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
    let mut dates = DueDates::deletions(catalog, now);
    while let Some((due, scope, id)) = dates.next().await? {
        let Some(key) = catalog.key(&scope, id).await? else { continue };
        let Some(destruction) = catalog.destruction(key, due, now).await? else { continue };
        if let Err(error) = observer.destroying(destruction.key()).await {
            tracing::error!(key = %scope.key_arn(id), %error, "cannot record the deletion, key kept");
            continue;
        }
        let key = destruction.key().clone();
        // A key that changes meanwhile is left for later.
        if destruction.commit(catalog).await? {
            observer.destroyed(&key).await;
            destroyed += 1;
        }
    }
    catalog.grants().remove_orphans().await?;
    Ok(destroyed)
}
