//! Condition keys that are about the key of a request: KMS Developer Guide, "AWS KMS condition
//! keys", "Controlling access to multi-Region keys" and "ABAC for AWS KMS".

use kms_policy::Action as A;
use kms_policy::PolicyType::{Identity, Resource};
use serde_json::{Value, json};

use super::harness::{Example, ask, kms};
use super::people::{ANA, FAR_KEY, KEEPER, KEEPING, RUN, SECOND_KEY};
use super::statements::{
    ALWAYS, allow, by_account, by_identity, by_key, denied, lacking, may, may_not,
};

const HERE: &str = "arn:aws:kms:eu-north-1:210987654321:key/*";
const EVERYWHERE: &str = "arn:aws:kms:*:210987654321:key/*";
const DATA_KEYS: &str = "Encrypt Decrypt GenerateDataKey* ReEncrypt*";

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = properties();
    examples.extend(multi_region());
    examples.extend(tags());
    examples.extend(aliases());
    examples
}

fn equals(facts: Value) -> Value {
    json!({ "StringEquals": facts })
}

fn properties() -> Vec<Example> {
    let origin = |name: &str| json!({ "kms:KeyOrigin": name });
    let spec = |name: &str| json!({ "kms:KeySpec": name });
    let usage = |name: &str| json!({ "kms:KeyUsage": name });
    let hsm = "AWS_CLOUDHSM";
    vec![
        // The guide has both statements in one key policy, where CreateKey would never apply;
        // its table allows that condition in IAM policies only.
        kms("kms:KeyOrigin: CreateKey")
            .identity([
                may("CreateKey", "*", equals(origin("AWS_KMS"))),
                may(DATA_KEYS, HERE, equals(origin(hsm))),
            ])
            .rows([
                (ask(ANA, A::CreateKey, origin("AWS_KMS")), by_identity(0, 0)),
                (ask(ANA, A::Encrypt, origin(hsm)), by_account(0, 0, 1)),
                (ask(ANA, A::CreateKey, origin("EXTERNAL")), lacking(Identity)),
                (ask(ANA, A::Encrypt, origin("AWS_KMS")), lacking(Identity)),
            ]),
        kms("kms:KeyOrigin: CreateKey in a key policy")
            .key([
                allow(KEEPER, "CreateKey", equals(origin("AWS_KMS"))),
                allow(KEEPER, DATA_KEYS, equals(origin(hsm))),
            ])
            .rows([
                (ask(KEEPING, A::Encrypt, origin(hsm)), by_key(1)),
                (ask(KEEPING, A::Encrypt, origin("AWS_KMS")), lacking(Resource)),
                (ask(KEEPING, A::CreateKey, origin("AWS_KMS")), lacking(Identity)),
            ]),
        kms("kms:KeyOrigin: KMS key resource operations")
            .identity([may(DATA_KEYS, HERE, equals(origin(hsm)))])
            .rows([
                (ask(ANA, A::GenerateDataKeyPair, origin(hsm)), by_account(0, 0, 0)),
                (ask(ANA, A::GenerateDataKeyPair, origin("EXTERNAL")), lacking(Identity)),
                (ask(ANA, A::GenerateDataKeyPair, origin(hsm)).on(FAR_KEY), lacking(Identity)),
            ]),
        kms("kms:KeySpec: CreateKey")
            .identity([may("CreateKey", "*", json!({ "StringLike": spec("RSA_*") }))])
            .rows([
                (ask(ANA, A::CreateKey, spec("RSA_4096")), by_identity(0, 0)),
                (ask(ANA, A::CreateKey, spec("SYMMETRIC_DEFAULT")), lacking(Identity)),
            ]),
        kms("kms:KeySpec: KMS key resource operations")
            .identity([may(
                "Encrypt Decrypt ReEncrypt* DescribeKey ListKeys",
                "*",
                equals(spec("SYMMETRIC_DEFAULT")),
            )])
            .rows([
                (ask(ANA, A::Decrypt, spec("SYMMETRIC_DEFAULT")), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, spec("RSA_2048")), lacking(Identity)),
                // Of an operation without a key the condition never holds.
                (ask(ANA, A::ListKeys, json!({})), lacking(Identity)),
            ]),
        kms("kms:CustomerMasterKeySpec (deprecated)")
            .identity([may(
                "Decrypt",
                HERE,
                equals(json!({ "kms:CustomerMasterKeySpec": "SYMMETRIC_DEFAULT" })),
            )])
            .rows([
                (
                    ask(
                        ANA,
                        A::Decrypt,
                        json!({ "kms:CustomerMasterKeySpec": "SYMMETRIC_DEFAULT" }),
                    ),
                    by_account(0, 0, 0),
                ),
                (
                    ask(ANA, A::Decrypt, json!({ "kms:CustomerMasterKeySpec": "RSA_2048" })),
                    lacking(Identity),
                ),
            ]),
        kms("kms:KeyUsage: CreateKey")
            .identity([may("CreateKey", "*", equals(usage("ENCRYPT_DECRYPT")))])
            .rows([
                (ask(ANA, A::CreateKey, usage("ENCRYPT_DECRYPT")), by_identity(0, 0)),
                (ask(ANA, A::CreateKey, usage("SIGN_VERIFY")), lacking(Identity)),
            ]),
        kms("kms:KeyUsage: KMS key resource operations")
            .identity([may(
                "CreateGrant DescribeKey GetPublicKey ScheduleKeyDeletion",
                HERE,
                equals(usage("SIGN_VERIFY")),
            )])
            .rows([
                (ask(ANA, A::GetPublicKey, usage("SIGN_VERIFY")), by_account(0, 0, 0)),
                (ask(ANA, A::GetPublicKey, usage("KEY_AGREEMENT")), lacking(Identity)),
                (ask(ANA, A::Sign, usage("SIGN_VERIFY")), lacking(Identity)),
            ]),
        kms("Controlling access to HMAC KMS keys")
            .identity([
                may("CreateKey", "*", equals(spec("HMAC_384"))),
                may("ScheduleKeyDeletion CancelKeyDeletion", HERE, equals(spec("HMAC_256"))),
                may("EnableKey DisableKey", HERE, equals(usage("GENERATE_VERIFY_MAC"))),
            ])
            .rows([
                (ask(ANA, A::CreateKey, spec("HMAC_384")), by_identity(0, 0)),
                (ask(ANA, A::CancelKeyDeletion, spec("HMAC_256")), by_account(0, 0, 1)),
                (ask(ANA, A::DisableKey, usage("GENERATE_VERIFY_MAC")), by_account(0, 0, 2)),
                (ask(ANA, A::CreateKey, spec("HMAC_256")), lacking(Identity)),
                (ask(ANA, A::CancelKeyDeletion, spec("HMAC_384")), lacking(Identity)),
                (ask(ANA, A::DisableKey, usage("SIGN_VERIFY")), lacking(Identity)),
            ]),
    ]
}

