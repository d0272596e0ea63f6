//! `ScheduleKeyDeletion`: starts the waiting period at whose end a key is destroyed.

use crate::api::call::KeyUse;
use crate::api::model::schedule_key_deletion::{Input, Output};
use crate::api::{Answer, Call};
use crate::policy::RequestAttributes;
use kms_audit::member_time;
use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_keys::KeyRecord;
use kms_keys::multi_region::MultiRegion;
use kms_model::action;
use kms_model::state::KeyState;

/// The waiting period if none is given, in days.
const DEFAULT_WINDOW: i64 = 30;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let window = input.pending_window_in_days.unwrap_or(DEFAULT_WINDOW);
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("pendingWindowInDays", window);
    let days = u32::try_from(window).map_err(KmsError::internal)?;
    let due = call.service.now().plus_days(days);
    let attributes = RequestAttributes::PendingWindow(window);
    let key_use = KeyUse::manage(action::ScheduleKeyDeletion, &key_id).telling(attributes);
    let key = call.authorize(key_use).await?;
    call.devices().permit_deletion(&key).await?;
    let key = call.update_key(key_use, |key| Ok(scheduled(key, due, days))).await?;
    call.facts.element("keyId", key.arn());
    call.facts.element("keyState", key.state.name());
    match key.deletion {
        Some(due) => call.facts.element("deletionDate", member_time(due.into())),
        None => call.facts.element("pendingWindowInDays", window),
    }
    Answer::of(&Output {
        key_id: Some(key.arn().into()),
        deletion_date: key.deletion,
        key_state: Some(key.state.name().into()),
        pending_window_in_days: Some(window),
    })
}

/// The key in its waiting period. That of a primary begins when its last replica is gone.
fn scheduled(key: &KeyRecord, due: Timestamp, days: u32) -> KeyRecord {
    match key.multi_region.clone() {
        Some(regions) if !key.is_replica() && !regions.replicas.is_empty() => KeyRecord {
            state: KeyState::PendingReplicaDeletion,
            multi_region: Some(MultiRegion { window_days: Some(days), ..regions }),
            ..key.clone()
        },
        _ => KeyRecord { state: KeyState::PendingDeletion, deletion: Some(due), ..key.clone() },
    }
}
