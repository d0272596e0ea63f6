//! `GetKeyRotationStatus`: whether and when a key rotates by itself.

use serde::Deserialize;
use serde_json::json;

use super::call::KeyUse;
use super::checks::Checks;
use super::{Answer, Call};
use crate::error::KmsError;
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    let key = call.authorize(KeyUse::manage(Action::GetKeyRotationStatus, &key_id)).await?;
    // A key that waits for its deletion does not rotate; its schedule waits for a cancellation.
    let schedule = key.rotation.filter(|_| key.deletion.is_none());
    let mut answer = json!({ "KeyId": key.id, "KeyRotationEnabled": schedule.is_some() });
    if let Some(schedule) = schedule {
        answer["RotationPeriodInDays"] = schedule.period_days.into();
        answer["NextRotationDate"] = json!(schedule.next.epoch_seconds());
    }
    Answer::json(&answer)
}
