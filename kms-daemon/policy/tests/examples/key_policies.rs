//! Key policies of the KMS Developer Guide: the default ones, those for other accounts, for
//! services and for endpoints.

use kms_policy::Action as A;
use kms_policy::PolicyType::{Endpoint, Identity, Resource};
use serde_json::{Value, json};

use super::harness::{Example, ask, kms};
use super::people::{
    ANA, APP, BEN, ENGINEER, EVA, FINN, KEEPER, KEEPING, KEY, PARTNER, ROOT, RUN, SECOND_KEY, TRAIL,
};
use super::statements::{
    ALWAYS, BY_GRANT, OTHER_ACCOUNT, allow, by_account, by_key, denied, deny, lacking, may, may_not,
};

const ADMINISTRATION: &str = "Create* Describe* Enable* List* Put* Update* Revoke* Disable* Get* \
                              Delete* TagResource UntagResource ScheduleKeyDeletion \
                              CancelKeyDeletion RotateKeyOnDemand";
const USE: &str = "Encrypt Decrypt ReEncrypt* GenerateDataKey* DescribeKey";
const GRANTS: &str = "CreateGrant ListGrants RevokeGrant";

fn no_facts() -> Value {
    json!({})
}

fn for_a_resource() -> Value {
    json!({ "Bool": { "kms:GrantIsForAWSResource": "true" } })
}

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = default_policies();
    examples.extend(other_accounts());
    examples.extend(services());
    examples.extend(endpoints());
    examples
}

