//! IAM policies of the KMS Developer Guide: "Customer managed policy examples", "Controlling
//! access to aliases", "Best practices for IAM policies" and "AWS global condition keys".

use kms_policy::Action as A;
use kms_policy::PolicyType::{Identity, Resource};
use serde_json::json;

use super::harness::{Example, ask, iam, kms};
use super::people::{ANA, BEN, EVA, FAR_KEY, KEY, PARTNER, ROOT, RUN, SECOND_KEY};
use super::statements::{
    ALWAYS, OTHER_ACCOUNT, allow, by_account, by_identity, by_key, denied, lacking, may, may_not,
};

const EVERYWHERE: &str = "arn:aws:kms:*:210987654321:key/*";
const HERE: &str = "arn:aws:kms:eu-north-1:210987654321:key/*";
const ALIAS: &str = "arn:aws:kms:eu-north-1:210987654321:alias/trial-key";
const CLOSED: &str = "arn:aws:kms:eu-north-1:210987654321:alias/Closed-1";

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = managed();
    examples.extend(aliases());
    examples.extend(global_keys());
    examples
}

fn managed() -> Vec<Example> {
    vec![
        kms("Customer managed policy examples: to view KMS keys in the console")
            .identity([
                may(
                    "GetPublicKey GetKeyRotationStatus GetKeyPolicy DescribeKey ListKeyPolicies \
                     ListResourceTags",
                    EVERYWHERE,
                    ALWAYS,
                ),
                may("ListKeys ListAliases iam:ListRoles iam:ListUsers", "*", ALWAYS),
            ])
            .rows([
                (ask(ANA, A::DescribeKey, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::GetKeyPolicy, json!({})).on(FAR_KEY), by_account(0, 0, 0)),
                (ask(ANA, A::ListAliases, json!({})), by_identity(0, 1)),
                (ask(ANA, A::DisableKey, json!({})), lacking(Identity)),
                (ask(ANA, A::CreateKey, json!({})), lacking(Identity)),
            ]),
        kms("Customer managed policy examples: to create KMS keys")
            .identity([may("CreateKey", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::CreateKey, json!({})), by_identity(0, 0)),
                (ask(ANA, A::TagResource, json!({})), lacking(Identity)),
                (ask(ANA, A::PutKeyPolicy, json!({})), lacking(Identity)),
            ]),
        kms("Customer managed policy examples: to create KMS keys with tags and aliases")
            .identity([
                may("TagResource", EVERYWHERE, ALWAYS),
                may("CreateAlias", "arn:aws:kms:*:210987654321:alias/*", ALWAYS),
                may("CreateKey ListKeys ListAliases", "*", ALWAYS),
            ])
            .rows([
                (ask(ANA, A::TagResource, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::CreateAlias, json!({})).on(ALIAS), by_identity(0, 1)),
                (ask(ANA, A::CreateKey, json!({})), by_identity(0, 2)),
                // The permission on the key is another one.
                (ask(ANA, A::CreateAlias, json!({})), lacking(Identity)),
            ]),
        kms("Customer managed policy examples: to encrypt and decrypt within an account")
            .identity([may("Encrypt Decrypt", EVERYWHERE, ALWAYS)])
            .rows([
                (ask(ANA, A::Encrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})).on(FAR_KEY), by_account(0, 0, 0)),
                (ask(ANA, A::DescribeKey, json!({})), lacking(Identity)),
            ]),
        kms("Customer managed policy examples: to encrypt and decrypt within a Region")
            .identity([may("Encrypt Decrypt", HERE, ALWAYS)])
            .rows([
                (ask(ANA, A::Encrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, json!({})).on(FAR_KEY), lacking(Identity)),
            ]),
        kms("Customer managed policy examples: to encrypt and decrypt with specific keys")
            .identity([may("Encrypt Decrypt", &format!("{KEY} {FAR_KEY}"), ALWAYS)])
            .rows([
                (ask(ANA, A::Encrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, json!({})).on(FAR_KEY), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, json!({})).on(SECOND_KEY), lacking(Identity)),
            ]),
        kms("Customer managed policy examples: to prevent disabling and deleting")
            .key([allow(ROOT, "*", ALWAYS), allow(BEN, "DisableKey", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .identity([may_not("DisableKey ScheduleKeyDeletion", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::EnableKey, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::ScheduleKeyDeletion, json!({})), denied(Identity, 1, 0)),
                // It is stronger than the key policy.
                (ask(BEN, A::DisableKey, json!({})), denied(Identity, 1, 0)),
                (ask(BEN, A::DisableKey, json!({})).bare(), by_key(1)),
            ]),
        kms("Controlling access to key deletion")
            .key([allow(BEN, "ScheduleKeyDeletion CancelKeyDeletion Delete*", ALWAYS)])
            .rows([
                (ask(BEN, A::ScheduleKeyDeletion, json!({})), by_key(0)),
                (ask(BEN, A::CancelKeyDeletion, json!({})), by_key(0)),
                (ask(ANA, A::ScheduleKeyDeletion, json!({})), lacking(Resource)),
            ]),
        // `*` reaches every key that the other account gave, a named key does not.
        kms("Best practices for IAM policies: Avoid \"Resource\": \"*\" in an IAM policy")
            .key([allow(PARTNER, "Decrypt CreateKey", ALWAYS)])
            .identity([
                may("Decrypt", "arn:aws:kms:*:345678901234:key/*", ALWAYS),
                may("Encrypt CreateKey", "*", ALWAYS),
            ])
            .identity([may("Decrypt", SECOND_KEY, ALWAYS)])
            .rows([
                (ask(EVA, A::Decrypt, json!({})).on(SECOND_KEY), by_account(0, 1, 0)),
                (ask(EVA, A::Decrypt, json!({})), lacking(Identity)),
                (ask(EVA, A::Encrypt, json!({})), lacking(Resource)),
                (ask(EVA, A::CreateKey, json!({})), OTHER_ACCOUNT),
            ]),
        // What is about no key needs `*`.
        kms("Best practices for IAM policies: When to use \"Resource\": \"*\"")
            .identity([
                may("ListKeys GenerateRandom", EVERYWHERE, ALWAYS),
                may("ListAliases", "*", ALWAYS),
            ])
            .rows([
                (ask(ANA, A::ListAliases, json!({})), by_identity(0, 1)),
                (ask(ANA, A::ListKeys, json!({})), lacking(Identity)),
                (ask(ANA, A::GenerateRandom, json!({})), lacking(Identity)),
            ]),
    ]
}

