//! Elements of policies: IAM User Guide, "Principal", "NotPrincipal", "NotAction", "NotResource",
//! "Version" and "Policy elements: Variables and tags".

use kms_policy::Action as A;
use kms_policy::PolicyType::{Identity, Resource};
use serde_json::{Value, json};

use super::harness::{Example, ask, iam};
use super::people::{
    ANA, APP, BEN, ENGINEER, ENGINEERS, EVA, FAR_KEY, FINN, GUEST, KEY, LOGS, PARTNER, RERUN, ROOT,
    RUN, SECOND_KEY, TRAIL,
};
use super::statements::{
    ALWAYS, allow, by_account, by_identity, by_key, denied, deny, lacking, may, may_not,
};

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = principals();
    examples.extend(everyone_but());
    examples.extend(complements());
    examples.extend(variables());
    examples.extend(tags());
    examples
}

fn principals() -> Vec<Example> {
    vec![
        iam("Principal: AWS account principals")
            .key([
                allow("arn:aws:iam::210987654321:root", "Encrypt", ALWAYS),
                allow("210987654321", "Decrypt", ALWAYS),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                // Both forms are one, and neither is the root user alone.
                (ask(ANA, A::Encrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})), by_account(1, 0, 0)),
                (ask(ROOT, A::Decrypt, json!({})).bare(), by_key(1)),
                (ask(ANA, A::Decrypt, json!({})).bare(), lacking(Identity)),
                (ask(EVA, A::Decrypt, json!({})), lacking(Resource)),
            ]),
        iam("Principal: Specifying a principal, several accounts")
            .key([allow("210987654321 345678901234", "Decrypt", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(EVA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(EVA, A::Encrypt, json!({})), lacking(Resource)),
            ]),
        iam("Principal: IAM role principals").key([allow(APP, "Decrypt", ALWAYS)]).rows([
            (ask(RUN, A::Decrypt, json!({})), by_key(0)),
            (ask(RERUN, A::Decrypt, json!({})), by_key(0)),
            (ask(ANA, A::Decrypt, json!({})), lacking(Resource)),
        ]),
        iam("Principal: Role session principals").key([allow(RUN, "Decrypt", ALWAYS)]).rows([
            (ask(RUN, A::Decrypt, json!({})), by_key(0)),
            (ask(RERUN, A::Decrypt, json!({})), lacking(Resource)),
        ]),
        iam("Principal: IAM user principals")
            .key([allow(&format!("{ANA} arn:aws:iam::210987654321:user/Ben"), "Decrypt", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_key(0)),
                // The names of users have a case here.
                (ask(BEN, A::Decrypt, json!({})), lacking(Resource)),
            ]),
        iam("Principal: AWS STS federated user session principals")
            .key([allow(GUEST, "Decrypt", ALWAYS)])
            .rows([
                (ask(GUEST, A::Decrypt, json!({})), by_key(0)),
                (ask(ANA, A::Decrypt, json!({})), lacking(Resource)),
            ]),
        iam("Principal: AWS service principals")
            .key([allow(&format!("{TRAIL} {LOGS}"), "GenerateDataKey", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(TRAIL, A::GenerateDataKey, json!({})).bare(), by_key(0)),
                (ask(LOGS, A::GenerateDataKey, json!({})).bare(), by_key(0)),
                (ask("s3.amazonaws.com", A::GenerateDataKey, json!({})).bare(), lacking(Resource)),
                (ask(ANA, A::GenerateDataKey, json!({})), lacking(Resource)),
            ]),
    ]
}

/// A statement that denies all but those.
fn except(principals: Value) -> Value {
    json!({
        "Effect": "Deny", "NotPrincipal": { "AWS": principals }, "Action": "kms:*", "Resource": "*"
    })
}

