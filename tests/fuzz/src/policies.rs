//! Policy documents.

use kms_policy::{
    Action, Caller, ConditionKey, Context, GuardrailPolicy, IdentityPolicy, KeyPolicy, Policies,
    Request, Resource, TrustPolicy, Value, authorize, explain,
};

const ACCOUNT: &str = "111122223333";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// A request in which every condition key has the text of its own name.
struct Names;

impl Context for Names {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        Some(Value::from(key.parameter().to_owned()))
    }
}

/// Whatever is a policy can be evaluated, and explained with the same answer; a document that
/// only denies allows nobody.
pub(crate) fn documents(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = (TrustPolicy::parse(text), GuardrailPolicy::parse(text));
    let identity: Vec<IdentityPolicy> = IdentityPolicy::parse(text).into_iter().collect();
    let key = KeyPolicy::parse(text).ok();
    let caller = Caller::user("arn:aws:iam::111122223333:user/ana").expect("the ARN of a user");
    for context in [&Names as &dyn Context, &()] {
        for action in [Action::Decrypt, Action::PutKeyPolicy] {
            let resource = match &key {
                Some(policy) => Resource::Key { arn: KEY, account: ACCOUNT, policy: Some(policy) },
                None => Resource::Account { arn: Some(KEY), account: ACCOUNT },
            };
            let request = Request { caller, action, resource, context };
            let policies = Policies { identity: &identity, ..Policies::default() };
            let decision = authorize(&request, &policies);
            assert_eq!(explain(&request, &policies).decision, decision);
            // Only the escaped form could hide the word.
            let allows = text.contains("Allow") || text.contains("\\u");
            assert!(allows || !decision.is_allowed(), "allowed by nothing");
        }
    }
}
