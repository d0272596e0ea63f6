//! `GetKeyPolicy`: the policy document of a key, exactly as it was put.

use serde::Deserialize;
use serde_json::json;

use super::call::KeyUse;
use super::checks::Checks;
use super::{Answer, Call};
use crate::error::{Exception, KmsError};
use crate::policy::{Action, DEFAULT_POLICY_NAME};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    policy_name: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    let policy_name = checks.policy_name(input.policy_name);
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    call.parameter("policyName", policy_name.as_str());
    let key = call.authorize(KeyUse::manage(Action::GetKeyPolicy, &key_id)).await?;
    if policy_name != DEFAULT_POLICY_NAME {
        return Err(KmsError::new(Exception::NotFound, "No such policy exists"));
    }
    Answer::json(&json!({ "Policy": key.policy.text(), "PolicyName": policy_name }))
}
