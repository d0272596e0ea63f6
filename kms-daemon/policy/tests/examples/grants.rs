//! Condition keys of KMS that are about grants: KMS Developer Guide, "AWS KMS condition keys".

use kms_policy::Action as A;
use kms_policy::PolicyType::Resource;
use serde_json::{Value, json};

use super::harness::{Example, ask, kms};
use super::people::{ANA, APP, BEN, KEEPER, RUN};
use super::statements::{BY_GRANT, allow, by_key, lacking};

pub(crate) fn examples() -> Vec<Example> {
    let operations = |names: Value| json!({ "kms:GrantOperations": names });
    let constraint = |name: &str| json!({ "kms:GrantConstraintType": name });
    let for_resource = |flag: bool| json!({ "kms:GrantIsForAWSResource": flag });
    let all = json!({ "ForAllValues:StringEquals": operations(json!(["Encrypt", "ReEncryptTo"])) });
    let any = json!({ "ForAnyValue:StringEquals": operations(json!(["Encrypt", "ReEncryptTo"])) });
    let subset = json!({ "StringEquals": { "kms:EncryptionContext:Department": "Tax" } });
    vec![
        kms("kms:GrantConstraintType")
            .key([allow(
                ANA,
                "CreateGrant",
                json!({ "StringEquals": constraint("EncryptionContextEquals") }),
            )])
            .rows([
                (ask(ANA, A::CreateGrant, constraint("EncryptionContextEquals")), by_key(0)),
                (
                    ask(ANA, A::CreateGrant, constraint("EncryptionContextSubset")),
                    lacking(Resource),
                ),
                (ask(ANA, A::CreateGrant, json!({})), lacking(Resource)),
                // With constraints of both types, the value is unknown.
                (
                    ask(ANA, A::CreateGrant, json!({ "kms:GrantConstraintType": null })),
                    lacking(Resource),
                ),
            ]),
        kms("kms:GrantIsForAWSResource")
            .key([allow(ANA, "CreateGrant", json!({ "Bool": for_resource(true) }))])
            .rows([
                (ask(ANA, A::CreateGrant, for_resource(true)), by_key(0)),
                (ask(ANA, A::CreateGrant, for_resource(false)), lacking(Resource)),
            ]),
        kms("kms:GrantOperations: ForAllValues").key([allow(ANA, "CreateGrant", all)]).rows([
            (ask(ANA, A::CreateGrant, operations(json!(["Encrypt"]))), by_key(0)),
            (ask(ANA, A::CreateGrant, operations(json!(["ReEncryptTo", "Encrypt"]))), by_key(0)),
            (
                ask(ANA, A::CreateGrant, operations(json!(["Encrypt", "Decrypt"]))),
                lacking(Resource),
            ),
            // The condition holds for an empty list of operations, but `CreateGrant` refuses such a
            // list.
            (ask(ANA, A::CreateGrant, operations(json!([]))), by_key(0)),
        ]),
        kms("kms:GrantOperations: ForAnyValue").key([allow(ANA, "CreateGrant", any)]).rows([
            (ask(ANA, A::CreateGrant, operations(json!(["Decrypt", "Encrypt"]))), by_key(0)),
            (ask(ANA, A::CreateGrant, operations(json!(["Decrypt"]))), lacking(Resource)),
            (ask(ANA, A::CreateGrant, operations(json!([]))), lacking(Resource)),
        ]),
        kms("kms:GranteePrincipal")
            .key([allow(
                ANA,
                "CreateGrant",
                json!({ "StringEquals": { "kms:GranteePrincipal": KEEPER } }),
            )])
            .rows([
                (ask(ANA, A::CreateGrant, json!({ "kms:GranteePrincipal": KEEPER })), by_key(0)),
                (
                    ask(ANA, A::CreateGrant, json!({ "kms:GranteePrincipal": APP })),
                    lacking(Resource),
                ),
            ]),
        kms("kms:RetiringPrincipal")
            .key([allow(
                ANA,
                "CreateGrant",
                json!({ "StringEquals": { "kms:RetiringPrincipal": [KEEPER, BEN] } }),
            )])
            .rows([
                (ask(ANA, A::CreateGrant, json!({ "kms:RetiringPrincipal": KEEPER })), by_key(0)),
                (ask(ANA, A::CreateGrant, json!({ "kms:RetiringPrincipal": BEN })), by_key(0)),
                (
                    ask(ANA, A::CreateGrant, json!({ "kms:RetiringPrincipal": APP })),
                    lacking(Resource),
                ),
                (ask(ANA, A::CreateGrant, json!({})), lacking(Resource)),
            ]),
        // For `CreateGrant`, the pairs are those of the grant constraint.
        kms("kms:EncryptionContext: CreateGrant").key([allow(APP, "CreateGrant", subset)]).rows([
            (
                ask(
                    RUN,
                    A::CreateGrant,
                    json!({ "kms:EncryptionContext": { "Department": "Tax" } }),
                ),
                by_key(0),
            ),
            (ask(RUN, A::CreateGrant, json!({})), lacking(Resource)),
        ]),
        // Grants are looked up, and their constraints checked, before the engine is called.
        kms("Creating grants: Using grant constraints")
            .key([allow(KEEPER, "CreateGrant", Value::Null)])
            .rows([
                (ask(ANA, A::Decrypt, json!({})).granted(), BY_GRANT),
                (ask(ANA, A::Decrypt, json!({})), lacking(Resource)),
            ]),
    ]
}