fn default_policies() -> Vec<Example> {
    vec![
        kms("Default key policy: Allows access to the AWS account and enables IAM policies")
            .key([allow(ROOT, "*", ALWAYS)])
            .identity([may("Decrypt", KEY, ALWAYS)])
            .rows([
                (ask(ROOT, A::PutKeyPolicy, no_facts()).bare(), by_key(0)),
                (ask(ANA, A::Decrypt, no_facts()), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, no_facts()), lacking(Identity)),
                (ask(ANA, A::Decrypt, no_facts()).bare(), lacking(Identity)),
                (ask(EVA, A::Decrypt, no_facts()), lacking(Resource)),
            ]),
        // Without the account's statement, IAM policies allow nothing, and still deny.
        kms("Default key policy: Allows IAM policies to allow access to the KMS key")
            .key([allow(&format!("{ANA} {BEN}"), "*", ALWAYS)])
            .identity([may("*", "*", ALWAYS), may_not("ScheduleKeyDeletion", "*", ALWAYS)])
            .rows([
                (ask(BEN, A::PutKeyPolicy, no_facts()), by_key(0)),
                (ask(BEN, A::ScheduleKeyDeletion, no_facts()), denied(Identity, 0, 1)),
                (ask(RUN, A::Decrypt, no_facts()), lacking(Resource)),
                (ask(ROOT, A::PutKeyPolicy, no_facts()).bare(), lacking(Resource)),
            ]),
        kms("Default key policy: Allows key administrators to administer the KMS key")
            .key([
                allow(ROOT, "*", ALWAYS),
                allow(&format!("{BEN} {KEEPER}"), ADMINISTRATION, ALWAYS),
            ])
            .rows([
                (ask(BEN, A::PutKeyPolicy, no_facts()), by_key(1)),
                (ask(KEEPING, A::CreateGrant, no_facts()), by_key(1)),
                (ask(KEEPING, A::CreateAlias, no_facts()), by_key(1)),
                (ask(KEEPING, A::EnableKeyRotation, no_facts()), by_key(1)),
                (ask(KEEPING, A::UpdateKeyDescription, no_facts()), by_key(1)),
                (ask(KEEPING, A::GetParametersForImport, no_facts()), by_key(1)),
                (ask(KEEPING, A::DeleteImportedKeyMaterial, no_facts()), by_key(1)),
                (ask(KEEPING, A::CancelKeyDeletion, no_facts()), by_key(1)),
                (ask(KEEPING, A::Decrypt, no_facts()), lacking(Identity)),
                (ask(KEEPING, A::ImportKeyMaterial, no_facts()), lacking(Identity)),
                (ask(KEEPING, A::ReplicateKey, no_facts()), lacking(Identity)),
                (ask(ANA, A::PutKeyPolicy, no_facts()), lacking(Identity)),
                // Actions of `Create*` and `List*` that are about no key are IAM's alone.
                (ask(KEEPING, A::CreateKey, no_facts()), lacking(Identity)),
                (ask(KEEPING, A::ListKeys, no_facts()), lacking(Identity)),
            ]),
        // Deletion is left out if its box is cleared; `Delete*` does not bring it back.
        kms("Default key policy: kms:Delete*")
            .key([allow(KEEPER, "Create* Delete* Put*", ALWAYS)])
            .rows([
                (ask(KEEPING, A::DeleteAlias, no_facts()), by_key(0)),
                (ask(KEEPING, A::ScheduleKeyDeletion, no_facts()), lacking(Resource)),
            ]),
        kms("Default key policy: kms:ImportKeyMaterial, kms:ReplicateKey")
            .key([allow(KEEPER, "ImportKeyMaterial ReplicateKey UpdatePrimaryRegion", ALWAYS)])
            .rows([
                (ask(KEEPING, A::ImportKeyMaterial, no_facts()), by_key(0)),
                (ask(KEEPING, A::ReplicateKey, no_facts()), by_key(0)),
                (ask(KEEPING, A::UpdatePrimaryRegion, no_facts()), by_key(0)),
                (ask(KEEPING, A::GetKeyPolicy, no_facts()), lacking(Resource)),
            ]),
        kms("Default key policy: Allows key users to use a KMS key for cryptographic operations")
            .key([allow(ROOT, "*", ALWAYS), allow(&format!("{ANA} {APP}"), USE, ALWAYS)])
            .rows([
                (ask(ANA, A::Encrypt, no_facts()), by_key(1)),
                (ask(RUN, A::ReEncryptTo, no_facts()), by_key(1)),
                (ask(RUN, A::GenerateDataKeyPair, no_facts()), by_key(1)),
                (ask(ANA, A::GenerateMac, no_facts()), lacking(Identity)),
                (ask(ANA, A::PutKeyPolicy, no_facts()), lacking(Identity)),
                (ask(BEN, A::Encrypt, no_facts()), lacking(Identity)),
            ]),
        kms("Default key policy: key users of HMAC keys")
            .key([allow(APP, "DescribeKey GenerateMac VerifyMac", ALWAYS)])
            .rows([
                (ask(RUN, A::VerifyMac, no_facts()), by_key(0)),
                (ask(RUN, A::Verify, no_facts()), lacking(Resource)),
            ]),
        kms("Default key policy: key users of keys for signing and key agreement")
            .key([
                allow(ANA, "DescribeKey GetPublicKey Sign Verify", ALWAYS),
                allow(APP, "DescribeKey GetPublicKey DeriveSharedSecret", ALWAYS),
            ])
            .rows([
                (ask(ANA, A::Sign, no_facts()), by_key(0)),
                (ask(ANA, A::DeriveSharedSecret, no_facts()), lacking(Resource)),
                (ask(RUN, A::DeriveSharedSecret, no_facts()), by_key(1)),
                (ask(RUN, A::Sign, no_facts()), lacking(Resource)),
            ]),
        kms("Default key policy: Allows key users to use the KMS key with AWS services")
            .key([allow(&format!("{ANA} {APP}"), GRANTS, for_a_resource())])
            .rows([
                (ask(ANA, A::CreateGrant, json!({ "kms:GrantIsForAWSResource": true })), by_key(0)),
                (ask(RUN, A::RevokeGrant, json!({ "kms:GrantIsForAWSResource": true })), by_key(0)),
                (
                    ask(ANA, A::CreateGrant, json!({ "kms:GrantIsForAWSResource": false })),
                    lacking(Resource),
                ),
                (ask(ANA, A::CreateGrant, no_facts()), lacking(Resource)),
            ]),
        kms("Creating a key policy")
            .key([allow(
                ANA,
                "DescribeKey",
                json!({ "StringEquals": { "kms:KeySpec": "SYMMETRIC_DEFAULT" } }),
            )])
            .rows([
                (
                    ask(ANA, A::DescribeKey, json!({ "kms:KeySpec": "SYMMETRIC_DEFAULT" })),
                    by_key(0),
                ),
                (ask(ANA, A::DescribeKey, json!({ "kms:KeySpec": "RSA_2048" })), lacking(Resource)),
            ]),
        kms("Troubleshooting key access: Example 1")
            .key([allow(ROOT, "*", ALWAYS)])
            .identity([may("Encrypt", KEY, ALWAYS)])
            .rows([
                (ask(ANA, A::Encrypt, no_facts()).bare(), lacking(Identity)),
                (ask(ANA, A::Encrypt, no_facts()), by_account(0, 0, 0)),
                // A grant would have done too.
                (ask(ANA, A::Encrypt, no_facts()).bare().granted(), BY_GRANT),
            ]),
        kms("Controlling access to tags: Tag permissions in policies")
            .key([
                allow(ROOT, "*", ALWAYS),
                allow(BEN, "TagResource ListResourceTags UntagResource", ALWAYS),
                allow(&format!("{KEEPER} {APP}"), "ListResourceTags", ALWAYS),
            ])
            .rows([
                (ask(BEN, A::UntagResource, no_facts()), by_key(1)),
                (ask(RUN, A::ListResourceTags, no_facts()), by_key(2)),
                (ask(RUN, A::TagResource, no_facts()), lacking(Identity)),
            ]),
    ]
}

