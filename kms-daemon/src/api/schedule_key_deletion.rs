//! `ScheduleKeyDeletion`: starts the waiting period at whose end a key is destroyed.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::json;

use super::call::KeyUse;
use super::checks::Checks;
use super::{Answer, Call};
use crate::clock::Timestamp;
use crate::error::KmsError;
use crate::key::multi_region::MultiRegion;
use crate::key::{KeyRecord, KeyState};
use crate::policy::Action;

/// Length of the waiting period in days.
const WINDOW: RangeInclusive<i64> = 7..=30;
/// The waiting period if none is given, in days.
const DEFAULT_WINDOW: i64 = 30;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    pending_window_in_days: Option<i64>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    let window = input.pending_window_in_days.unwrap_or(DEFAULT_WINDOW);
    checks.number("pendingWindowInDays", window, WINDOW);
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    call.parameter("pendingWindowInDays", window);
    let days = u32::try_from(window).map_err(KmsError::internal)?;
    let due = call.now().plus_days(days);
    let key_use = KeyUse::manage(Action::ScheduleKeyDeletion, &key_id);
    let key = call.update_key(key_use, |key| Ok(scheduled(key, due, days))).await?;
    call.element("keyId", key.arn());
    call.element("keyState", key.state.name());
    call.element("pendingWindowInDays", window);
    let mut answer = json!({
        "KeyId": key.arn(),
        "KeyState": key.state,
        "PendingWindowInDays": window,
    });
    if let Some(due) = key.deletion {
        answer["DeletionDate"] = due.epoch_seconds().into();
    }
    Answer::json(&answer)
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
