//! `PutKeyPolicy`: replaces the policy of a key.

use crate::api::call::{KeyUse, contended};
use crate::api::checks::invalid;
use crate::api::model::put_key_policy::Input;
use crate::api::{Answer, Call};
use crate::policy::{self, Attachment, DEFAULT_POLICY_NAME, RequestAttributes, Requester, Subject};
use kms_base::error::{Exception, KmsError};
use kms_keys::KeyRecord;
use kms_keys::catalog::Update;
use kms_keys::document::{Bound, KeyPolicy, malformed};
use kms_model::action::{self, Action};

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
    let asked_bypass = input.bypass_policy_lockout_safety_check;
    let bypass = asked_bypass.unwrap_or(false);
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("policyName", policy_name.as_str());
    call.facts.parameter("policy", text.as_str());
    call.facts.parameter("bypassPolicyLockoutSafetyCheck", bypass);
    let bound = call.service.bound(&text).await?;
    let attributes = RequestAttributes::Policy { name: &policy_name, bypass: asked_bypass };
    let key_use = KeyUse::manage(action::PutKeyPolicy, &key_id).telling(attributes);
    for _ in Call::tries() {
        let key = call.authorize(key_use).await?;
        let place = Attachment {
            scope: &key.scope,
            arn: &key.arn(),
            subject: Subject::Key(&key),
            lookups: &call.look_up(Action::PutKeyPolicy, &key).await?,
        };
        let policy = accept(&text, &bound, bypass, call.requester(), place)?;
        let changed = KeyRecord { policy, ..key.value.clone() };
        if call.service.catalog().replace_key(&key, &changed).await? == Update::Applied {
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}

/// Checks a policy that a caller wants to attach to a key. `bound` has the users and roles it names.
///
/// # Errors
/// [`Exception::LimitExceeded`] if it is too long, else [`Exception::MalformedPolicyDocument`].
pub(crate) fn accept(
    text: &str,
    bound: &Bound,
    bypass_lockout_check: bool,
    requester: Requester<'_>,
    place: Attachment<'_>,
) -> Result<KeyPolicy, KmsError> {
    if text.len() > policy::MAX_POLICY {
        let limit = policy::MAX_POLICY;
        let text = format!("A key policy has at most {limit} bytes.");
        return Err(KmsError::new(Exception::LimitExceeded, text));
    }
    let policy = KeyPolicy::parse(text, place.scope, bound).map_err(malformed)?;
    if !bypass_lockout_check {
        policy::check_lockout(&policy, requester, place)?;
    }
    Ok(policy)
}