fn everyone_but() -> Vec<Example> {
    vec![
        iam("NotPrincipal: IAM user in the same or a different account")
            .key([allow(&format!("{ROOT} {PARTNER}"), "*", ALWAYS), except(json!([EVA, PARTNER]))])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(EVA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(FINN, A::Decrypt, json!({})), denied(Resource, 0, 1)),
                (ask(ANA, A::Decrypt, json!({})), denied(Resource, 0, 1)),
            ]),
        // Without the account, its user is denied with it.
        iam("NotPrincipal: the ARN of the account")
            .key([
                allow(&format!("{ROOT} {PARTNER}"), "*", ALWAYS),
                except(json!([EVA, ANA, ROOT])),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(EVA, A::Decrypt, json!({})), denied(Resource, 0, 1)),
            ]),
        iam("NotPrincipal: IAM role in the same or a different account")
            .key([
                allow(&format!("{ROOT} {PARTNER}"), "*", ALWAYS),
                except(json!([ENGINEER, ENGINEERS, PARTNER])),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ENGINEER, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(EVA, A::Decrypt, json!({})), denied(Resource, 0, 1)),
                (ask(RUN, A::Decrypt, json!({})), denied(Resource, 0, 1)),
            ]),
        // Whoever has a boundary is denied even if listed.
        iam("NotPrincipal: principals with a permissions boundary")
            .key([
                allow(ROOT, "*", ALWAYS),
                json!({
                    "Effect": "Deny", "NotPrincipal": { "AWS": [ANA, ROOT] },
                    "Action": "kms:Decrypt", "Resource": "*"
                }),
            ])
            .identity([may("*", "*", ALWAYS)])
            .boundary([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Encrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})), denied(Resource, 0, 1)),
            ]),
        iam("Principal: aws:PrincipalArn instead of NotPrincipal with Deny")
            .key([
                allow(ROOT, "*", ALWAYS),
                deny("*", "*", json!({ "ArnNotEquals": { "aws:PrincipalArn": ANA } })),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(BEN, A::Decrypt, json!({})), denied(Resource, 0, 1)),
                (ask(ROOT, A::Decrypt, json!({})).bare(), denied(Resource, 0, 1)),
                // A service has no ARN, so it is not excepted.
                (ask(LOGS, A::Decrypt, json!({})).bare(), denied(Resource, 0, 1)),
            ]),
    ]
}

fn complements() -> Vec<Example> {
    let statement = |effect: &str, actions: &str, resource: &str| json!({ "Effect": effect, "NotAction": actions, "Resource": resource });
    let mut unless_mfa = statement("Deny", "iam:*", "*");
    unless_mfa["Condition"] = json!({ "BoolIfExists": { "aws:MultiFactorAuthPresent": "false" } });
    let mut elsewhere = statement("Deny", "iam:*", "*");
    elsewhere["NotAction"] = json!(["iam:*", "kms:GenerateRandom", "sts:*"]);
    elsewhere["Condition"] =
        json!({ "StringNotEquals": { "aws:RequestedRegion": ["eu-north-1", "eu-west-1"] } });
    let region = |name: &str| json!({ "aws:RequestedRegion": name });
    vec![
        iam("NotAction: with Allow")
            .identity([statement("Allow", "kms:ScheduleKeyDeletion", "arn:aws:kms:*:*:key/*")])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::ScheduleKeyDeletion, json!({})), lacking(Identity)),
                // It needs `*` as its resource.
                (ask(ANA, A::ListKeys, json!({})), lacking(Identity)),
            ]),
        iam("NotAction: with Allow, all services but one")
            .identity([statement("Allow", "iam:*", "*")])
            .identity([statement("Allow", "kms:*", "*"), may("ListKeys", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::ListKeys, json!({})), by_identity(0, 0)),
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})).bare(), lacking(Identity)),
            ]),
        iam("NotAction: with Deny, MFA").identity([may("*", "*", ALWAYS), unless_mfa]).rows([
            (
                ask(ANA, A::Decrypt, json!({ "aws:MultiFactorAuthPresent": true })),
                by_account(0, 0, 0),
            ),
            (
                ask(ANA, A::Decrypt, json!({ "aws:MultiFactorAuthPresent": false })),
                denied(Identity, 0, 1),
            ),
            // Long-term access keys have no such key at all.
            (ask(ANA, A::Decrypt, json!({})), denied(Identity, 0, 1)),
        ]),
        iam("NotAction: with Deny, Regions").identity([may("*", "*", ALWAYS), elsewhere]).rows([
            (ask(ANA, A::Decrypt, region("eu-north-1")), by_account(0, 0, 0)),
            (ask(ANA, A::GenerateRandom, region("us-east-1")), by_identity(0, 0)),
            (ask(ANA, A::Decrypt, region("ap-south-2")).on(FAR_KEY), denied(Identity, 0, 1)),
        ]),
        iam("NotResource: with Deny")
            .identity([
                may("*", "*", ALWAYS),
                json!({ "Effect": "Deny", "Action": "kms:*", "NotResource": [KEY, FAR_KEY] }),
            ])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})).on(FAR_KEY), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})).on(SECOND_KEY), denied(Identity, 0, 1)),
                (ask(ANA, A::ListKeys, json!({})), denied(Identity, 0, 1)),
            ]),
        iam("NotResource: with Allow")
            .identity([json!({
                "Effect": "Allow", "Action": "kms:Decrypt",
                "NotResource": "arn:aws:kms:ap-*:*:key/*"
            })])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})).on(FAR_KEY), lacking(Identity)),
            ]),
    ]
}

