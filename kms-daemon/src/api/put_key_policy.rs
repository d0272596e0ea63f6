//! `PutKeyPolicy`: replaces the policy of a key.

use super::call::KeyUse;
use super::checks::invalid;
use super::model::put_key_policy::Input;
use super::{Answer, Call};
use crate::error::{Exception, KmsError};
use crate::key::{KeyRecord, Scope};
use crate::policy::{self, Action, DEFAULT_POLICY_NAME, KeyPolicy};
use crate::principal::Principal;

/// The policy that sharing through AWS RAM would attach.
const RAM_POLICY_NAME: &str = "AWS_RAM";

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let policy_name = input.policy_name.unwrap_or_else(|| DEFAULT_POLICY_NAME.to_owned());
    let text = input.policy;
    match policy_name.as_str() {
        DEFAULT_POLICY_NAME => {}
        RAM_POLICY_NAME => {
            return Err(invalid("The AWS_RAM policy can only be managed by the RAM service"));
        }
        _ => return Err(invalid("PolicyName must be default.")),
    }
    let bypass = input.bypass_policy_lockout_safety_check.unwrap_or(false);
    call.parameter("keyId", key_id.as_str());
    call.parameter("policyName", policy_name);
    call.parameter("policy", text.as_str());
    call.parameter("bypassPolicyLockoutSafetyCheck", bypass);
    let principal = call.principal();
    call.update_key(KeyUse::manage(Action::PutKeyPolicy, &key_id), |key| {
        let policy = accept(text.clone(), bypass, principal, &key.scope, &key.arn())?;
        Ok(KeyRecord { policy, ..key.clone() })
    })
    .await?;
    Ok(Answer::empty())
}

/// Checks a policy that `principal` wants to attach to the key `arn`.
///
/// # Errors
/// [`Exception::LimitExceeded`] if it is too long, else [`Exception::MalformedPolicyDocument`].
pub(crate) fn accept(
    text: String,
    bypass_lockout_check: bool,
    principal: &Principal,
    scope: &Scope,
    arn: &str,
) -> Result<KeyPolicy, KmsError> {
    if text.len() > policy::MAX_POLICY {
        let limit = policy::MAX_POLICY;
        let text = format!("A key policy has at most {limit} bytes.");
        return Err(KmsError::new(Exception::LimitExceeded, text));
    }
    let policy = KeyPolicy::parse(text, scope)?;
    if !bypass_lockout_check {
        policy::check_lockout(&policy, principal, arn)?;
    }
    Ok(policy)
}
