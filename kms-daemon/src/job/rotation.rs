//! Rotates keys by their calendar.
//!
//! Due dates are in the store, so they survive restarts; the change of a key is guarded by the
//! revision that was read, so of many daemons one rotates it.

use std::time::Duration;

use hsm_protocol::MaterialId;
use serde_json::json;
use uuid::Uuid;

use crate::policy::service;
use crate::regions::{Regions, Shared};
use host_driver::audit::DeviceReceipt;
use kms_audit::AuditLog;
use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_base::identifier::{KeyId, Scope};
use kms_keys::catalog::Update;
use kms_keys::due::DueDates;
use kms_keys::rotation::RotationType;
use kms_keys::{Catalog, CatalogError, KeyRecord};
use kms_model::state::KeyState;

/// How often due dates are looked at.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// Told of each scheduled rotation right before it counts; an error leaves the key as it is.
pub trait RotationObserver: Send + Sync + 'static {
    /// Records that `key` is about to get `material`, which devices made as `receipts` say.
    ///
    /// # Errors
    /// A text for the log. The rotation is tried again later.
    fn rotating(
        &self,
        key: &KeyRecord,
        material: MaterialId,
        receipts: &[DeviceReceipt],
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// A key rotates by itself only after the record of it is durable.
impl RotationObserver for AuditLog {
    async fn rotating(
        &self,
        key: &KeyRecord,
        material: MaterialId,
        receipts: &[DeviceReceipt],
    ) -> Result<(), String> {
        let previous = key.current_material().map(|material| material.id.to_string());
        let details = json!({
            "keyId": key.id,
            "rotationType": "AUTOMATIC",
            "keyOrigin": key.origin_name(),
            "previousKeyMaterialId": previous,
            "currentKeyMaterialId": material.to_string(),
        });
        self.service_event("RotateKey", (&key.scope, &key.arn()), &details, None, receipts).await
    }
}

/// Rotates every enabled key that is due at `now`, and returns how many. One that cannot be
/// rotated now stays due.
///
/// # Errors
/// [`CatalogError`]; keys rotated before it stay rotated.
pub async fn rotate_due(
    catalog: &Catalog,
    regions: &Regions,
    now: Timestamp,
    observer: &impl RotationObserver,
) -> Result<usize, CatalogError> {
    let mut rotated = 0;
    let mut dates = DueDates::rotations(catalog, now);
    while let Some((due, scope, id)) = dates.next().await? {
        let done = rotate(catalog, regions, (due, now), (&scope, id), observer).await?;
        rotated += usize::from(done);
    }
    Ok(rotated)
}

/// Rotates one key if it is still due. A key that changes meanwhile is left for later.
async fn rotate(
    catalog: &Catalog,
    regions: &Regions,
    (due, now): (Timestamp, Timestamp),
    (scope, id): (&Scope, KeyId),
    observer: &impl RotationObserver,
) -> Result<bool, CatalogError> {
    let Some(key) = catalog.key(scope, id).await? else { return Ok(false) };
    // A disabled key waits until it is enabled.
    if key.state != KeyState::Enabled || key.rotation.is_none_or(|s| s.next != due) {
        return Ok(false);
    }
    let arn = key.arn();
    let Some(key) = service::vouched_by_schedule(key, now) else { return Ok(false) };
    let replicas = key.for_replicas();
    let mut receipts = Vec::new();
    let tag = Uuid::new_v4().into_bytes();
    let made = async {
        let engine = regions.engine(&scope.region)?;
        let material = engine.devices(tag, &mut receipts).rotate(&key).await?;
        let next = key.rotated(material, now, RotationType::Automatic);
        let shared =
            Shared::prepare(catalog, regions, (tag, &mut receipts), &replicas, &next).await?;
        Ok::<_, KmsError>((next, shared))
    };
    let (next, shared) = match made.await {
        Ok(made) => made,
        Err(error) => {
            tracing::error!(key = arn, %error, "cannot rotate the key now, will try again");
            return Ok(false);
        }
    };
    let Some(material) = next.current_material() else { return Ok(false) };
    if let Err(error) = observer.rotating(&key, material.id, &receipts).await {
        tracing::error!(key = arn, %error, "cannot record the rotation, key left as it is");
        return Ok(false);
    }
    let applied = shared.commit(catalog, &replicas, &next).await? == Update::Applied;
    if applied {
        tracing::info!(key = arn, materials = next.materials.len(), "key rotated");
    }
    Ok(applied)
}
