use super::*;
use crate::policy::IdentityPolicy;

const ACCOUNT: &str = "111122223333";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234";

/// A request that bypasses the check, about a policy of another name.
struct Bypassing;

impl Context for Bypassing {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        match key.name() {
            Name::PolicyName => Some(Value::from("other")),
            Name::BypassPolicyLockoutSafetyCheck => Some(Value::Bool(true)),
            _ => None,
        }
    }
}

fn key_policy(principal: &str, action: &str, more: &str) -> KeyPolicy {
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},
            "Action":"{action}","Resource":"*"{more}}}}}"#
    );
    KeyPolicy::parse(&text).unwrap()
}

#[test]
fn the_caller_can_put_again() {
    let root = Caller::root("arn:aws:iam::111122223333:root").unwrap();
    let user = Caller::user("arn:aws:iam::111122223333:user/ana").unwrap();
    let foreign = Caller::user("arn:aws:iam::999999999999:user/ana").unwrap();
    let allow = IdentityPolicy::parse(
        r#"{"Statement":{"Effect":"Allow","Action":"kms:PutKeyPolicy","Resource":"*"}}"#,
    )
    .unwrap();
    let allow = std::slice::from_ref(&allow);
    let named = r#","Condition":{"StringEquals":{"kms:PolicyName":"default"}}"#;
    let bypass = r#","Condition":{"Bool":{"kms:BypassPolicyLockoutSafetyCheck":"true"}}"#;
    for (principal, action, more, caller, identity, expected) in [
        (ACCOUNT, "kms:*", "", root, &[][..], true),
        (ACCOUNT, "kms:*", "", user, &[], false),
        (ACCOUNT, "kms:*", "", user, allow, true),
        (ACCOUNT, "kms:Encrypt", "", user, allow, false),
        (user.arn(), "kms:PutKeyPolicy", "", user, &[], true),
        (user.arn(), "kms:PutKeyPolicy", "", root, &[], false),
        (user.arn(), "kms:PutKeyPolicy", named, user, &[], true),
        (user.arn(), "kms:PutKeyPolicy", bypass, user, &[], false),
        ("*", "kms:*", "", user, &[], true),
        ("999999999999", "kms:*", "", foreign, allow, false),
    ] {
        let policy = key_policy(principal, action, more);
        let policies = Policies { identity, ..Policies::default() };
        for context in [&() as &dyn Context, &Bypassing] {
            let again = can_put_again(&policy, KEY, ACCOUNT, caller, &policies, context);
            assert_eq!(again, expected, "{principal} {action} {more} {caller:?}");
        }
    }
}
