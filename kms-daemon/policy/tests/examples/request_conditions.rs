//! Condition keys of KMS that are about the caller, Regions, periods and names in a request: KMS
//! Developer Guide, "AWS KMS condition keys".

use kms_policy::Action as A;
use kms_policy::PolicyType::{Identity, Resource};
use serde_json::json;

use super::harness::{Example, ask, kms};
use super::people::{ANA, APP, BEN, EVA, KEEPER, KEEPING, ROOT, RUN};
use super::statements::{
    ALWAYS, allow, by_account, by_identity, by_key, denied, deny, lacking, may, may_not,
};

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = callers();
    examples.extend(regions_and_days());
    examples.extend(aliases());
    examples
}

fn callers() -> Vec<Example> {
    let bypass = |flag: bool| json!({ "kms:BypassPolicyLockoutSafetyCheck": flag });
    let via = |account: &str, service: &str| json!({ "kms:CallerAccount": account, "kms:ViaService": service });
    vec![
        kms("kms:BypassPolicyLockoutSafetyCheck: in an IAM policy")
            .identity([
                may("*", "*", ALWAYS),
                may_not("CreateKey PutKeyPolicy", "*", json!({ "Bool": bypass(true) })),
            ])
            .rows([
                (ask(ANA, A::CreateKey, bypass(false)), by_identity(0, 0)),
                (ask(ANA, A::PutKeyPolicy, bypass(false)), by_account(0, 0, 0)),
                (ask(ANA, A::CreateKey, bypass(true)), denied(Identity, 0, 1)),
                (ask(ANA, A::PutKeyPolicy, bypass(true)), denied(Identity, 0, 1)),
            ]),
        // The key is missing with the parameter: this is how the guide has it here, and `kmsd`.
        kms("kms:BypassPolicyLockoutSafetyCheck: in a key policy")
            .key([allow(
                KEEPER,
                "PutKeyPolicy",
                json!({ "Null": { "kms:BypassPolicyLockoutSafetyCheck": true } }),
            )])
            .rows([
                (ask(KEEPING, A::PutKeyPolicy, json!({})), by_key(0)),
                (ask(KEEPING, A::PutKeyPolicy, bypass(true)), lacking(Resource)),
                (ask(KEEPING, A::PutKeyPolicy, bypass(false)), lacking(Resource)),
            ]),
        kms("kms:CallerAccount")
            .key([allow(
                "*",
                "Encrypt Decrypt ReEncrypt* GenerateDataKey* CreateGrant DescribeKey",
                json!({ "StringEquals": {
                    "kms:CallerAccount": "210987654321",
                    "kms:ViaService": "ec2.eu-north-1.amazonaws.com"
                } }),
            )])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (
                    ask(ANA, A::Decrypt, via("210987654321", "ec2.eu-north-1.amazonaws.com"))
                        .bare(),
                    by_key(0),
                ),
                (
                    ask(RUN, A::CreateGrant, via("210987654321", "ec2.eu-north-1.amazonaws.com"))
                        .bare(),
                    by_key(0),
                ),
                (
                    ask(EVA, A::Decrypt, via("345678901234", "ec2.eu-north-1.amazonaws.com")),
                    lacking(Resource),
                ),
                (
                    ask(ANA, A::Decrypt, via("210987654321", "s3.eu-north-1.amazonaws.com")),
                    lacking(Resource),
                ),
                (ask(ROOT, A::Decrypt, json!({})).bare(), lacking(Resource)),
            ]),
        kms("kms:ViaService: to allow")
            .key([allow(
                ANA,
                "Encrypt Decrypt ReEncrypt* GenerateDataKey* CreateGrant ListGrants DescribeKey",
                json!({ "StringEquals": { "kms:ViaService": [
                    "ec2.eu-north-1.amazonaws.com", "rds.eu-north-1.amazonaws.com"
                ] } }),
            )])
            .rows([
                (
                    ask(
                        ANA,
                        A::Encrypt,
                        json!({ "kms:ViaService": "rds.eu-north-1.amazonaws.com" }),
                    ),
                    by_key(0),
                ),
                (
                    ask(
                        ANA,
                        A::Encrypt,
                        json!({ "kms:ViaService": "rds.eu-west-1.amazonaws.com" }),
                    ),
                    lacking(Resource),
                ),
                (ask(ANA, A::Encrypt, json!({})), lacking(Resource)),
            ]),
        kms("kms:ViaService: to deny")
            .key([
                allow(ANA, "Encrypt Decrypt", ALWAYS),
                deny(
                    ANA,
                    "Encrypt",
                    json!({ "StringEquals": {
                        "kms:ViaService": ["lambda.eu-north-1.amazonaws.com"]
                    } }),
                ),
            ])
            .rows([
                (
                    ask(
                        ANA,
                        A::Encrypt,
                        json!({ "kms:ViaService": "lambda.eu-north-1.amazonaws.com" }),
                    ),
                    denied(Resource, 0, 1),
                ),
                (
                    ask(
                        ANA,
                        A::Encrypt,
                        json!({ "kms:ViaService": "s3.eu-north-1.amazonaws.com" }),
                    ),
                    by_key(0),
                ),
                (ask(ANA, A::Encrypt, json!({})), by_key(0)),
            ]),
    ]
}

