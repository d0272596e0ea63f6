//! The tables of the IAM User Guide about several keys and several values, row by row.

use kms_policy::Action as A;
use kms_policy::PolicyType::{Identity, Resource};
use serde_json::{Value, json};

use super::harness::{Example, ask, iam};
use super::people::{ANA, BEN, KEEPING, LOGS, ROOT, TRAIL};
use super::statements::{ALWAYS, allow, by_account, by_key, denied, lacking, may, may_not};

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = several_keys();
    examples.extend(set_operators());
    examples.extend(missing_keys());
    examples
}

/// Who has those tags, as the facts of a request.
fn tagged(tags: Value) -> Value {
    json!({ "aws:PrincipalTag": tags })
}

fn several_keys() -> Vec<Example> {
    let condition = |operator: &str| {
        json!({
            "StringEquals": {
                "aws:PrincipalTag/department": ["tax", "hr", "legal"],
                "aws:PrincipalTag/duty": ["audit", "guard"]
            },
            operator: { "aws:PrincipalArn": [ANA, BEN] }
        })
    };
    let (yes, no) = (by_account(0, 0, 0), lacking(Resource));
    vec![
        iam("Evaluation logic for multiple context keys or values")
            .key([allow(ROOT, "*", condition("ArnLike"))])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, tagged(json!({ "department": "tax", "duty": "audit" }))), yes),
                (ask(BEN, A::Decrypt, tagged(json!({ "department": "hr", "duty": "guard" }))), yes),
                (
                    ask(KEEPING, A::Decrypt, tagged(json!({ "department": "hr", "duty": "audit" }))),
                    no,
                ),
                (ask(BEN, A::Decrypt, tagged(json!({ "department": "hr", "duty": "pay" }))), no),
                (ask(BEN, A::Decrypt, tagged(json!({ "department": "it", "duty": "audit" }))), no),
                (ask(BEN, A::Decrypt, tagged(json!({ "department": "hr" }))), no),
                (ask(BEN, A::Decrypt, json!({})), no),
            ]),
        // The values of a negated operator are under a NOR.
        iam("Evaluation logic for negated matching condition operators")
            .key([allow(ROOT, "*", condition("ArnNotLike"))])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (
                    ask(KEEPING, A::Decrypt, tagged(json!({ "department": "hr", "duty": "audit" }))),
                    yes,
                ),
                (ask(BEN, A::Decrypt, tagged(json!({ "department": "hr", "duty": "audit" }))), no),
                (
                    ask(KEEPING, A::Decrypt, tagged(json!({ "department": "hr", "duty": "pay" }))),
                    no,
                ),
                (ask(KEEPING, A::Decrypt, tagged(json!({ "department": "hr" }))), no),
                (ask(KEEPING, A::Decrypt, json!({})), no),
            ]),
        iam("Single-valued context key policy examples: multiple condition blocks")
            .identity([may(
                "TagResource",
                "*",
                json!({
                    "StringLike": { "aws:RequestTag/project": "*" },
                    "StringNotEquals": { "aws:ResourceTag/environment": "production" }
                }),
            )])
            .rows([
                (
                    ask(
                        ANA,
                        A::TagResource,
                        json!({
                            "aws:RequestTag": { "project": "alpine" },
                            "aws:ResourceTag": { "environment": "trial" }
                        }),
                    ),
                    yes,
                ),
                // The key has no such tag: the negation holds.
                (
                    ask(ANA, A::TagResource, json!({ "aws:RequestTag": { "project": "alpine" } })),
                    yes,
                ),
                (
                    ask(
                        ANA,
                        A::TagResource,
                        json!({
                            "aws:RequestTag": { "project": "alpine" },
                            "aws:ResourceTag": { "environment": "production" }
                        }),
                    ),
                    lacking(Identity),
                ),
                (
                    ask(ANA, A::TagResource, json!({ "aws:ResourceTag": { "environment": "x" } })),
                    lacking(Identity),
                ),
            ]),
        iam("Single-valued context key policy examples: one condition block with several keys")
            .identity([
                may("*", "*", ALWAYS),
                may_not(
                    "DisableKey",
                    "*",
                    json!({ "StringEquals": {
                        "aws:ResourceTag/environment": ["production", "staging"],
                        "aws:ResourceTag/team": "ledger"
                    } }),
                ),
            ])
            .rows([
                (
                    ask(
                        ANA,
                        A::DisableKey,
                        json!({ "aws:ResourceTag": { "environment": "staging", "team": "ledger" } }),
                    ),
                    denied(Identity, 0, 1),
                ),
                (
                    ask(
                        ANA,
                        A::DisableKey,
                        json!({ "aws:ResourceTag": { "environment": "staging", "team": "mail" } }),
                    ),
                    yes,
                ),
                (
                    ask(ANA, A::DisableKey, json!({ "aws:ResourceTag": { "team": "ledger" } })),
                    yes,
                ),
            ]),
    ]
}