fn aliases() -> Vec<Example> {
    let all = "CreateAlias UpdateAlias DeleteAlias";
    vec![
        kms("Controlling access to aliases: kms:CreateAlias")
            .key([allow(BEN, "CreateAlias DescribeKey", ALWAYS)])
            .identity([may(all, ALIAS, ALWAYS)])
            .rows([
                (ask(BEN, A::CreateAlias, json!({})).on(ALIAS), by_identity(0, 0)),
                (ask(BEN, A::CreateAlias, json!({})), by_key(0)),
                (ask(BEN, A::CreateAlias, json!({})).on(CLOSED), lacking(Identity)),
                (ask(ANA, A::CreateAlias, json!({})), lacking(Resource)),
            ]),
        // The name of a key in Resource is not the key.
        kms("Using aliases to control access to KMS keys: aliases in Resource")
            .identity([may("*", ALIAS, ALWAYS)])
            .rows([
                (ask(ANA, A::DeleteAlias, json!({})).on(ALIAS), by_identity(0, 0)),
                (
                    ask(ANA, A::Decrypt, json!({ "kms:RequestAlias": "alias/trial-key" })),
                    lacking(Identity),
                ),
            ]),
        kms("Controlling access to aliases: kms:UpdateAlias")
            .key([allow(BEN, "UpdateAlias DescribeKey", ALWAYS)])
            .identity([may("UpdateAlias ListAliases ListKeys", ALIAS, ALWAYS)])
            .rows([
                (ask(BEN, A::UpdateAlias, json!({})).on(ALIAS), by_identity(0, 0)),
                (ask(BEN, A::UpdateAlias, json!({})), by_key(0)),
                (ask(BEN, A::UpdateAlias, json!({})).on(SECOND_KEY), by_key(0)),
                (ask(BEN, A::DeleteAlias, json!({})), lacking(Resource)),
                // The guide lists it with the alias as the resource, and also says that it needs
                // `*`: it is about no alias in particular.
                (ask(BEN, A::ListAliases, json!({})), lacking(Identity)),
            ]),
        kms("Controlling access to aliases: Limiting alias permissions")
            .identity([may(all, HERE, json!({ "StringEquals": { "kms:KeyOrigin": "AWS_KMS" } }))])
            .rows([
                (
                    ask(ANA, A::UpdateAlias, json!({ "kms:KeyOrigin": "AWS_KMS" })),
                    by_account(0, 0, 0),
                ),
                (
                    ask(ANA, A::UpdateAlias, json!({ "kms:KeyOrigin": "EXTERNAL" })),
                    lacking(Identity),
                ),
                // An alias has no origin.
                (ask(ANA, A::UpdateAlias, json!({})).on(ALIAS), lacking(Identity)),
            ]),
        kms("Controlling access to aliases: names that are kept")
            .identity([
                may(all, "arn:aws:kms:eu-north-1:210987654321:alias/*", ALWAYS),
                may_not(all, "arn:aws:kms:eu-north-1:210987654321:alias/Closed*", ALWAYS),
            ])
            .rows([
                (ask(ANA, A::CreateAlias, json!({})).on(ALIAS), by_identity(0, 0)),
                (ask(ANA, A::CreateAlias, json!({})).on(CLOSED), denied(Identity, 0, 1)),
            ]),
    ]
}

