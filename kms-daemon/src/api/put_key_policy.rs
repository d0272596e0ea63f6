//! `PutKeyPolicy`: replaces the policy of a key.

use super::call::KeyUse;
use super::checks::invalid;
use super::model::put_key_policy::Input;
use super::{Answer, Call};
use crate::error::{Exception, KmsError};
use crate::key::{KeyRecord, Scope};
use crate::policy::{self, Action, Asker, Bound, DEFAULT_POLICY_NAME, KeyPolicy};

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
    let (asker, bound) = (call.asker(), call.bound(&text).await?);
    call.update_key(KeyUse::manage(Action::PutKeyPolicy, &key_id), |key| {
        let policy = accept(&text, &bound, bypass, asker, (&key.scope, &key.arn(), Some(key)))?;
        Ok(KeyRecord { policy, ..key.clone() })
    })
    .await?;
    Ok(Answer::empty())
}

/// Checks a policy that a caller wants to attach to the key `arn`. `bound` has the users and roles
/// it names, `key` is there unless it is still to be made.
///
/// # Errors
/// [`Exception::LimitExceeded`] if it is too long, else [`Exception::MalformedPolicyDocument`].
pub(crate) fn accept(
    text: &str,
    bound: &Bound,
    bypass_lockout_check: bool,
    asker: Asker<'_>,
    (scope, arn, key): (&Scope, &str, Option<&KeyRecord>),
) -> Result<KeyPolicy, KmsError> {
    if text.len() > policy::MAX_POLICY {
        let limit = policy::MAX_POLICY;
        let text = format!("A key policy has at most {limit} bytes.");
        return Err(KmsError::new(Exception::LimitExceeded, text));
    }
    let policy = KeyPolicy::parse(text, scope, bound)?;
    if !bypass_lockout_check {
        policy::check_lockout(&policy, asker, (scope, arn, key))?;
    }
    Ok(policy)
}