fn multi_region() -> Vec<Example> {
    let several = |flag: bool| json!({ "kms:MultiRegion": flag });
    let kind = |name: &str| json!({ "kms:MultiRegionKeyType": name });
    let related = "arn:aws:kms:*:210987654321:key/mrk-00112233445566778899aabbccddeeff";
    let twin = "arn:aws:kms:sa-east-1:210987654321:key/mrk-00112233445566778899aabbccddeeff";
    vec![
        kms("kms:MultiRegion")
            .identity([may("CreateKey", "*", json!({ "Bool": several(false) }))])
            .rows([
                (ask(ANA, A::CreateKey, several(false)), by_identity(0, 0)),
                (ask(ANA, A::CreateKey, several(true)), lacking(Identity)),
            ]),
        kms("kms:MultiRegionKeyType")
            .identity([may(
                "ScheduleKeyDeletion CancelKeyDeletion",
                EVERYWHERE,
                equals(kind("REPLICA")),
            )])
            .rows([
                (
                    ask(ANA, A::ScheduleKeyDeletion, kind("REPLICA")).on(FAR_KEY),
                    by_account(0, 0, 0),
                ),
                (ask(ANA, A::ScheduleKeyDeletion, kind("PRIMARY")), lacking(Identity)),
                // A key of a single Region is neither.
                (ask(ANA, A::ScheduleKeyDeletion, several(false)), lacking(Identity)),
            ]),
        kms("Controlling access to multi-Region keys: Creating a primary key")
            .identity([
                may("CreateKey iam:CreateServiceLinkedRole", "*", ALWAYS),
                may_not("CreateKey", "*", json!({ "Bool": several(true) })),
            ])
            .rows([
                (ask(ANA, A::CreateKey, several(false)), by_identity(0, 0)),
                (ask(ANA, A::CreateKey, several(true)), denied(Identity, 0, 1)),
            ]),
        kms("Controlling access to multi-Region keys: Key ARN")
            .identity([may("Describe* List*", related, ALWAYS)])
            .rows([
                (ask(ANA, A::DescribeKey, json!({})).on(twin), by_account(0, 0, 0)),
                (ask(ANA, A::DescribeKey, json!({})).on(FAR_KEY), lacking(Identity)),
                (ask(ANA, A::Decrypt, json!({})).on(twin), lacking(Identity)),
            ]),
        kms("Controlling access to multi-Region keys: Updating the primary Region")
            .identity([may(
                "UpdatePrimaryRegion",
                EVERYWHERE,
                equals(json!({ "kms:PrimaryRegion": ["eu-west-1", "sa-east-1"] })),
            )])
            .rows([
                (
                    ask(ANA, A::UpdatePrimaryRegion, json!({ "kms:PrimaryRegion": "sa-east-1" })),
                    by_account(0, 0, 0),
                ),
                (
                    ask(ANA, A::UpdatePrimaryRegion, json!({ "kms:PrimaryRegion": "us-east-1" })),
                    lacking(Identity),
                ),
            ]),
        kms("Controlling access to multi-Region keys: Using and managing multi-Region keys")
            .identity([may("*", "*", ALWAYS), may_not("*", "*", json!({ "Bool": several(true) }))])
            .rows([
                (ask(ANA, A::EnableKey, several(false)), by_account(0, 0, 0)),
                (ask(ANA, A::ListKeys, json!({})), by_identity(0, 0)),
                (ask(ANA, A::EnableKey, several(true)), denied(Identity, 0, 1)),
            ]),
    ]
}

