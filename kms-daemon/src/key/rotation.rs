//! Rotation: key material made anew, by hand or by the calendar. Old material decrypts for ever.
//!
//! Due dates are in the store, so they survive restarts; the change of a key is guarded by the
//! revision that was read, so of many daemons one rotates it.

use std::sync::Arc;
use std::time::Duration;

use hsm_protocol::MaterialId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::catalog::Update;
use super::due::{self, DueDates};
use super::{Catalog, CatalogError, KeyId, KeyMaterial, KeyRecord, KeyState, Scope, layout};
use crate::audit::DeviceReceipt;
use crate::clock::{Clock, Timestamp};
use crate::error::KmsError;
use crate::policy::service;
use crate::regions::{Regions, Shared};

/// How often due dates are looked at.
const INTERVAL: Duration = Duration::from_secs(60);
/// On-demand rotations of a key in its life.
pub const MAX_ON_DEMAND: usize = 25;

/// The calendar of a key that rotates by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Days between rotations.
    pub period_days: u32,
    /// When the next one is due.
    pub next: Timestamp,
}

/// What brought a key its material; the first one came with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotated {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub by: RotationType,
}

/// Why a key was rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RotationType {
    /// By its schedule.
    Automatic,
    /// By a request.
    OnDemand,
}

impl RotationType {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automatic => "AUTOMATIC",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

impl KeyRecord {
    /// The key with new material, which encrypts from now on. The schedule goes on from now if it
    /// was due.
    #[must_use]
    pub fn rotated(&self, material: KeyMaterial, at: Timestamp, by: RotationType) -> Self {
        let mut key = self.clone();
        key.pending = None;
        key.materials.push(KeyMaterial { rotated: Some(Rotated { at, by }), ..material });
        if let (RotationType::Automatic, Some(schedule)) = (by, &mut key.rotation) {
            schedule.next = at.plus_days(schedule.period_days);
        }
        key
    }

    /// On-demand rotations so far.
    #[must_use]
    pub fn on_demand_rotations(&self) -> usize {
        let by_hand = |material: &&KeyMaterial| {
            material.rotated.is_some_and(|rotated| rotated.by == RotationType::OnDemand)
        };
        self.materials.iter().filter(by_hand).count()
    }
}

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

/// Rotates keys that are due, until the task is aborted.
pub async fn run(
    catalog: Arc<Catalog>,
    regions: Arc<Regions>,
    clock: Arc<dyn Clock>,
    observer: Arc<impl RotationObserver>,
) {
    let mut interval = due::every(INTERVAL);
    loop {
        interval.tick().await;
        if let Err(error) = rotate_due(&catalog, &regions, clock.now(), &*observer).await {
            tracing::error!(%error, "cannot rotate due keys, will try again");
        }
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
    let mut dates = DueDates::new(catalog, layout::ROTATIONS, now);
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