fn other_accounts() -> Vec<Example> {
    vec![
        kms("Allowing users in other accounts to use a KMS key: an account in the key policy")
            .key([allow(PARTNER, USE, ALWAYS)])
            .identity([may(&format!("{USE} CreateGrant"), KEY, ALWAYS)])
            .rows([
                (ask(EVA, A::Decrypt, no_facts()), by_account(0, 0, 0)),
                (ask(ENGINEER, A::DescribeKey, no_facts()), by_account(0, 0, 0)),
                // Neither policy is enough by itself.
                (ask(EVA, A::Decrypt, no_facts()).bare(), lacking(Identity)),
                (ask(EVA, A::CreateGrant, no_facts()), lacking(Resource)),
                (ask(EVA, A::Sign, no_facts()), lacking(Identity)),
            ]),
        kms("Allowing users in other accounts to use a KMS key: users and roles by name")
            .key([allow(&format!("{EVA} arn:aws:iam::345678901234:role/engineers"), USE, ALWAYS)])
            .identity([may(USE, KEY, ALWAYS)])
            .rows([
                (ask(EVA, A::Encrypt, no_facts()), by_account(0, 0, 0)),
                (ask(ENGINEER, A::ReEncryptFrom, no_facts()), by_account(0, 0, 0)),
                (ask(EVA, A::Encrypt, no_facts()).bare(), lacking(Identity)),
                // An IAM policy adds nobody to those whom the key policy names.
                (ask(FINN, A::Encrypt, no_facts()), lacking(Resource)),
            ]),
        kms("Allowing users in other accounts to use a KMS key: resources of services")
            .key([allow(PARTNER, GRANTS, for_a_resource())])
            .identity([may(GRANTS, KEY, ALWAYS)])
            .rows([
                (
                    ask(EVA, A::CreateGrant, json!({ "kms:GrantIsForAWSResource": true })),
                    by_account(0, 0, 0),
                ),
                (
                    ask(EVA, A::CreateGrant, json!({ "kms:GrantIsForAWSResource": false })),
                    lacking(Resource),
                ),
            ]),
        // "Supported cross-account operations": management stays with the owner.
        kms("Permissions reference: cross-account use")
            .key([allow(PARTNER, "*", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(EVA, A::GetKeyRotationStatus, no_facts()), by_account(0, 0, 0)),
                (ask(EVA, A::GetPublicKey, no_facts()), by_account(0, 0, 0)),
                (ask(EVA, A::RevokeGrant, no_facts()), by_account(0, 0, 0)),
                (ask(EVA, A::PutKeyPolicy, no_facts()), OTHER_ACCOUNT),
                (ask(EVA, A::DisableKey, no_facts()), OTHER_ACCOUNT),
                (ask(EVA, A::TagResource, no_facts()), OTHER_ACCOUNT),
                (ask(EVA, A::ScheduleKeyDeletion, no_facts()), OTHER_ACCOUNT),
            ]),
        kms("Troubleshooting key access: Example 2")
            .key([allow(ROOT, "*", ALWAYS), allow(PARTNER, USE, ALWAYS)])
            .identity([may(USE, KEY, ALWAYS)])
            .rows([
                (ask(ENGINEER, A::GenerateDataKey, no_facts()), by_account(1, 0, 0)),
                (ask(ENGINEER, A::GenerateDataKey, no_facts()).bare(), lacking(Identity)),
                (ask(ENGINEER, A::ListGrants, no_facts()), lacking(Identity)),
                (ask(ENGINEER, A::GenerateDataKey, no_facts()).on(SECOND_KEY), lacking(Identity)),
            ]),
    ]
}

