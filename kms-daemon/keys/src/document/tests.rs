use serde_json::{Value, json};

use super::*;
use kms_base::identifier::Scope;

const ANA: &str = "arn:aws:iam::000000000000:user/ana";
const ROLE: &str = "arn:aws:iam::000000000000:role/team/ops";

fn scope() -> Scope {
    Scope::new("000000000000", "us-east-1")
}

fn naming(principal: Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*" } })
    .to_string()
}

#[test]
fn policies_of_ours_are_policies() {
    for region in ["us-east-1", "eu-west-1", "us-gov-west-1", "xy-12"] {
        let scope = Scope::new("123456789012", region);
        let default = KeyPolicy::default_for(&scope);
        assert_eq!(default.compiled().sid(0), Some("Enable IAM User Permissions"));
        let managed = KeyPolicy::managed_for(&scope, "s3");
        assert_eq!(managed.compiled().statement_count(), 2);
        assert!(managed.text().contains(&format!("s3.{region}.amazonaws.com")));
    }
    assert_eq!(KeyPolicy::closed().compiled().statement_count(), 1);
    assert_eq!(KeyPolicy::silent().compiled().statement_count(), 1);
}

#[test]
fn a_document_is_kept_as_it_was_put() {
    let text = format!("\n {}\t", naming(json!("*")));
    let policy = KeyPolicy::parse(&text, &scope(), &Bound::new()).unwrap();
    assert_eq!(policy.text(), text);
}

#[test]
fn users_and_roles_are_those_of_when_it_was_put() {
    let text = naming(json!({ "AWS": [ANA, ROLE, "111122223333"] }));
    let bound = |names: &[(&str, &str)]| {
        names.iter().map(|(arn, id)| ((*arn).to_owned(), (*id).to_owned())).collect::<Bound>()
    };
    let both = bound(&[(ANA, "AIDA1"), (ROLE, "AROA1")]);
    let policy = KeyPolicy::parse(&text, &scope(), &both).unwrap();
    assert_eq!(*policy.bound(), both);
    let principals: Vec<_> = policy.compiled().principals().cloned().collect();
    let named = |arn: &str, id: &str| NamedPrincipal::Bound { arn: arn.into(), id: id.into() };
    assert_eq!(principals[..2], [named(ANA, "AIDA1"), named(ROLE, "AROA1")]);
    assert_eq!(principals[2].to_string(), "111122223333");
    for some in [Bound::new(), bound(&[(ANA, "AIDA1")]), bound(&[(ROLE, "AROA1")])] {
        let error = KeyPolicy::parse(&text, &scope(), &some).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("Policy contains a statement with one or more invalid principals: ")
        );
    }
}

#[test]
fn principals_that_do_not_exist_are_refused() {
    for principal in [
        json!({ "AWS": ANA }),
        json!({ "AWS": ROLE }),
        json!({ "AWS": "arn:aws:sts::000000000000:assumed-role/ops/s" }),
        json!({ "AWS": "arn:aws:iam::0000:root" }),
        json!({ "AWS": "arn:aws-cn:iam::000000000000:root" }),
        json!({ "AWS": "arn:aws:iam::000000000000:user/*" }),
        json!({ "AWS": "AIDAEXAMPLE" }),
        json!({ "Federated": "cognito-identity.amazonaws.com" }),
    ] {
        let outcome = KeyPolicy::parse(&naming(principal.clone()), &scope(), &Bound::new());
        assert!(outcome.is_err(), "{principal}");
    }
}

/// Whoever asks, whatever they were granted: there is no such key.
#[test]
fn what_stands_for_a_missing_key_is_closed_to_everybody() {
    use kms_policy::{Action, Caller, ConditionKey, Context, Value};

    struct Silent;

    impl Context for Silent {
        fn value(&self, _: &ConditionKey) -> Option<Value<'_>> {
            None
        }
    }

    let policy = KeyPolicy::decoy_for(&Scope::new("000000000000", "us-east-1"));
    let own =
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    let identity = [kms_policy::IdentityPolicy::parse(own).unwrap()];
    for caller in [
        Caller::root("arn:aws:iam::111122223333:root"),
        Caller::root("arn:aws:iam::000000000000:root"),
        Caller::user("arn:aws:iam::111122223333:user/ana"),
    ] {
        let resource = kms_policy::Resource::Key {
            arn: "arn:aws:kms:us-east-1:000000000000:key/x",
            account: "000000000000",
            policy: Some(policy.compiled()),
        };
        let caller = caller.unwrap();
        let policies =
            kms_policy::Policies { identity: &identity, ..kms_policy::Policies::default() };
        for action in Action::ALL.iter().filter(|action| action.name().starts_with("kms:")) {
            let request =
                kms_policy::Request { caller, action: *action, resource, context: &Silent };
            let decision = kms_policy::authorize(&request, &policies);
            let granted = decision.with_grant(kms_policy::Grantee::Caller);
            assert!(!granted.is_allowed(), "{action}");
        }
    }
}
