//! Key policies of the kinds that the KMS Developer Guide describes, and what they let whom do.

mod common;

use common::{Bag, Case, Outcome, ROOT, Who};
use kms_policy::{Action, Action as A};
use serde_json::{Value, json};

const ADMIN: &str = "arn:aws:iam::111122223333:role/reader";

/// Decides for a caller without policies of its own.
fn decide(policy: &Value, who: Who, action: Action, context: &[(&str, &str)]) -> Outcome {
    let mut case = Case::new(who, action);
    case.key_policy = Some(policy.clone());
    case.context = Bag::of(context);
    case.compile().expect("a policy").decide()
}

/// Who does what in which context, and whether that is allowed.
type Row<'a> = (Who, Action, &'a [(&'a str, &'a str)], bool);

fn check(policy: &Value, rows: &[Row<'_>]) {
    for (who, action, context, expected) in rows {
        let outcome = decide(policy, *who, *action, context);
        assert_eq!(outcome.is_allowed(), *expected, "{who:?} {action} {context:?}: {outcome:?}");
    }
}

#[test]
fn administrators_users_and_attachment_of_resources() {
    let user = json!({ "AWS": common::USER });
    let policy = json!({
        "Id": "console", "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "The account", "Effect": "Allow", "Principal": { "AWS": ROOT },
                "Action": "kms:*", "Resource": "*"
            },
            {
                "Sid": "Administrators", "Effect": "Allow", "Principal": { "AWS": ADMIN },
                "Action": [
                    "kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*",
                    "kms:Update*", "kms:Revoke*", "kms:Disable*", "kms:Get*", "kms:Delete*",
                    "kms:TagResource", "kms:UntagResource", "kms:ScheduleKeyDeletion",
                    "kms:CancelKeyDeletion", "kms:RotateKeyOnDemand"
                ],
                "Resource": "*"
            },
            {
                "Sid": "Users", "Effect": "Allow", "Principal": user,
                "Action": [
                    "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*",
                    "kms:DescribeKey"
                ],
                "Resource": "*"
            },
            {
                "Sid": "Resources", "Effect": "Allow", "Principal": user,
                "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
                "Resource": "*",
                "Condition": { "Bool": { "kms:GrantIsForAWSResource": "true" } }
            }
        ]
    });
    let for_resource: &[_] = &[("kms:GrantIsForAWSResource", "true")];
    check(
        &policy,
        &[
            (Who::Root, A::ScheduleKeyDeletion, &[], true),
            (Who::Session, A::ScheduleKeyDeletion, &[], true),
            (Who::Session, A::PutKeyPolicy, &[], true),
            (Who::Session, A::GetPublicKey, &[], true),
            (Who::Session, A::Decrypt, &[], false),
            (Who::Session, A::ReplicateKey, &[], false),
            (Who::User, A::Decrypt, &[], true),
            (Who::User, A::ReEncryptFrom, &[], true),
            (Who::User, A::GenerateDataKeyPairWithoutPlaintext, &[], true),
            (Who::User, A::Sign, &[], false),
            (Who::User, A::PutKeyPolicy, &[], false),
            (Who::User, A::CreateGrant, &[], false),
            (Who::User, A::CreateGrant, &[("kms:GrantIsForAWSResource", "false")], false),
            (Who::User, A::CreateGrant, for_resource, true),
            (Who::OtherRoot, A::Decrypt, &[], false),
        ],
    );
}

