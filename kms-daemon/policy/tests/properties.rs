//! Properties that hold for all policies.

mod common;

use common::generate::{self, Profile, case};
use common::rng::Rng;
use common::{Case, Outcome};
use kms_policy::{
    ConditionKey, Context, GuardrailPolicy, IdentityPolicy, KeyPolicy, Policies, TrustPolicy,
    Value as ContextValue, authorize, can_put_again, explain,
};
use proptest::prelude::*;
use serde_json::Value;

fn decide(case: &Case) -> Outcome {
    case.compile().expect("documents").decide()
}

/// The statements of a policy.
fn statements(policy: &mut Value) -> &mut Vec<Value> {
    let statements = &mut policy["Statement"];
    if !statements.is_array() {
        *statements = Value::Array(vec![statements.take()]);
    }
    statements.as_array_mut().expect("an array")
}

/// Every policy of a case.
fn policies(case: &mut Case) -> Vec<&mut Value> {
    case.key_policy
        .iter_mut()
        .chain(&mut case.identity)
        .chain(&mut case.boundary)
        .chain(&mut case.session)
        .chain(&mut case.service_control)
        .chain(&mut case.resource_control)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    #[test]
    fn another_denial_never_allows(seed: u64) {
        let rng = &mut Rng::new(seed);
        let mut case = case(rng, Profile::FULL);
        let before = decide(&case);
        let key = generate::key_statement(rng, Profile::FULL);
        let identity = generate::identity_statement(rng, Profile::FULL);
        let named = case.key_policy.is_some() || !case.resource_control.is_empty();
        for policy in policies(&mut case) {
            let statements = statements(policy);
            let resource_based = statements[0].get("Principal").or(statements[0].get("NotPrincipal"));
            let mut deny = if resource_based.is_some() { key.clone() } else { identity.clone() };
            deny["Effect"] = "Deny".into();
            statements.insert(rng.below(statements.len() + 1), deny);
        }
        let after = decide(&case);
        prop_assert!(!after.is_allowed() || before.is_allowed(), "{named} {before:?} {after:?}");
    }

    #[test]
    fn one_allow_less_never_allows(seed: u64) {
        let rng = &mut Rng::new(seed);
        let mut case = case(rng, Profile::FULL);
        let before = decide(&case);
        let mut candidates = policies(&mut case);
        if candidates.is_empty() {
            return Ok(());
        }
        let index = rng.below(candidates.len());
        let statements = statements(candidates[index]);
        let allow = statements.iter().position(|statement| statement["Effect"] == "Allow");
        let Some(allow) = allow.filter(|_| statements.len() > 1) else { return Ok(()) };
        statements.remove(allow);
        let after = decide(&case);
        prop_assert!(!after.is_allowed() || before.is_allowed(), "{before:?} {after:?}");
    }

    #[test]
    fn statements_and_policies_have_no_order(seed: u64) {
        let rng = &mut Rng::new(seed);
        let mut case = case(rng, Profile::FULL);
        let before = decide(&case);
        for policy in policies(&mut case) {
            let statements = statements(policy);
            let middle = rng.below(statements.len());
            statements.rotate_left(middle);
            statements.reverse();
        }
        case.identity.reverse();
        case.session.reverse();
        case.service_control.reverse();
        prop_assert_eq!(decide(&case), before);
    }

    #[test]
    fn an_explanation_decides_the_same_and_names_every_statement(seed: u64) {
        let mut case = case(&mut Rng::new(seed), Profile::FULL);
        let count: usize = policies(&mut case).into_iter().map(|p| statements(p).len()).sum();
        let compiled = case.compile().expect("documents");
        let request = compiled.request();
        compiled.with_policies(|policies| {
            let explanation = explain(&request, policies);
            prop_assert_eq!(explanation.decision, authorize(&request, policies));
            prop_assert_eq!(explanation.statements.len(), count);
            if let Some(kms_policy::Denial::Explicit(location)) = explanation.decision.denial() {
                let report = explanation.statements.iter().find(|r| r.location == location);
                prop_assert!(report.is_some_and(|r| r.applies()));
            }
            Ok(())
        })?;
    }

    #[test]
    fn whoever_can_put_again_is_allowed_to_put(seed: u64) {
        let rng = &mut Rng::new(seed);
        let mut case = case(rng, Profile::FULL);
        case.action = kms_policy::Action::PutKeyPolicy;
        case.grant = None;
        case.service_control.clear();
        case.resource_control.clear();
        let text = generate::key_policy(rng, Profile::FULL);
        case.key_policy = Some(text);
        let compiled = case.compile().expect("documents");
        let policy = compiled.key.as_ref().expect("a key policy");
        let (key, account) = (common::KEY, common::ACCOUNT);
        let again = compiled.with_policies(|policies| {
            can_put_again(policy, key, account, case.who.caller(), policies, &case.context)
        });
        prop_assert_eq!(again, compiled.decide().is_allowed());
    }

    #[test]
    fn any_text_is_read_without_panic(text: String) {
        read(&text);
    }

    #[test]
    fn broken_documents_are_read_without_panic(seed: u64, cuts in prop::collection::vec(any::<(u16, u8)>(), 0..4)) {
        let mut text = generate::key_policy(&mut Rng::new(seed), Profile::FULL).to_string().into_bytes();
        for (at, byte) in cuts {
            let at = usize::from(at) % text.len();
            text[at] = byte;
        }
        read(&String::from_utf8_lossy(&text));
    }

    #[test]
    fn any_value_is_evaluated_without_panic(seed: u64, text: String) {
        struct Always(String);
        impl Context for Always {
            fn value(&self, _: &ConditionKey) -> Option<ContextValue<'_>> {
                Some(ContextValue::from(self.0.as_str()))
            }
        }
        let case = case(&mut Rng::new(seed), Profile::FULL);
        let compiled = case.compile().expect("documents");
        let context = Always(text);
        let request = kms_policy::Request { context: &context, ..compiled.request() };
        compiled.with_policies(|policies| _ = explain(&request, policies));
    }
}

/// Reads a text as every kind of policy, and evaluates what is one.
fn read(text: &str) {
    let _ = (IdentityPolicy::parse(text), TrustPolicy::parse(text), GuardrailPolicy::parse(text));
    if let Ok(policy) = KeyPolicy::parse(text) {
        let caller = common::Who::User.caller();
        let policies = Policies::default();
        let _ = can_put_again(&policy, common::KEY, common::ACCOUNT, caller, &policies, &());
    }
}
