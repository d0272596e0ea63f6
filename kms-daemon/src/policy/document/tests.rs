use proptest::prelude::*;
use serde_json::json;

use super::*;

const ARN: &str = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn scope() -> Scope {
    Scope::new("000000000000", "us-east-1")
}

fn parse(document: &Value) -> Result<KeyPolicy, PolicyError> {
    KeyPolicy::parse(document.to_string(), &scope())
}

fn decide(statements: Value, action: Action) -> Decision {
    let policy = parse(&json!({ "Statement": statements })).unwrap();
    policy.evaluate(&Principal::root("000000000000", "AKIAEXAMPLE"), action, ARN)
}

fn allow(more: Value) -> Value {
    let mut statement =
        json!({ "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*" });
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => statement.as_object_mut().unwrap().remove(name),
            value => statement.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    statement
}

#[test]
fn the_default_policy_means_what_its_text_says() {
    let policy = KeyPolicy::default_for(&scope());
    let parsed = KeyPolicy::parse(policy.text().to_owned(), &scope()).unwrap();
    assert_eq!(parsed, policy);
    for action in Action::ALL {
        let own = Principal::root("000000000000", "AKIAEXAMPLE");
        assert_eq!(policy.evaluate(&own, *action, ARN), Decision::Allowed);
        let foreign = Principal::root("111122223333", "AKIAEXAMPLE");
        assert_eq!(policy.evaluate(&foreign, *action, ARN), Decision::NotAllowed);
    }
}

#[test]
fn principals_are_matched_exactly() {
    let root = "arn:aws:iam::000000000000:root";
    for (principal, expected) in [
        (json!("*"), Decision::Allowed),
        (json!({ "AWS": "*" }), Decision::Allowed),
        (json!({ "AWS": "000000000000" }), Decision::Allowed),
        (json!({ "AWS": root }), Decision::Allowed),
        (json!({ "AWS": ["111122223333", root] }), Decision::Allowed),
        (json!({ "AWS": "111122223333" }), Decision::NotAllowed),
        (json!({ "Service": "s3.amazonaws.com" }), Decision::NotAllowed),
        (json!({ "Service": "s3.amazonaws.com", "AWS": root }), Decision::Allowed),
    ] {
        let decision = decide(allow(json!({ "Principal": principal })), Action::Encrypt);
        assert_eq!(decision, expected, "{principal}");
    }
}

#[test]
fn actions_are_matched_without_case_and_with_wildcards() {
    for (action, expected) in [
        (json!("kms:Encrypt"), Decision::Allowed),
        (json!("KMS:encrypt"), Decision::Allowed),
        (json!("*"), Decision::Allowed),
        (json!("kms:?ncrypt"), Decision::Allowed),
        (json!(["kms:Decrypt", "kms:En*"]), Decision::Allowed),
        (json!("kms:Decrypt"), Decision::NotAllowed),
        (json!("kms:Encryp"), Decision::NotAllowed),
        (json!("kms:ReEncrypt*"), Decision::NotAllowed),
    ] {
        let decision = decide(allow(json!({ "Action": action })), Action::Encrypt);
        assert_eq!(decision, expected, "{action}");
    }
    let both = allow(json!({ "Action": "kms:ReEncrypt*" }));
    assert_eq!(decide(both.clone(), Action::ReEncryptFrom), Decision::Allowed);
    assert_eq!(decide(both, Action::ReEncryptTo), Decision::Allowed);
}

#[test]
fn opposites_are_complements() {
    let not_action = allow(json!({ "Action": null, "NotAction": "kms:Decrypt" }));
    assert_eq!(decide(not_action.clone(), Action::Encrypt), Decision::Allowed);
    assert_eq!(decide(not_action, Action::Decrypt), Decision::NotAllowed);
    let not_resource = allow(json!({ "Resource": null, "NotResource": ARN }));
    assert_eq!(decide(not_resource, Action::Encrypt), Decision::NotAllowed);
    let deny_others = json!([
        allow(json!({})),
        { "Effect": "Deny", "NotPrincipal": { "AWS": "000000000000" }, "Action": "*", "Resource": "*" },
    ]);
    assert_eq!(decide(deny_others, Action::Encrypt), Decision::Allowed);
    let deny_own = json!([
        allow(json!({})),
        { "Effect": "Deny", "NotPrincipal": { "AWS": "111122223333" }, "Action": "*", "Resource": "*" },
    ]);
    assert_eq!(decide(deny_own, Action::Encrypt), Decision::ExplicitDeny);
}