fn tags() -> Vec<Example> {
    let tagged = |tags: Value| json!({ "aws:ResourceTag": tags });
    let asked = |tags: Value, keys: &[&str]| json!({ "aws:RequestTag": tags, "aws:TagKeys": keys });
    vec![
        kms("ABAC condition keys for AWS KMS")
            .identity([may(
                "Decrypt Encrypt GenerateDataKey* DescribeKey",
                EVERYWHERE,
                equals(json!({ "aws:ResourceTag/Purpose": "Trial" })),
            )])
            .rows([
                (ask(RUN, A::Decrypt, tagged(json!({ "Purpose": "Trial" }))), by_account(0, 0, 0)),
                (ask(RUN, A::Decrypt, tagged(json!({ "Purpose": "trial" }))), lacking(Identity)),
                (ask(RUN, A::Decrypt, tagged(json!({}))), lacking(Identity)),
            ]),
        kms("Using tags to control access to KMS keys: a tag and a Region")
            .identity([may(
                "GenerateDataKeyWithoutPlaintext Decrypt",
                "arn:aws:kms:ap-south-2:210987654321:key/*",
                equals(json!({ "aws:ResourceTag/Project": "Alpine" })),
            )])
            .rows([
                (
                    ask(RUN, A::Decrypt, tagged(json!({ "Project": "Alpine" }))).on(FAR_KEY),
                    by_account(0, 0, 0),
                ),
                (ask(RUN, A::Decrypt, tagged(json!({ "Project": "Alpine" }))), lacking(Identity)),
                (
                    ask(RUN, A::Decrypt, tagged(json!({ "Project": "Beach" }))).on(FAR_KEY),
                    lacking(Identity),
                ),
            ]),
        kms("Using tags to control access to KMS keys: reserved keys and untagged keys")
            .identity([
                may("Encrypt GenerateDataKey* Decrypt ReEncrypt*", EVERYWHERE, ALWAYS),
                may_not("*", EVERYWHERE, equals(json!({ "aws:ResourceTag/Type": "Reserved" }))),
                may_not("*", EVERYWHERE, json!({ "Null": { "aws:ResourceTag/Type": "true" } })),
            ])
            .rows([
                (ask(RUN, A::Decrypt, tagged(json!({ "Type": "Common" }))), by_account(0, 0, 0)),
                (
                    ask(RUN, A::Decrypt, tagged(json!({ "Type": "Reserved" }))),
                    denied(Identity, 0, 1),
                ),
                (ask(RUN, A::Decrypt, tagged(json!({ "Kind": "x" }))), denied(Identity, 0, 2)),
                (ask(RUN, A::Decrypt, json!({})), denied(Identity, 0, 2)),
                // An empty value counts as none.
                (ask(RUN, A::Decrypt, tagged(json!({ "Type": "" }))), denied(Identity, 0, 2)),
            ]),
        kms("Controlling access to tags: Limiting tag permissions")
            .identity([
                may("CreateKey", "*", ALWAYS),
                may("ListResourceTags", EVERYWHERE, ALWAYS),
                may(
                    "TagResource UntagResource",
                    EVERYWHERE,
                    json!({ "ForAllValues:StringEquals": { "aws:TagKeys": "Project" } }),
                ),
            ])
            .rows([
                (ask(ANA, A::CreateKey, json!({})), by_identity(0, 0)),
                (
                    ask(ANA, A::TagResource, asked(json!({ "Project": "x" }), &["Project"])),
                    by_account(0, 0, 2),
                ),
                (ask(ANA, A::UntagResource, asked(json!({}), &["Project"])), by_account(0, 0, 2)),
                (
                    ask(ANA, A::UntagResource, asked(json!({}), &["Project", "Owner"])),
                    lacking(Identity),
                ),
            ]),
        kms("Controlling access to tags: aws:RequestTag")
            .key([allow(
                KEEPER,
                "TagResource UntagResource",
                equals(json!({ "aws:RequestTag/Purpose": "Trial" })),
            )])
            .rows([
                (
                    ask(
                        KEEPING,
                        A::TagResource,
                        asked(json!({ "Purpose": "Trial" }), &["Purpose"]),
                    ),
                    by_key(0),
                ),
                (
                    ask(KEEPING, A::TagResource, asked(json!({ "Purpose": "Real" }), &["Purpose"])),
                    lacking(Resource),
                ),
                (
                    ask(KEEPING, A::TagResource, asked(json!({ "Owner": "Trial" }), &["Owner"])),
                    lacking(Resource),
                ),
            ]),
    ]
}