fn variables() -> Vec<Example> {
    let own = "arn:aws:kms:eu-north-1:210987654321:alias/ana-mail";
    let other = "arn:aws:kms:eu-north-1:210987654321:alias/ben-mail";
    let starred = "arn:aws:kms:eu-north-1:210987654321:alias/*-mail";
    let tax = "arn:aws:kms:eu-north-1:210987654321:alias/tax";
    let note = |text: &str| json!({ "kms:EncryptionContext": { "note": text } });
    let of =
        |operator: &str, text: &str| json!({ operator: { "kms:EncryptionContext:note": text } });
    let named = "arn:aws:kms:*:210987654321:alias/${aws:username}-*";
    vec![
        iam("Policy variables: Resource element")
            .identity([may("CreateAlias DeleteAlias", named, ALWAYS)])
            .rows([
                (ask(ANA, A::CreateAlias, json!({})).on(own), by_identity(0, 0)),
                (ask(BEN, A::CreateAlias, json!({})).on(other), by_identity(0, 0)),
                (ask(ANA, A::CreateAlias, json!({})).on(other), lacking(Identity)),
                // A session has no user name: the statement names nothing.
                (ask(RUN, A::CreateAlias, json!({})).on(own), lacking(Identity)),
            ]),
        iam("Version: 2008-10-17 has no variables")
            .identity([
                may("CreateAlias", named, ALWAYS),
                may("DeleteAlias", "arn:aws:kms:*:210987654321:alias/ana-*", ALWAYS),
            ])
            .old_version()
            .rows([
                (ask(ANA, A::CreateAlias, json!({})).on(own), lacking(Identity)),
                (ask(ANA, A::DeleteAlias, json!({})).on(own), by_identity(0, 1)),
            ]),
        iam("Policy variables: Tags as policy variables")
            .identity([may(
                "DeleteAlias",
                "arn:aws:kms:*:210987654321:alias/${aws:PrincipalTag/department}",
                ALWAYS,
            )])
            .rows([
                (
                    ask(
                        RUN,
                        A::DeleteAlias,
                        json!({ "aws:PrincipalTag": { "department": "tax" } }),
                    )
                    .on(tax),
                    by_identity(0, 0),
                ),
                (
                    ask(RUN, A::DeleteAlias, json!({ "aws:PrincipalTag": { "department": "hr" } }))
                        .on(tax),
                    lacking(Identity),
                ),
                // A value is literal text, whatever it looks like.
                (
                    ask(RUN, A::DeleteAlias, json!({ "aws:PrincipalTag": { "department": "*" } }))
                        .on(tax),
                    lacking(Identity),
                ),
                (ask(RUN, A::DeleteAlias, json!({})).on(tax), lacking(Identity)),
            ]),
        iam("Policy variables: Special characters")
            .identity([
                may("DeleteAlias", "arn:aws:kms:*:210987654321:alias/${*}-mail", ALWAYS),
                may("Encrypt", "*", of("StringLike", "to ${?} for ${$}*")),
                may("Decrypt", "*", of("StringLike", "a${*}b?")),
            ])
            .rows([
                (ask(ANA, A::DeleteAlias, json!({})).on(starred), by_identity(0, 0)),
                (ask(ANA, A::DeleteAlias, json!({})).on(own), lacking(Identity)),
                (ask(ANA, A::Encrypt, note("to ? for $5")), by_account(0, 0, 1)),
                (ask(ANA, A::Encrypt, note("to x for $5")), lacking(Identity)),
                (ask(ANA, A::Decrypt, note("a*bc")), by_account(0, 0, 2)),
                (ask(ANA, A::Decrypt, note("axbc")), lacking(Identity)),
            ]),
        iam("Policy variables: Specifying default values")
            .identity([may(
                "Encrypt",
                "*",
                of("StringEquals", "${aws:PrincipalTag/team, 'company-wide'}"),
            )])
            .rows([
                (ask(ANA, A::Encrypt, note("company-wide")), by_account(0, 0, 0)),
                (
                    ask(
                        ANA,
                        A::Encrypt,
                        json!({
                            "aws:PrincipalTag": { "team": "yellow" },
                            "kms:EncryptionContext": { "note": "yellow" }
                        }),
                    ),
                    by_account(0, 0, 0),
                ),
                (
                    ask(
                        ANA,
                        A::Encrypt,
                        json!({
                            "aws:PrincipalTag": { "team": "yellow" },
                            "kms:EncryptionContext": { "note": "company-wide" }
                        }),
                    ),
                    lacking(Identity),
                ),
            ]),
        iam("Policy variables: Condition element")
            .key([allow(
                "210987654321",
                "*",
                json!({
                    "StringLike": { "kms:RequestAlias": "alias/${aws:username}/*" },
                    "StringEquals": { "kms:KeySpec": "SYMMETRIC_DEFAULT" }
                }),
            )])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (
                    ask(
                        ANA,
                        A::Encrypt,
                        json!({
                            "kms:RequestAlias": "alias/ana/x", "kms:KeySpec": "SYMMETRIC_DEFAULT"
                        }),
                    ),
                    by_account(0, 0, 0),
                ),
                (
                    ask(
                        BEN,
                        A::Encrypt,
                        json!({
                            "kms:RequestAlias": "alias/ana/x", "kms:KeySpec": "SYMMETRIC_DEFAULT"
                        }),
                    ),
                    lacking(Resource),
                ),
            ]),
    ]
}