fn global_keys() -> Vec<Example> {
    let office = json!({ "NotIpAddress": { "aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"] } });
    let through =
        json!({ "ForAnyValue:StringEquals": { "aws:CalledVia": ["dynamodb.amazonaws.com"] } });
    let chain = json!({ "StringEquals": {
        "aws:CalledViaFirst": "cloudformation.amazonaws.com",
        "aws:CalledViaLast": "dynamodb.amazonaws.com"
    } });
    vec![
        kms("AWS global condition keys: IP address condition")
            .identity([may("*", "*", ALWAYS), may_not("*", "*", office)])
            .rows([
                (ask(ANA, A::Decrypt, json!({ "aws:SourceIp": "203.0.113.9" })), by_account(0, 0, 0)),
                (
                    ask(ANA, A::Decrypt, json!({ "aws:SourceIp": "198.51.100.3" })),
                    denied(Identity, 0, 1),
                ),
                // A service that decrypts for her calls from elsewhere, an endpoint leaves the
                // key out.
                (
                    ask(ANA, A::Decrypt, json!({ "aws:VpcSourceIp": "203.0.113.9" })),
                    denied(Identity, 0, 1),
                ),
            ]),
        kms("AWS global condition keys: aws:PrincipalArn")
            .key([allow("*", "Decrypt", json!({ "ArnEquals": { "aws:PrincipalArn": ANA } }))])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_key(0)),
                (ask(BEN, A::Decrypt, json!({})), lacking(Resource)),
                (ask(ROOT, A::Decrypt, json!({})), lacking(Resource)),
            ]),
        // The IAM User Guide tells these two of KMS keys.
        iam("AWS global condition context keys: aws:CalledVia")
            .key([allow(ROOT, "*", through)])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (
                    ask(
                        ANA,
                        A::Decrypt,
                        json!({ "aws:CalledVia": ["athena.amazonaws.com", "dynamodb.amazonaws.com"] }),
                    ),
                    by_account(0, 0, 0),
                ),
                (
                    ask(ANA, A::Decrypt, json!({ "aws:CalledVia": ["athena.amazonaws.com"] })),
                    lacking(Resource),
                ),
                (ask(ANA, A::Decrypt, json!({})), lacking(Resource)),
            ]),
        iam("AWS global condition context keys: aws:CalledViaFirst and aws:CalledViaLast")
            .identity([may("Encrypt Decrypt", KEY, chain)])
            .rows([
                (
                    ask(
                        RUN,
                        A::Decrypt,
                        json!({
                            "aws:CalledViaFirst": "cloudformation.amazonaws.com",
                            "aws:CalledViaLast": "dynamodb.amazonaws.com"
                        }),
                    ),
                    by_account(0, 0, 0),
                ),
                (
                    ask(
                        RUN,
                        A::Decrypt,
                        json!({
                            "aws:CalledViaFirst": "dynamodb.amazonaws.com",
                            "aws:CalledViaLast": "dynamodb.amazonaws.com"
                        }),
                    ),
                    lacking(Identity),
                ),
                (ask(RUN, A::Decrypt, json!({})), lacking(Identity)),
            ]),
    ]
}
