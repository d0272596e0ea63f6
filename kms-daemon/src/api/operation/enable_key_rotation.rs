//! `EnableKeyRotation`: makes a key rotate by itself, for the first time a period from now. Of a key
//! that rotates already, it changes the period if the request has one.

use crate::api::call::KeyUse;
use crate::api::model::enable_key_rotation::Input;
use crate::api::{Answer, Call};
use crate::policy::RequestAttributes;
use kms_base::error::KmsError;
use kms_keys::KeyRecord;
use kms_keys::rotation::Schedule;
use kms_model::action;

/// Days between rotations, unless the request says.
const DEFAULT_PERIOD: i64 = 365;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let asked = input.rotation_period_in_days;
    let period = asked.unwrap_or(DEFAULT_PERIOD);
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("rotationPeriodInDays", period);
    let period_days = u32::try_from(period).map_err(KmsError::internal)?;
    let schedule = Schedule { period_days, next: call.service.now().plus_days(period_days) };
    let attributes = RequestAttributes::RotationPeriod(period);
    let key_use = KeyUse::manage(action::EnableKeyRotation, &key_id).telling(attributes);
    call.update_shared(key_use, |key| {
        let goes_on = |present: &Schedule| asked.is_none() || present.period_days == period_days;
        let present = key.rotation.filter(goes_on);
        Ok(KeyRecord { rotation: present.or(Some(schedule)), ..key.clone() })
    })
    .await?;
    Ok(Answer::empty())
}
