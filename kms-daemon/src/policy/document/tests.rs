use serde_json::{Value, json};

use super::*;
use crate::key::Scope;

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
    let names: Vec<String> = policy.compiled().principals().map(ToString::to_string).collect();
    assert_eq!(names, ["AIDA1", "AROA1", "111122223333"]);
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
