//! `GetKeyRotationStatus`: whether and when a key rotates by itself.

use crate::api::call::KeyUse;
use crate::api::model::get_key_rotation_status::{Input, Output};
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    call.facts.parameter("keyId", key_id.as_str());
    let key = call.authorize(KeyUse::manage(action::GetKeyRotationStatus, &key_id)).await?;
    // A key that waits for its deletion does not rotate; its schedule waits for a cancellation.
    let schedule = key.rotation.filter(|_| key.deletion.is_none());
    Answer::of(&Output {
        key_id: Some(key.arn().into()),
        key_rotation_enabled: Some(schedule.is_some()),
        rotation_period_in_days: schedule.map(|schedule| schedule.period_days.into()),
        next_rotation_date: schedule.map(|schedule| schedule.next),
        ..Output::default()
    })
}