fn set_operators() -> Vec<Example> {
    let keys = |list: &[&str]| json!({ "aws:TagKeys": list });
    let unless = |list: Value| json!({ "ForAllValues:StringNotLike": { "aws:TagKeys": list } });
    let everything = || may("*", "*", ALWAYS);
    let (yes, no) = (by_account(0, 0, 0), denied(Identity, 0, 1));
    vec![
        iam("Multivalued context key examples: ForAllValues, a single value")
            .identity([everything(), may_not("TagResource", "*", unless("key1*".into()))])
            .rows([
                (ask(ANA, A::TagResource, keys(&["key1:legal"])), yes),
                (ask(ANA, A::TagResource, keys(&["key1:hr", "key1:personnel"])), yes),
                (ask(ANA, A::TagResource, keys(&["key2:audit"])), no),
                (ask(ANA, A::TagResource, json!({})), no),
                // The text above the table wants all of them to start with key1; but if one
                // does, not all fail to, and nothing is denied. The table has no such row. The
                // engine does what the operator says.
                (ask(ANA, A::TagResource, keys(&["key1:hr", "key3:hr"])), yes),
            ]),
        iam("Multivalued context key examples: ForAllValues, several values")
            .identity([
                everything(),
                may_not("TagResource", "*", unless(json!(["key1*", "key2*"]))),
            ])
            .rows([
                (ask(ANA, A::TagResource, keys(&["key1:legal"])), yes),
                (ask(ANA, A::TagResource, keys(&["key1:hr", "key1:personnel"])), yes),
                (ask(ANA, A::TagResource, keys(&["key1:hr", "key2:audit"])), yes),
                (ask(ANA, A::TagResource, keys(&["key3:legal"])), no),
                (ask(ANA, A::TagResource, json!({})), no),
            ]),
        iam("Multivalued context key examples: ForAllValues with Null")
            .identity([
                everything(),
                may_not(
                    "TagResource",
                    "*",
                    json!({
                        "ForAllValues:StringNotLike": { "aws:TagKeys": "key1*" },
                        "Null": { "aws:TagKeys": "false" }
                    }),
                ),
            ])
            .rows([
                (ask(ANA, A::TagResource, keys(&["key2:audit"])), no),
                (ask(ANA, A::TagResource, json!({})), yes),
                (ask(ANA, A::TagResource, keys(&[])), yes),
            ]),
        iam("Multivalued context key examples: ForAnyValue")
            .identity([
                everything(),
                may_not(
                    "TagResource",
                    "*",
                    json!({ "ForAnyValue:StringEquals": { "aws:TagKeys": "webserver" } }),
                ),
            ])
            .rows([
                (ask(ANA, A::TagResource, keys(&["webserver"])), no),
                (ask(ANA, A::TagResource, keys(&["environment", "webserver", "test"])), no),
                (ask(ANA, A::TagResource, keys(&["environment", "test"])), yes),
                (ask(ANA, A::TagResource, json!({})), yes),
            ]),
        // A set that may be asked for, as of a table's attributes in the guide.
        iam("Single-valued vs. multivalued context keys: ForAllValues to allow")
            .identity([may(
                "UntagResource",
                "*",
                json!({ "ForAllValues:StringLike": { "aws:TagKeys": ["Date", "Note", "Tag*"] } }),
            )])
            .rows([
                (ask(ANA, A::UntagResource, keys(&["Date", "Note"])), yes),
                (ask(ANA, A::UntagResource, keys(&["Tag1", "Tag2"])), yes),
                (ask(ANA, A::UntagResource, keys(&["Date", "Owner"])), lacking(Identity)),
            ]),
        iam("Single-valued vs. multivalued context keys: ForAnyValue to deny")
            .identity([
                everything(),
                may_not(
                    "UntagResource",
                    "*",
                    json!({ "ForAnyValue:StringLike": { "aws:TagKeys": ["Id", "Date"] } }),
                ),
            ])
            .rows([
                (ask(ANA, A::UntagResource, keys(&["Owner", "Note", "Date"])), no),
                (ask(ANA, A::UntagResource, keys(&["Owner"])), yes),
            ]),
        iam("AWS global condition context keys: aws:PrincipalServiceNamesList")
            .key([allow(
                "*",
                "Encrypt",
                json!({ "ForAnyValue:StringEquals": {
                    "aws:PrincipalServiceNamesList": ["logs.amazonaws.com"]
                } }),
            )])
            .rows([
                (ask(LOGS, A::Encrypt, json!({})), by_key(0)),
                (ask(TRAIL, A::Encrypt, json!({})), lacking(Resource)),
                (ask(ANA, A::Encrypt, json!({})), lacking(Resource)),
            ]),
    ]
}

fn missing_keys() -> Vec<Example> {
    let (yes, no) = (by_account(0, 0, 0), lacking(Identity));
    vec![
        iam("Single-valued vs. multivalued context keys: ForAllValues with missing keys")
            .identity([may(
                "TagResource",
                "*",
                json!({
                    "ForAllValues:StringEquals": { "aws:TagKeys": ["team", "stage"] },
                    "Null": { "aws:TagKeys": "false" }
                }),
            )])
            .rows([
                (ask(ANA, A::TagResource, json!({ "aws:TagKeys": ["team"] })), yes),
                (ask(ANA, A::TagResource, json!({ "aws:TagKeys": ["team", "owner"] })), no),
                (ask(ANA, A::TagResource, json!({ "aws:TagKeys": [] })), no),
                (ask(ANA, A::TagResource, json!({})), no),
            ]),
        // Keys that may be missing under a positive and under a negated operator.
        iam("Condition operators: keys that are not in the request")
            .identity([
                may("Encrypt", "*", json!({ "StringLike": { "aws:PrincipalTag/team": "*" } })),
                may("Decrypt", "*", json!({ "StringNotLike": { "aws:PrincipalTag/team": "x*" } })),
            ])
            .rows([
                (ask(ANA, A::Encrypt, tagged(json!({ "team": "x1" }))), yes),
                (ask(ANA, A::Encrypt, json!({})), no),
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 1)),
                (ask(ANA, A::Decrypt, tagged(json!({ "team": "x1" }))), no),
            ]),
    ]
}