#[test]
fn keys_that_services_manage_for_everyone_of_an_account() {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow", "Principal": { "AWS": "*" },
                "Action": ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*"],
                "Resource": "*",
                "Condition": { "StringEquals": {
                    "kms:CallerAccount": "111122223333",
                    "kms:ViaService": "s3.us-east-1.amazonaws.com"
                } }
            },
            {
                "Effect": "Allow", "Principal": { "AWS": ROOT },
                "Action": ["kms:Describe*", "kms:Get*", "kms:List*"], "Resource": "*"
            }
        ]
    });
    let via = ("kms:ViaService", "s3.us-east-1.amazonaws.com");
    let own: &[_] = &[via, ("kms:CallerAccount", "111122223333")];
    let other: &[_] = &[via, ("kms:CallerAccount", "999999999999")];
    let direct: &[_] = &[("kms:CallerAccount", "111122223333")];
    check(
        &policy,
        &[
            (Who::User, A::Decrypt, own, true),
            (Who::User, A::Decrypt, direct, false),
            (Who::Root, A::Decrypt, direct, false),
            (Who::OtherRoot, A::Decrypt, other, false),
            (Who::Root, A::DescribeKey, direct, true),
            (Who::Root, A::PutKeyPolicy, direct, false),
        ],
    );
}

#[test]
fn encryption_contexts_as_conditions() {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow", "Principal": { "AWS": common::USER },
                "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*",
                "Condition": {
                    "StringEquals": { "kms:EncryptionContext:Stage": ["test", "trial"] },
                    "StringLike": { "kms:EncryptionContext:Owner": "${aws:username}-*" }
                }
            },
            {
                "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*",
                "Condition": { "Null": { "kms:EncryptionContext:Ticket": "true" } }
            }
        ]
    });
    let name = ("aws:username", "ana");
    let (stage, owner) =
        (("kms:encryptioncontext:STAGE", "trial"), ("kms:EncryptionContext:owner", "ana-7"));
    check(
        &policy,
        &[
            (Who::User, A::Decrypt, &[name, stage, owner], true),
            (Who::User, A::Encrypt, &[name, stage, owner], false),
            (
                Who::User,
                A::Encrypt,
                &[name, stage, owner, ("kms:EncryptionContext:ticket", "1")],
                true,
            ),
            (Who::User, A::Decrypt, &[name, stage], false),
            (Who::User, A::Decrypt, &[stage, owner], false),
            (Who::User, A::Decrypt, &[("aws:username", "*"), stage, owner], false),
            (
                Who::User,
                A::Decrypt,
                &[name, ("kms:EncryptionContext:Stage", "Trial"), owner],
                false,
            ),
        ],
    );
}

#[test]
fn grants_as_conditions() {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow", "Principal": { "AWS": common::USER },
                "Action": "kms:CreateGrant", "Resource": "*",
                "Condition": {
                    "ForAllValues:StringEquals": { "kms:GrantOperations": ["Encrypt", "Decrypt"] },
                    "Null": { "kms:GrantOperations": "false" },
                    "StringEquals": { "kms:GrantConstraintType": "EncryptionContextSubset" },
                    "ArnLike": { "kms:GranteePrincipal": "arn:aws:iam::111122223333:role/app-*" }
                }
            }
        ]
    });
    let kind = ("kms:GrantConstraintType", "EncryptionContextSubset");
    let grantee = ("kms:GranteePrincipal", "arn:aws:iam::111122223333:role/app-7");
    let decide = |operations: &[&str], context: &[(&str, &str)]| {
        let mut case = Case::new(Who::User, Action::CreateGrant);
        case.key_policy = Some(policy.clone());
        case.context = Bag::of(context);
        let operations = operations.iter().map(|name| (*name).to_owned()).collect();
        let name = "kms:grantoperations".to_owned();
        case.context.0.insert(name, common::Entry::Many(operations));
        case.compile().expect("a policy").decide().is_allowed()
    };
    assert!(decide(&["Decrypt"], &[kind, grantee]));
    assert!(decide(&["Decrypt", "Encrypt"], &[kind, grantee]));
    assert!(!decide(&["Decrypt", "CreateGrant"], &[kind, grantee]));
    assert!(!decide(&[], &[kind, grantee]));
    assert!(!decide(&["Decrypt"], &[grantee]));
    assert!(!decide(&["Decrypt"], &[kind]));
    let other = ("kms:GranteePrincipal", "arn:aws:iam::111122223333:role/x:role/app-7");
    assert!(!decide(&["Decrypt"], &[kind, other]));
}

