//! Policy variables: IAM User Guide, "Policy elements: Variables and tags", "Version" and the
//! tutorial on attribute-based access control.

use kms_policy::Action as A;
use kms_policy::PolicyType::{Identity, Resource};
use serde_json::{Value, json};

use super::harness::{Example, ask, iam};
use super::people::{ANA, BEN, RUN};
use super::statements::{ALWAYS, allow, by_account, by_identity, denied, lacking, may, may_not};

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = variables();
    examples.extend(tags());
    examples
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
        iam("Policy variables: Policy variables with no value")
            .identity([
                may("Encrypt Sign", "*", of("StringNotEquals", "${aws:username}")),
                may("Decrypt Sign", "*", of("StringNotEqualsIfExists", "${aws:username}")),
                may_not("Sign", "*", of("StringNotEquals", "${aws:username}")),
                may_not("Decrypt", "*", of("StringEquals", "${aws:username}")),
            ])
            .rows([
                (ask(ANA, A::Encrypt, note("ben")), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, note("ana")), lacking(Identity)),
                // A role has no user name, and nothing is equal to that.
                (ask(RUN, A::Encrypt, note("ben")), by_account(0, 0, 0)),
                (ask(RUN, A::Encrypt, json!({})), by_account(0, 0, 0)),
                (ask(RUN, A::Decrypt, note("ben")), by_account(0, 0, 1)),
                (ask(RUN, A::Sign, json!({})), denied(Identity, 0, 2)),
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
        iam("IAM tutorial: Define permissions to access AWS resources based on tags")
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
                // The tutorial says of IfExists that a request which could have the tag must have it;
                // "Condition operators" says that it then holds, which is what its name says.
                (
                    ask(RUN, A::TagResource, facts("peg", json!({ "Name": "x" }), &["Name"])),
                    by_account(0, 0, 0),
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
