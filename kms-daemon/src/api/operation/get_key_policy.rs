//! `GetKeyPolicy`: the policy document of a key, as it was put. A user that was renamed is shown by
//! its new name, and a user or role that is no more by its unique id, as nobody else of its name is meant.

use crate::api::call::KeyUse;
use crate::api::model::get_key_policy::{Input, Output};
use crate::api::{Answer, Call};
use crate::policy::{DEFAULT_POLICY_NAME, RequestAttributes};
use kms_base::error::{Exception, KmsError};
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let policy_name = input.policy_name.unwrap_or_else(|| DEFAULT_POLICY_NAME.to_owned());
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("policyName", policy_name.as_str());
    let attributes = RequestAttributes::PolicyName(&policy_name);
    let key_use = KeyUse::manage(action::GetKeyPolicy, &key_id).telling(attributes);
    let key = call.authorize(key_use).await?;
    if policy_name != DEFAULT_POLICY_NAME {
        return Err(KmsError::new(Exception::NotFound, "No such policy exists"));
    }
    let names = call.service.other_names(key.policy.bound()).await?;
    Answer::of(&Output {
        policy: Some(key.policy.naming(&names)),
        policy_name: Some(policy_name.into()),
    })
}
