//! Destroys imported key material that has expired.

use std::collections::BTreeMap;
use std::time::Duration;

use hsm_protocol::MaterialId;
use serde_json::json;

use kms_audit::AuditLog;
use kms_base::clock::Timestamp;
use kms_base::identifier::{KeyId, Scope};
use kms_keys::catalog::Update;
use kms_keys::due::DueDates;
use kms_keys::{Catalog, CatalogError, KeyMaterial, KeyRecord, Stored};

/// How often expiry dates are looked at.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// Told of expired material right before it is destroyed; an error keeps it.
pub trait ExpiryObserver: Send + Sync + 'static {
    /// Records that `materials` of `key` are about to be destroyed.
    ///
    /// # Errors
    /// A text for the log. The material stays, and is tried again later.
    fn expiring(
        &self,
        key: &KeyRecord,
        materials: &[MaterialId],
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// Expired material is destroyed only after the record of it is durable: one for each, as AWS has it.
impl ExpiryObserver for AuditLog {
    async fn expiring(&self, key: &KeyRecord, materials: &[MaterialId]) -> Result<(), String> {
        let arn = key.arn();
        for material in materials {
            let details = json!({ "keyId": key.id, "keyMaterialId": material.to_string() });
            let about = (&key.scope, &*arn);
            self.service_event("DeleteExpiredKeyMaterial", about, &details, None, &[]).await?;
        }
        Ok(())
    }
}

/// Destroys all material that has expired at `now`; returns of how many keys.
///
/// # Errors
/// [`CatalogError`]; material destroyed before it stays destroyed.
pub async fn expire_due(
    catalog: &Catalog,
    now: Timestamp,
    observer: &impl ExpiryObserver,
) -> Result<usize, CatalogError> {
    let mut expired = 0;
    let mut dates = DueDates::expiries(catalog, now);
    while let Some((_, scope, id)) = dates.next().await? {
        expired += usize::from(expire(catalog, now, (&scope, id), observer).await?);
    }
    Ok(expired)
}

/// Destroys the expired material of one key. A key that changes meanwhile is left for later.
async fn expire(
    catalog: &Catalog,
    now: Timestamp,
    (scope, id): (&Scope, KeyId),
    observer: &impl ExpiryObserver,
) -> Result<bool, CatalogError> {
    let Some(key) = catalog.key(scope, id).await? else { return Ok(false) };
    let gone = |material: &KeyMaterial| material.is_present() && material.has_expired(now);
    let all = key.materials.iter().chain(&key.pending);
    let ids: Vec<MaterialId> = all.filter(|m| gone(m)).map(|material| material.id).collect();
    if ids.is_empty() {
        return Ok(false);
    }
    if let Err(error) = observer.expiring(&key, &ids).await {
        tracing::error!(key = %key.arn(), %error, "cannot record the expiry, material kept");
        return Ok(false);
    }
    let changed = key.without(gone);
    let replicas = if key.is_replica() { Vec::new() } else { catalog.related(&key).await? };
    let update =
        catalog.replace_shared(Stored::clone(&key), &changed, replicas, &BTreeMap::new()).await?;
    let applied = update == Update::Applied;
    if applied {
        tracing::info!(key = %key.arn(), materials = ids.len(), "key material expired");
    }
    Ok(applied)
}