fn regions_and_days() -> Vec<Example> {
    let days = |name: &str, count: u32| json!({ format!("kms:{name}"): count });
    let at_most = |name: &str, count: &str| json!({ "NumericLessThanEquals": { format!("kms:{name}"): count } });
    let window = "ScheduleKeyDeletionPendingWindowInDays";
    vec![
        kms("kms:PrimaryRegion")
            .key([allow(
                KEEPER,
                "UpdatePrimaryRegion",
                json!({ "StringEquals": { "kms:PrimaryRegion": ["eu-west-1", "eu-west-3"] } }),
            )])
            .rows([
                (
                    ask(
                        KEEPING,
                        A::UpdatePrimaryRegion,
                        json!({ "kms:PrimaryRegion": "eu-west-3" }),
                    ),
                    by_key(0),
                ),
                (
                    ask(
                        KEEPING,
                        A::UpdatePrimaryRegion,
                        json!({ "kms:PrimaryRegion": "sa-east-1" }),
                    ),
                    lacking(Resource),
                ),
            ]),
        kms("kms:ReplicaRegion")
            .key([allow(
                KEEPER,
                "ReplicateKey",
                json!({ "StringEquals": { "kms:ReplicaRegion": ["eu-west-1", "eu-west-3"] } }),
            )])
            .rows([
                (
                    ask(KEEPING, A::ReplicateKey, json!({ "kms:ReplicaRegion": "eu-west-1" })),
                    by_key(0),
                ),
                (
                    ask(KEEPING, A::ReplicateKey, json!({ "kms:ReplicaRegion": "sa-east-1" })),
                    lacking(Resource),
                ),
                // It is about replication alone.
                (
                    ask(
                        KEEPING,
                        A::UpdatePrimaryRegion,
                        json!({ "kms:PrimaryRegion": "eu-west-1" }),
                    ),
                    lacking(Resource),
                ),
            ]),
        kms("kms:ReplicaRegion: name patterns")
            .key([allow(
                KEEPER,
                "ReplicateKey",
                json!({ "StringLike": { "kms:ReplicaRegion": "eu-*" } }),
            )])
            .rows([
                (
                    ask(KEEPING, A::ReplicateKey, json!({ "kms:ReplicaRegion": "eu-west-1" })),
                    by_key(0),
                ),
                (
                    ask(KEEPING, A::ReplicateKey, json!({ "kms:ReplicaRegion": "us-east-1" })),
                    lacking(Resource),
                ),
            ]),
        kms("kms:RotationPeriodInDays")
            .key([
                allow(ROOT, "*", ALWAYS),
                deny("*", "EnableKeyRotation", at_most("RotationPeriodInDays", "200")),
            ])
            .identity([may("EnableKeyRotation", "*", ALWAYS)])
            .rows([
                (
                    ask(ANA, A::EnableKeyRotation, days("RotationPeriodInDays", 201)),
                    by_account(0, 0, 0),
                ),
                (
                    ask(ANA, A::EnableKeyRotation, days("RotationPeriodInDays", 200)),
                    denied(Resource, 0, 1),
                ),
                (
                    ask(ROOT, A::EnableKeyRotation, days("RotationPeriodInDays", 90)).bare(),
                    denied(Resource, 0, 1),
                ),
            ]),
        kms("kms:ScheduleKeyDeletionPendingWindowInDays")
            .key([
                allow(BEN, "ScheduleKeyDeletion", ALWAYS),
                deny("*", "ScheduleKeyDeletion", at_most(window, "14")),
            ])
            .rows([
                (ask(BEN, A::ScheduleKeyDeletion, days(window, 30)), by_key(0)),
                (ask(BEN, A::ScheduleKeyDeletion, days(window, 14)), denied(Resource, 0, 1)),
                (ask(BEN, A::ScheduleKeyDeletion, days(window, 7)), denied(Resource, 0, 1)),
            ]),
    ]
}

fn aliases() -> Vec<Example> {
    let named = |alias: &str| json!({ "kms:RequestAlias": alias });
    vec![
        kms("kms:RequestAlias")
            .key([allow(
                APP,
                "GenerateDataKey",
                json!({ "StringEquals": { "kms:RequestAlias": "alias/ledger" } }),
            )])
            .rows([
                (ask(RUN, A::GenerateDataKey, named("alias/ledger")), by_key(0)),
                (ask(RUN, A::GenerateDataKey, named("alias/mail")), lacking(Resource)),
                // The request names the key by its id.
                (ask(RUN, A::GenerateDataKey, json!({})), lacking(Resource)),
            ]),
        kms("Using aliases to control access to KMS keys: kms:RequestAlias")
            .key([allow(
                APP,
                "Decrypt GenerateDataKey* DescribeKey",
                json!({ "StringLike": { "kms:RequestAlias": "alias/*alpine*" } }),
            )])
            .rows([
                (ask(RUN, A::DescribeKey, named("alias/project-alpine")), by_key(0)),
                (ask(RUN, A::DescribeKey, named("alias/project-beach")), lacking(Resource)),
                (ask(RUN, A::DescribeKey, json!({})), lacking(Resource)),
            ]),
    ]
}
