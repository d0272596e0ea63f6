//! Documents that the guides say are not accepted, or that they show and contradict.

use kms_policy::{Fault, IdentityPolicy, KeyPolicy, PolicyError};
use serde_json::{Value, json};

use super::people::{ANA, ROOT};

/// Why a key policy with that statement is refused.
fn fault_in_key_policy(statement: Value) -> Fault {
    refusal(KeyPolicy::parse(&document(statement)).map(drop))
}

/// Why an identity policy with that statement is refused.
fn fault_in_identity_policy(statement: Value) -> Fault {
    refusal(IdentityPolicy::parse(&document(statement)).map(drop))
}

fn document(statement: Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": statement }).to_string()
}

fn refusal(outcome: Result<(), PolicyError>) -> Fault {
    outcome.expect_err("the document is refused").fault
}

/// A statement of a key policy with other elements than usual.
fn with(more: Value) -> Value {
    let mut statement = json!({
        "Effect": "Allow", "Principal": { "AWS": ROOT }, "Action": "kms:Decrypt", "Resource": "*"
    });
    for (name, value) in more.as_object().expect("members") {
        statement[name] = value.clone();
    }
    statement
}

/// KMS Developer Guide, "AWS KMS condition keys: Using set operators with condition keys".
#[test]
fn conditions_that_hold_for_requests_without_the_key() {
    for key in ["kms:EncryptionContext:Department", "aws:RequestTag/Department"] {
        let condition = json!({ "ForAllValues:StringEquals": { key: "Tax" } });
        let fault = fault_in_key_policy(with(json!({ "Condition": condition })));
        assert!(matches!(&fault, Fault::OverlyPermissive(own) if own == key), "{fault:?}");
    }
}

/// KMS Developer Guide, "Using tags to control access to KMS keys" and "kms:ResourceAliases": in
/// IAM policies only.
#[test]
fn conditions_on_what_a_key_policy_is_about_anyway() {
    for (operator, key) in [
        ("StringEquals", "aws:ResourceTag/Purpose"),
        ("ForAnyValue:StringEquals", "kms:ResourceAliases"),
    ] {
        let condition = json!({ "Condition": { operator: { key: "x" } } });
        let fault = fault_in_key_policy(with(condition));
        assert!(matches!(&fault, Fault::ConditionKeyNotPermitted(own) if own == key), "{fault:?}");
    }
}

/// IAM User Guide, "Principal": no wildcards in names, no groups, and canonical users are of S3.
#[test]
fn principals_that_are_none() {
    for principal in [
        json!({ "AWS": "arn:aws:iam::210987654321:user/*" }),
        json!({ "AWS": "arn:aws:sts::210987654321:assumed-role/app/*" }),
        json!({ "AWS": "arn:aws:iam::210987654321:group/admins" }),
        json!({ "AWS": "arn:aws:iam::*:root" }),
        json!({ "CanonicalUser": "79a5".repeat(16) }),
        json!("arn:aws:iam::210987654321:root"),
    ] {
        let fault = fault_in_key_policy(with(json!({ "Principal": principal.clone() })));
        assert!(matches!(fault, Fault::Principal(_)), "{principal}: {fault:?}");
    }
    let statement = with(json!({}));
    assert_eq!(fault_in_identity_policy(statement), Fault::UnknownElement);
}

/// IAM User Guide, "NotPrincipal": strongly advised against with `Allow`, which would reach
/// strangers; KMS does not take it.
#[test]
fn everyone_but_with_allow() {
    let mut statement = with(json!({ "NotPrincipal": { "AWS": ANA } }));
    statement.as_object_mut().expect("an object").remove("Principal");
    assert_eq!(fault_in_key_policy(statement), Fault::NotPrincipalWithAllow);
}

