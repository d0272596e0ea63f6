//! `ListKeyPolicies`: the names of a key's policies, of which there is one.

use serde::Deserialize;
use serde_json::json;

use super::call::KeyUse;
use super::checks::Checks;
use super::{Answer, Call};
use crate::error::KmsError;
use crate::policy::{Action, DEFAULT_POLICY_NAME};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    limit: Option<i64>,
    marker: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    checks.limit(input.limit, 100, 1000);
    checks.marker(input.marker.as_deref());
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    call.optional_parameter("limit", input.limit);
    call.optional_parameter("marker", input.marker.as_deref());
    let key = call.authorize(KeyUse::manage(Action::ListKeyPolicies, &key_id)).await?;
    // No page ends before the only name, so no marker was ever issued.
    call.read_marker(&key.id.to_string(), input.marker.as_deref())?;
    Answer::json(&json!({ "PolicyNames": [DEFAULT_POLICY_NAME], "Truncated": false }))
}