fn services() -> Vec<Example> {
    let tracker = "arn:aws:geo:eu-north-1:210987654321:tracker/vans";
    let trail = |region: &str, account: &str, name: &str| {
        format!("arn:aws:cloudtrail:{region}:{account}:trail/{name}")
    };
    let locate = |via: &str, tracker: &str| json!({ "kms:ViaService": via, "kms:EncryptionContext": { "aws:geo:arn": tracker } });
    let log = |source: &str, context: &str| {
        let context = json!({ "aws:cloudtrail:arn": context });
        json!({ "aws:SourceArn": source, "kms:EncryptionContext": context })
    };
    let ledger = trail("eu-north-1", "210987654321", "ledger");
    vec![
        kms("Permissions for AWS services in key policies: encryption context condition keys")
            .key([allow(
                APP,
                "CreateGrant",
                json!({ "StringEquals": {
                    "kms:ViaService": "geo.eu-north-1.amazonaws.com",
                    "kms:CallerAccount": "210987654321",
                    "kms:EncryptionContext:aws:geo:arn": tracker
                } }),
            )])
            .rows([
                (
                    ask(RUN, A::CreateGrant, locate("geo.eu-north-1.amazonaws.com", tracker)),
                    by_key(0),
                ),
                (
                    ask(RUN, A::CreateGrant, locate("s3.eu-north-1.amazonaws.com", tracker)),
                    lacking(Resource),
                ),
                (
                    ask(RUN, A::CreateGrant, locate("geo.eu-north-1.amazonaws.com", "other")),
                    lacking(Resource),
                ),
                (ask(RUN, A::DescribeKey, no_facts()), lacking(Resource)),
            ]),
        kms("Permissions for AWS services in key policies: aws:SourceArn or aws:SourceAccount")
            .key([allow(
                TRAIL,
                "GenerateDataKey",
                json!({
                    "ArnEquals": { "aws:SourceArn": [ledger] },
                    "StringLike": {
                        "kms:EncryptionContext:aws:cloudtrail:arn":
                            ["arn:aws:cloudtrail:*:210987654321:trail/*"]
                    }
                }),
            )])
            .rows([
                (ask(TRAIL, A::GenerateDataKey, log(&ledger, &ledger)), by_key(0)),
                (
                    ask(
                        TRAIL,
                        A::GenerateDataKey,
                        log(&trail("eu-north-1", "210987654321", "other"), &ledger),
                    ),
                    lacking(Resource),
                ),
                // Both conditions have to hold.
                (
                    ask(
                        TRAIL,
                        A::GenerateDataKey,
                        log(&ledger, &trail("eu-north-1", "345678901234", "ledger")),
                    ),
                    lacking(Resource),
                ),
                // Neither key is there when it is not the service that calls.
                (ask(ROOT, A::GenerateDataKey, no_facts()), lacking(Resource)),
            ]),
    ]
}

fn endpoints() -> Vec<Example> {
    let vpce = |id: &str| json!({ "aws:SourceVpce": id });
    let vpc = |id: &str| json!({ "aws:SourceVpc": id });
    vec![
        kms("Using a VPC endpoint in a policy statement: aws:sourceVpce")
            .key([
                allow("210987654321", "*", ALWAYS),
                deny(
                    "*",
                    "Encrypt Decrypt ReEncrypt* GenerateDataKey*",
                    json!({ "StringNotEquals": { "aws:sourceVpce": "vpce-0c0ffee0" } }),
                ),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, vpce("vpce-0c0ffee0")), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, vpce("vpce-0decaf00")), denied(Resource, 0, 1)),
                // Requests from elsewhere have no such key.
                (ask(ANA, A::Decrypt, no_facts()), denied(Resource, 0, 1)),
                (ask(ROOT, A::Encrypt, no_facts()).bare(), denied(Resource, 0, 1)),
                (ask(ANA, A::DescribeKey, no_facts()), by_account(0, 0, 0)),
            ]),
        kms("Using a VPC endpoint in a policy statement: aws:sourceVpc")
            .key([
                allow(
                    "210987654321",
                    "Create* Enable* Put* Update* Revoke* Disable* Delete* TagResource",
                    json!({ "StringEquals": { "aws:sourceVpc": "vpc-0a0a0a0a" } }),
                ),
                allow(
                    "210987654321",
                    "Encrypt Decrypt GenerateDataKey*",
                    json!({ "StringEquals": { "aws:sourceVpc": "vpc-0b0b0b0b" } }),
                ),
                allow("210987654321", "Describe* List* Get*", ALWAYS),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::DisableKey, vpc("vpc-0a0a0a0a")), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, vpc("vpc-0b0b0b0b")), by_account(1, 0, 0)),
                (ask(ANA, A::GetKeyPolicy, no_facts()), by_account(2, 0, 0)),
                (ask(ANA, A::Decrypt, vpc("vpc-0a0a0a0a")), lacking(Resource)),
                (ask(ANA, A::DisableKey, vpc("vpc-0b0b0b0b")), lacking(Resource)),
            ]),
        kms("Controlling access to a VPC endpoint")
            .identity([may("*", "*", ALWAYS)])
            .endpoint([json!({
                "Principal": { "AWS": ANA },
                "Effect": "Allow",
                "Action": ["kms:Decrypt", "kms:ListKeys"],
                "Resource": "*"
            })])
            .rows([
                (ask(ANA, A::Decrypt, no_facts()), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, no_facts()), lacking(Endpoint)),
                (ask(BEN, A::Decrypt, no_facts()), lacking(Endpoint)),
            ]),
    ]
}
