//! `GetKeyLastUsage`: the last successful cryptographic operation with a key.

use crate::api::call::KeyUse;
use crate::api::model::get_key_last_usage::{Input, Output};
use crate::api::model::outputs::KeyLastUsageData;
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    call.facts.parameter("keyId", key_id.as_str());
    let key = call.authorize(KeyUse::manage(action::GetKeyLastUsage, &key_id)).await?;
    let tracker = call.service.usage();
    let last = tracker.last(&key.scope, key.id).await?;
    let last = last.map_or_else(KeyLastUsageData::default, |usage| KeyLastUsageData {
        operation: Some(usage.operation.into()),
        timestamp: Some(usage.at),
        cloud_trail_event_id: Some(usage.event.to_string().into()),
        kms_request_id: Some(usage.request.to_string().into()),
    });
    Answer::of(&Output {
        key_id: Some(key.id.to_string().into()),
        key_last_usage: Some(last),
        tracking_start_date: Some(tracker.since().max(key.created)),
        key_creation_date: Some(key.created),
    })
}
