//! The lockout safety check of `CreateKey`, `ReplicateKey` and `PutKeyPolicy`.
//!
//! Source: the KMS API Reference, parameter `BypassPolicyLockoutSafetyCheck`.

use crate::action::Action;
use crate::authorize::authorize;
use crate::caller::Caller;
use crate::context::{Context, Value};
use crate::key::{ConditionKey, Name};
use crate::policy::KeyPolicy;
use crate::request::{Policies, Request, Resource};

/// Whether `caller` could put another policy on the key `arn` of `account` after `policy`.
///
/// Only the new policy and the caller's own count: no grants, no guardrails. A statement that
/// names the account counts if the caller's identity policies allow `kms:PutKeyPolicy`.
/// `context` is that of the present request; the later one is about the policy called `default`
/// and does not ask to bypass this check.
#[must_use]
pub fn can_put_again<'a>(
    policy: &'a KeyPolicy,
    arn: &'a str,
    account: &'a str,
    caller: Caller<'a>,
    policies: &Policies<'a>,
    context: &'a dyn Context,
) -> bool {
    let Policies { identity, boundary, session, .. } = *policies;
    let policies = Policies { identity, boundary, session, ..Policies::default() };
    // The later request can leave the parameter out, or say that it does not ask.
    [None, Some(false)].into_iter().any(|bypass| {
        let request = Request {
            caller,
            action: Action::PutKeyPolicy,
            resource: Resource::Key { arn, account, policy: Some(policy) },
            context: &LaterRequest { context, bypass },
        };
        authorize(&request, &policies).is_allowed()
    })
}

struct LaterRequest<'a> {
    context: &'a dyn Context,
    bypass: Option<bool>,
}

impl Context for LaterRequest<'_> {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        match key.name() {
            Name::PolicyName => Some(Value::from("default")),
            Name::BypassPolicyLockoutSafetyCheck => self.bypass.map(Value::Bool),
            _ => self.context.value(key),
        }
    }
}

#[cfg(test)]
mod tests;