fn aliases() -> Vec<Example> {
    let known_as = |names: &[&str]| json!({ "kms:ResourceAliases": names });
    let trial = json!({ "kms:ResourceAliases": ["alias/*Trial*"] });
    vec![
        kms("kms:ResourceAliases: ForAnyValue")
            .identity([may(
                "GenerateDataKey",
                &format!("{EVERYWHERE} arn:aws:kms:*:345678901234:key/*"),
                json!({ "ForAnyValue:StringEquals": { "kms:ResourceAliases": "alias/ledger" } }),
            )])
            .rows([
                (
                    ask(RUN, A::GenerateDataKey, known_as(&["alias/x", "alias/ledger"])),
                    by_account(0, 0, 0),
                ),
                (ask(RUN, A::GenerateDataKey, known_as(&["alias/x"])), lacking(Identity)),
                (ask(RUN, A::GenerateDataKey, known_as(&[])), lacking(Identity)),
                // A key with more aliases than the quota has.
                (
                    ask(RUN, A::GenerateDataKey, json!({ "kms:ResourceAliases": null })),
                    lacking(Identity),
                ),
            ]),
        kms("kms:ResourceAliases: ForAllValues and ForAnyValue")
            .identity([may(
                "EnableKey DisableKey",
                EVERYWHERE,
                json!({ "ForAllValues:StringLike": trial, "ForAnyValue:StringLike": trial }),
            )])
            .rows([
                (
                    ask(ANA, A::EnableKey, known_as(&["alias/Trial-1", "alias/aTrial"])),
                    by_account(0, 0, 0),
                ),
                (
                    ask(ANA, A::EnableKey, known_as(&["alias/Trial-1", "alias/Real"])),
                    lacking(Identity),
                ),
                (ask(ANA, A::EnableKey, known_as(&[])), lacking(Identity)),
            ]),
        kms("Using aliases to control access to KMS keys: kms:ResourceAliases")
            .identity([may(
                "EnableKeyRotation DisableKeyRotation GetKeyRotationStatus",
                EVERYWHERE,
                json!({ "ForAnyValue:StringLike": { "kms:ResourceAliases": "alias/closed*" } }),
            )])
            .rows([
                (
                    ask(ANA, A::EnableKeyRotation, known_as(&["alias/closed-1"])).on(SECOND_KEY),
                    by_account(0, 0, 0),
                ),
                (ask(ANA, A::EnableKeyRotation, known_as(&["alias/open"])), lacking(Identity)),
            ]),
    ]
}
