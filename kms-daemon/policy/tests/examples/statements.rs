//! Statements of policies, and decisions.

use kms_policy::{Basis, Decision, Denial, Grantee, Grantees, Location, PolicyType};
use serde_json::{Value as Json, json};

/// A statement without conditions.
pub(crate) const ALWAYS: Json = Json::Null;

/// A statement of a key policy that allows. Principals and actions are separated by blanks;
/// actions without a service are of KMS.
pub(crate) fn allow(principals: &str, actions: &str, condition: Json) -> Json {
    key_statement("Allow", principals, actions, condition)
}

/// A statement of a key policy that denies.
pub(crate) fn deny(principals: &str, actions: &str, condition: Json) -> Json {
    key_statement("Deny", principals, actions, condition)
}

/// A statement of an identity policy that allows.
pub(crate) fn may(actions: &str, resources: &str, condition: Json) -> Json {
    statement("Allow", actions, resources, condition)
}

/// A statement of an identity policy that denies.
pub(crate) fn may_not(actions: &str, resources: &str, condition: Json) -> Json {
    statement("Deny", actions, resources, condition)
}

fn key_statement(effect: &str, principals: &str, actions: &str, condition: Json) -> Json {
    let mut statement = statement(effect, actions, "*", condition);
    let kind = if principals.ends_with(".amazonaws.com") { "Service" } else { "AWS" };
    statement["Principal"] = match principals {
        "*" => json!("*"),
        names => json!({ kind: names.split(' ').collect::<Vec<_>>() }),
    };
    statement
}

fn statement(effect: &str, actions: &str, resources: &str, condition: Json) -> Json {
    let qualified = |name: &str| match name.contains(':') {
        true => name.to_owned(),
        false => format!("kms:{name}"),
    };
    let mut statement = json!({
        "Effect": effect,
        "Action": actions.split(' ').map(qualified).collect::<Vec<_>>(),
        "Resource": resources.split(' ').collect::<Vec<_>>(),
    });
    if condition != ALWAYS {
        statement["Condition"] = condition;
    }
    statement
}

/// A grant allows.
pub(crate) const BY_GRANT: Decision = Decision::Allowed(Basis::Grant(Grantee::Caller));

/// Whom other accounts never let do this asks for it.
pub(crate) const OTHER_ACCOUNT: Decision = Decision::Denied(Denial::OtherAccount, Grantees::NONE);

/// That statement of the key policy allows.
pub(crate) const fn by_key(statement: usize) -> Decision {
    Decision::Allowed(Basis::Resource { statement })
}

/// That statement of the key policy lets the account decide, and one of an identity policy
/// allows.
pub(crate) const fn by_account(
    statement: usize,
    policy: usize,
    identity_statement: usize,
) -> Decision {
    Decision::Allowed(Basis::Delegated { statement, policy, identity_statement })
}

/// That statement of that identity policy allows; there is no key.
pub(crate) const fn by_identity(policy: usize, statement: usize) -> Decision {
    Decision::Allowed(Basis::Identity { policy, statement })
}

/// No policy of that type allows.
pub(crate) const fn lacking(policy_type: PolicyType) -> Decision {
    Decision::Denied(Denial::Implicit(policy_type), Grantees::NONE)
}

/// That statement of that policy of that type denies.
pub(crate) const fn denied(policy_type: PolicyType, policy: usize, statement: usize) -> Decision {
    denied_in(policy_type, 0, policy, statement)
}

/// That statement of a guardrail denies.
pub(crate) const fn denied_in(
    policy_type: PolicyType,
    guardrail: usize,
    policy: usize,
    statement: usize,
) -> Decision {
    Decision::Denied(
        Denial::Explicit(Location { policy_type, guardrail, policy, statement }),
        Grantees::NONE,
    )
}
