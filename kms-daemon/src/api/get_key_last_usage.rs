//! `GetKeyLastUsage`: the last successful cryptographic operation with a key.

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
    let key = call.authorize(KeyUse::manage(Action::GetKeyLastUsage, &key_id)).await?;
    let tracker = call.usage();
    let last = match tracker.last(&key.scope, key.id).await? {
        None => json!({}),
        Some(usage) => json!({
            "Operation": usage.operation,
            "Timestamp": usage.at.epoch_seconds(),
            "CloudTrailEventId": usage.event,
            "KmsRequestId": usage.request,
        }),
    };
    Answer::json(&json!({
        "KeyId": key.id,
        "KeyLastUsage": last,
        "TrackingStartDate": tracker.since().max(key.created).epoch_seconds(),
        "KeyCreationDate": key.created.epoch_seconds(),
    }))
}