/// KMS Developer Guide, "Elements in a key policy": the required ones. IAM User Guide, "IAM JSON
/// policy elements reference": an element or its negation.
#[test]
fn elements_that_are_missing_or_too_many() {
    for (name, expected) in [
        ("Effect", Fault::Missing("Effect")),
        ("Principal", Fault::NoPrincipal),
        ("Action", Fault::Missing("Action")),
        ("Resource", Fault::Missing("Resource")),
    ] {
        let mut statement = with(json!({}));
        statement.as_object_mut().expect("an object").remove(name);
        assert_eq!(fault_in_key_policy(statement), expected);
    }
    let both = with(json!({ "NotAction": "kms:Encrypt" }));
    assert_eq!(fault_in_key_policy(both), Fault::Both("Action"));
}

/// KMS Developer Guide, "Key policy format": a `Sid` may have blanks in a key policy and not in an
/// IAM policy. The guide's "Customer managed policy examples" have some that IAM does not take.
#[test]
fn statement_ids_with_blanks() {
    let sid = json!({ "Sid": "Use of the key" });
    assert!(KeyPolicy::parse(&document(with(sid.clone()))).is_ok());
    let mut statement = with(sid);
    statement.as_object_mut().expect("an object").remove("Principal");
    assert_eq!(fault_in_identity_policy(statement), Fault::Sid("Use of the key".to_owned()));
}

/// IAM User Guide, "Where you can use policy variables": string and ARN operators, and the last
/// part of an ARN in `Resource`. "Boolean condition operators" would have them there too; a value
/// that is neither true nor false could only be guessed at.
#[test]
fn variables_where_there_are_none() {
    for (operator, key, value) in [
        ("Bool", "aws:SecureTransport", "${aws:PrincipalTag/tls}"),
        ("NumericLessThan", "aws:MultiFactorAuthAge", "${aws:PrincipalTag/age}"),
        ("DateLessThan", "aws:CurrentTime", "${aws:TokenIssueTime}"),
        ("IpAddress", "aws:SourceIp", "${aws:PrincipalTag/address}"),
        ("Null", "aws:username", "${aws:PrincipalTag/null}"),
    ] {
        let statement = json!({
            "Effect": "Allow", "Action": "kms:*", "Resource": "*",
            "Condition": { operator: { key: value } }
        });
        let fault = fault_in_identity_policy(statement);
        assert!(matches!(fault, Fault::Value { .. }), "{operator}: {fault:?}");
    }
    for resource in ["arn:aws:kms:${aws:RequestedRegion}:210987654321:key/*", "${aws:username}"] {
        let statement = json!({ "Effect": "Allow", "Action": "kms:*", "Resource": resource });
        let fault = fault_in_identity_policy(statement);
        assert!(matches!(fault, Fault::Variable(_) | Fault::Resource(_)), "{fault:?}");
    }
}

/// IAM User Guide, "Date condition operators": no wildcards. "...IfExists": not with `Null`.
#[test]
fn operators_that_are_misused() {
    let dates = json!({ "DateLessThan": { "aws:CurrentTime": "2027-*" } });
    let fault = fault_in_key_policy(with(json!({ "Condition": dates })));
    assert!(matches!(fault, Fault::Value { .. }), "{fault:?}");
    let condition = json!({ "NullIfExists": { "aws:username": "true" } });
    let fault = fault_in_key_policy(with(json!({ "Condition": condition })));
    assert_eq!(fault, Fault::Operator("NullIfExists".to_owned()));
}

/// KMS Developer Guide, "Controlling access to multi-Region keys": examples that are not JSON
/// policies as printed, a condition without its operator's object and resources in braces.
#[test]
fn examples_with_misprints() {
    let condition = json!({ "Condition": { "Bool": "kms:MultiRegion" } });
    let fault = fault_in_key_policy(with(condition));
    assert!(matches!(fault, Fault::Type { .. }), "{fault:?}");
    let statement = json!({
        "Effect": "Allow", "Action": "kms:List*",
        "Resource": { "arn:aws:kms:*:210987654321:key/*": "" }
    });
    let fault = fault_in_identity_policy(statement);
    assert!(matches!(fault, Fault::Type { .. }), "{fault:?}");
}