/// The tutorial on attribute-based access control, with keys for its secrets.
fn tags() -> Vec<Example> {
    let same = |kind: &str, names: &[&str]| -> Value {
        let pair = |name: &&str| {
            (format!("aws:{kind}/{name}"), json!(format!("${{aws:PrincipalTag/{name}}}")))
        };
        Value::Object(names.iter().map(pair).collect())
    };
    let facts = |project: &str, request: Value, keys: &[&str]| {
        json!({
            "aws:PrincipalTag": { "project": "peg", "team": "eng" },
            "aws:ResourceTag": { "project": project, "team": "eng" },
            "aws:RequestTag": request,
            "aws:TagKeys": keys
        })
    };
    vec![
        iam("Tutorial: Use SAML session tags or attribute-based access control")
            .identity([
                may(
                    "*",
                    "*",
                    json!({
                        "StringEquals": same("ResourceTag", &["project", "team"]),
                        "ForAllValues:StringEquals": { "aws:TagKeys": ["project", "team", "Name"] },
                        "StringEqualsIfExists": same("RequestTag", &["project", "team"])
                    }),
                ),
                may("GenerateRandom ListKeys", "*", ALWAYS),
                may(
                    "Describe* Get* List*",
                    "*",
                    json!({ "StringEquals": same("ResourceTag", &["team"]) }),
                ),
                may_not("UntagResource", "*", json!({ "StringLike": { "aws:TagKeys": "pro*" } })),
                may_not("*Policy", "*", ALWAYS),
            ])
            .rows([
                (ask(RUN, A::Decrypt, facts("peg", json!({}), &[])), by_account(0, 0, 0)),
                (ask(RUN, A::Decrypt, facts("uni", json!({}), &[])), lacking(Identity)),
                (ask(RUN, A::DescribeKey, facts("uni", json!({}), &[])), by_account(0, 0, 2)),
                (ask(RUN, A::ListKeys, json!({})), by_identity(0, 1)),
                (
                    ask(
                        RUN,
                        A::TagResource,
                        facts(
                            "peg",
                            json!({ "project": "peg", "Name": "x" }),
                            &["project", "Name"],
                        ),
                    ),
                    by_account(0, 0, 0),
                ),
                (
                    ask(
                        RUN,
                        A::TagResource,
                        facts("peg", json!({ "project": "uni" }), &["project"]),
                    ),
                    lacking(Identity),
                ),
                (
                    ask(RUN, A::TagResource, facts("peg", json!({ "Other": "x" }), &["Other"])),
                    lacking(Identity),
                ),
                (
                    ask(RUN, A::UntagResource, facts("peg", json!({}), &["Name"])),
                    by_account(0, 0, 0),
                ),
                (
                    ask(RUN, A::UntagResource, facts("peg", json!({}), &["project"])),
                    denied(Identity, 0, 3),
                ),
                // The tutorial compares a list by a plain operator. Which of several values that
                // means is nowhere said, so the engine decides against the caller.
                (
                    ask(RUN, A::UntagResource, facts("peg", json!({}), &["Name", "team"])),
                    denied(Identity, 0, 3),
                ),
                (ask(RUN, A::PutKeyPolicy, facts("peg", json!({}), &[])), denied(Identity, 0, 4)),
            ]),
    ]
}