#[test]
fn deny_wins_and_resources_are_this_key() {
    let denied =
        json!([allow(json!({})), allow(json!({ "Effect": "Deny", "Action": "kms:Decrypt" }))]);
    assert_eq!(decide(denied.clone(), Action::Decrypt), Decision::ExplicitDeny);
    assert_eq!(decide(denied, Action::Encrypt), Decision::Allowed);
    assert_eq!(decide(allow(json!({ "Resource": ARN })), Action::Encrypt), Decision::Allowed);
    let other = allow(json!({ "Resource": format!("{ARN}0") }));
    assert_eq!(decide(other, Action::Encrypt), Decision::NotAllowed);
}

#[test]
fn statements_without_action_or_resource_are_inert() {
    for missing in ["Action", "Resource"] {
        let inert = allow(json!({ missing: null }));
        assert_eq!(decide(inert, Action::Encrypt), Decision::NotAllowed);
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    for statement in [
        allow(json!({ "Condition": { "StringEquals": { "kms:CallerAccount": "000000000000" } } })),
        allow(json!({ "Principal": null, "NotPrincipal": { "AWS": "111122223333" } })),
        allow(json!({ "Principal": { "Federated": "cognito-identity.amazonaws.com" } })),
        allow(json!({ "Resource": "arn:aws:kms:*:000000000000:key/*" })),
        allow(json!({ "Resource": "${aws:username}" })),
    ] {
        let outcome = parse(&json!({ "Statement": statement }));
        assert!(matches!(outcome, Err(PolicyError::NotEvaluated(_))), "{statement}");
    }
    assert!(parse(&json!({ "Statement": allow(json!({ "Condition": {} })) })).is_ok());
}

#[test]
fn principals_that_do_not_exist_are_refused() {
    for principal in [
        json!({ "AWS": "arn:aws:iam::000000000000:user/alice" }),
        json!({ "AWS": "arn:aws:iam::000000000000:role/ops" }),
        json!({ "AWS": "arn:aws:iam::0000:root" }),
        json!({ "AWS": "arn:aws-cn:iam::000000000000:root" }),
        json!({ "AWS": "arn:aws:iam::000000000000:user/*" }),
        json!({ "AWS": "AIDAEXAMPLE" }),
        json!({ "Service": "example.com" }),
        json!({ "Group": "x" }),
    ] {
        let outcome = parse(&json!({ "Statement": allow(json!({ "Principal": principal })) }));
        assert!(matches!(outcome, Err(PolicyError::Principal(_))), "{principal}");
    }
}

#[test]
fn bad_grammar_is_refused() {
    let documents = [
        json!([]),
        json!("policy"),
        json!({}),
        json!({ "Statement": [] }),
        json!({ "Statement": "x" }),
        json!({ "Version": "2020-01-01", "Statement": allow(json!({})) }),
        json!({ "Extra": 1, "Statement": allow(json!({})) }),
        json!({ "Statement": allow(json!({ "Effect": "allow" })) }),
        json!({ "Statement": allow(json!({ "Effect": null })) }),
        json!({ "Statement": allow(json!({ "Principal": null })) }),
        json!({ "Statement": allow(json!({ "Principal": {} })) }),
        json!({ "Statement": allow(json!({ "Principal": "000000000000" })) }),
        json!({ "Statement": allow(json!({ "NotAction": "kms:Decrypt" })) }),
        json!({ "Statement": allow(json!({ "Action": [] })) }),
        json!({ "Statement": allow(json!({ "Action": 7 })) }),
        json!({ "Statement": allow(json!({ "Action": "s3:GetObject" })) }),
        json!({ "Statement": allow(json!({ "Action": "Encrypt" })) }),
        json!({ "Statement": allow(json!({ "Sid": 1 })) }),
        json!({ "Statement": allow(json!({ "Principals": "*" })) }),
    ];
    for document in documents {
        let outcome = parse(&document);
        assert!(matches!(outcome, Err(PolicyError::Syntax(_))), "{document}: {outcome:?}");
    }
    let repeated = r#"{"Statement":{"Effect":"Deny","Effect":"Allow","Principal":"*"}}"#;
    assert!(KeyPolicy::parse(repeated.to_owned(), &scope()).is_err());
    assert!(KeyPolicy::parse(String::new(), &scope()).is_err());
}

/// The obvious, exponential definition of wildcards.
fn reference_glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| reference_glob(rest, &text[skip..])),
        Some((byte, rest)) => text.split_first().is_some_and(|(first, text)| {
            (*byte == b'?' || byte == first) && reference_glob(rest, text)
        }),
    }
}

proptest! {
    #[test]
    fn glob_agrees_with_its_definition(pattern in "[ab?*]{0,8}", text in "[ab]{0,10}") {
        let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(glob(pattern, text), reference_glob(pattern, text));
    }

    #[test]
    fn no_document_makes_parsing_panic(text in "\\PC{0,200}") {
        let _ = KeyPolicy::parse(text, &scope());
    }
}