#[test]
fn services_for_the_resources_of_an_account() {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow", "Principal": { "Service": "logs.amazonaws.com" },
            "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:GenerateDataKey*"], "Resource": "*",
            "Condition": {
                "ArnLike": { "aws:SourceArn": "arn:aws:logs:*:111122223333:log-group:*" },
                "StringEquals": { "aws:SourceAccount": "111122223333" }
            }
        }
    });
    let account = ("aws:SourceAccount", "111122223333");
    let group = ("aws:SourceArn", "arn:aws:logs:us-east-1:111122223333:log-group:a:b");
    let foreign = ("aws:SourceArn", "arn:aws:logs:us-east-1:999999999999:log-group:a");
    check(
        &policy,
        &[
            (Who::Service, A::Decrypt, &[account, group], true),
            (Who::Service, A::Decrypt, &[account, foreign], false),
            (Who::Service, A::Decrypt, &[group], false),
            (Who::Service, A::DescribeKey, &[account, group], false),
            (Who::User, A::Decrypt, &[account, group], false),
            (Who::Root, A::Decrypt, &[account, group], false),
        ],
    );
}

#[test]
fn all_but_one_role_are_denied() {
    let policy = |condition: Value| {
        json!({
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow", "Principal": { "AWS": [ROOT, ADMIN, common::USER] },
                    "Action": "kms:*", "Resource": "*"
                },
                {
                    "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*",
                    "Condition": condition
                }
            ]
        })
    };
    // By the ARN of the role, which is what `aws:PrincipalArn` is in a session of it.
    let policy = policy(json!({ "ArnNotEquals": { "aws:PrincipalArn": ADMIN } }));
    let arn = |arn| [("aws:PrincipalArn", arn)];
    check(
        &policy,
        &[
            (Who::Session, A::Decrypt, &arn(ADMIN), true),
            (Who::User, A::Decrypt, &arn(common::USER), false),
            (Who::Root, A::Decrypt, &arn(ROOT), false),
            // A missing key satisfies a negation.
            (Who::Session, A::Decrypt, &[], false),
        ],
    );
}

#[test]
fn networks_and_times_as_conditions() {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow", "Principal": { "AWS": common::USER }, "Action": "kms:*",
            "Resource": "*",
            "Condition": {
                "IpAddress": { "aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"] },
                "DateGreaterThanEquals": { "aws:CurrentTime": "2026-01-01" },
                "DateLessThan": { "aws:CurrentTime": "2027-01-01T00:00:00+01:00" },
                "NumericLessThanEqualsIfExists": { "aws:MultiFactorAuthAge": 3600 },
                "Bool": { "aws:SecureTransport": true }
            }
        }
    });
    let (tls, address, time) = (
        ("aws:SecureTransport", "true"),
        ("aws:SourceIp", "2001:db8::7"),
        ("aws:CurrentTime", "2026-12-31T22:59:59Z"),
    );
    let late = ("aws:CurrentTime", "2026-12-31T23:00:00Z");
    let elsewhere = ("aws:SourceIp", "198.51.100.1");
    check(
        &policy,
        &[
            (Who::User, A::Decrypt, &[tls, address, time], true),
            (Who::User, A::Decrypt, &[tls, address, time, ("aws:MultiFactorAuthAge", "60")], true),
            (
                Who::User,
                A::Decrypt,
                &[tls, address, time, ("aws:MultiFactorAuthAge", "3601")],
                false,
            ),
            (Who::User, A::Decrypt, &[tls, address, late], false),
            (Who::User, A::Decrypt, &[tls, elsewhere, time], false),
            (Who::User, A::Decrypt, &[tls, time], false),
            (Who::User, A::Decrypt, &[address, time], false),
        ],
    );
}
