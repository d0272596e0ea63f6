//! Conditions on encryption contexts: KMS Developer Guide, "kms:EncryptionContext:context-key"
//! and "kms:EncryptionContextKeys".

use kms_policy::Action as A;
use kms_policy::PolicyType::Resource;
use serde_json::{Value, json};

use super::harness::{Example, ask, kms};
use super::people::{ANA, APP, BEN, RUN};
use super::statements::{ALWAYS, allow, by_key, denied, deny, lacking};

/// Facts of a request with this encryption context.
fn context(pairs: Value) -> Value {
    json!({ "kms:EncryptionContext": pairs })
}

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = pairs();
    examples.extend(several_pairs());
    examples.extend(case());
    examples.extend(variables());
    examples.extend(keys());
    examples
}

fn pairs() -> Vec<Example> {
    let names = json!({
        "StringEquals": { "kms:EncryptionContext:AppName": "Ledger" },
        "ForAllValues:StringEquals": { "kms:EncryptionContextKeys": ["AppName"] }
    });
    vec![
        kms("kms:EncryptionContext: to require a pair")
            .key([allow(
                APP,
                "GenerateDataKey",
                json!({ "StringEquals": { "kms:EncryptionContext:AppName": "Ledger" } }),
            )])
            .rows([
                (ask(RUN, A::GenerateDataKey, context(json!({ "AppName": "Ledger" }))), by_key(0)),
                (
                    ask(
                        RUN,
                        A::GenerateDataKey,
                        context(json!({ "AppName": "Ledger", "Stage": "Test" })),
                    ),
                    by_key(0),
                ),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "AppName": "Mail" }))),
                    lacking(Resource),
                ),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "Stage": "Ledger" }))),
                    lacking(Resource),
                ),
                (ask(RUN, A::GenerateDataKey, json!({})), lacking(Resource)),
            ]),
        kms("kms:EncryptionContext: to require a pair and forbid all others")
            .key([allow(ANA, "GenerateDataKey", names)])
            .rows([
                (ask(ANA, A::GenerateDataKey, context(json!({ "AppName": "Ledger" }))), by_key(0)),
                (
                    ask(
                        ANA,
                        A::GenerateDataKey,
                        context(json!({ "AppName": "Ledger", "Stage": "Test" })),
                    ),
                    lacking(Resource),
                ),
                (ask(ANA, A::GenerateDataKey, context(json!({}))), lacking(Resource)),
            ]),
        kms("kms:EncryptionContext: to deny")
            .key([
                allow(APP, "GenerateDataKey", ALWAYS),
                deny(
                    APP,
                    "GenerateDataKey",
                    json!({ "StringEquals": { "kms:EncryptionContext:Stage": "Restricted" } }),
                ),
            ])
            .rows([
                (ask(RUN, A::GenerateDataKey, context(json!({ "Stage": "Test" }))), by_key(0)),
                (ask(RUN, A::GenerateDataKey, json!({})), by_key(0)),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "Stage": "Restricted" }))),
                    denied(Resource, 0, 1),
                ),
            ]),
    ]
}

fn several_pairs() -> Vec<Example> {
    let both = json!({ "StringEquals": {
        "kms:EncryptionContext:Department": "Tax",
        "kms:EncryptionContext:Project": "Alpine"
    } });
    let mut only_both = both.clone();
    only_both["ForAllValues:StringEquals"] =
        json!({ "kms:EncryptionContextKeys": ["Department", "Project"] });
    let one = |name: &str, value: &str| json!({ "StringEquals": { format!("kms:EncryptionContext:{name}"): value } });
    vec![
        kms("Using multiple encryption context pairs: all of them")
            .key([allow(APP, "Decrypt", both)])
            .rows([
                (
                    ask(
                        RUN,
                        A::Decrypt,
                        context(json!({ "Department": "Tax", "Project": "Alpine", "X": "y" })),
                    ),
                    by_key(0),
                ),
                (ask(RUN, A::Decrypt, context(json!({ "Department": "Tax" }))), lacking(Resource)),
                (
                    ask(
                        RUN,
                        A::Decrypt,
                        context(json!({ "Department": "Tax", "Project": "Beach" })),
                    ),
                    lacking(Resource),
                ),
            ]),
        kms("Using multiple encryption context pairs: one or another")
            .key([
                allow(APP, "GenerateDataKey", one("Department", "Tax")),
                allow(APP, "GenerateDataKey", one("Project", "Alpine")),
            ])
            .rows([
                (ask(RUN, A::GenerateDataKey, context(json!({ "Department": "Tax" }))), by_key(0)),
                (ask(RUN, A::GenerateDataKey, context(json!({ "Project": "Alpine" }))), by_key(1)),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "Project": "Tax" }))),
                    lacking(Resource),
                ),
            ]),
        kms("Using multiple encryption context pairs: these and no others")
            .key([allow(ANA, "GenerateDataKey", only_both)])
            .rows([
                (
                    ask(
                        ANA,
                        A::GenerateDataKey,
                        context(json!({ "Department": "Tax", "Project": "Alpine" })),
                    ),
                    by_key(0),
                ),
                (
                    ask(
                        ANA,
                        A::GenerateDataKey,
                        context(json!({ "Department": "Tax", "Project": "Alpine", "X": "y" })),
                    ),
                    lacking(Resource),
                ),
                (ask(ANA, A::GenerateDataKey, context(json!({}))), lacking(Resource)),
            ]),
        kms("Using multiple encryption context pairs: forbidden values")
            .key([
                allow(APP, "GenerateDataKey", ALWAYS),
                deny(
                    APP,
                    "GenerateDataKey",
                    json!({ "StringEquals": {
                        "kms:EncryptionContext:Stage": ["Restricted", "Production"]
                    } }),
                ),
            ])
            .rows([
                (ask(RUN, A::GenerateDataKey, context(json!({ "Stage": "Test" }))), by_key(0)),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "Stage": "Production" }))),
                    denied(Resource, 0, 1),
                ),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "Stage": "Restricted" }))),
                    denied(Resource, 0, 1),
                ),
            ]),
    ]
}

fn case() -> Vec<Example> {
    let exact_key =
        json!({ "ForAnyValue:StringEquals": { "kms:EncryptionContextKeys": "AppName" } });
    let mut exact = exact_key.clone();
    exact["StringEquals"] = json!({ "kms:EncryptionContext:AppName": "Ledger" });
    vec![
        kms("Case sensitivity of the encryption context condition: the key has no case")
            .key([allow(
                APP,
                "Decrypt",
                json!({ "StringEquals": { "kms:EncryptionContext:Appname": "Ledger" } }),
            )])
            .rows([
                (ask(RUN, A::Decrypt, context(json!({ "AppName": "Ledger" }))), by_key(0)),
                (ask(RUN, A::Decrypt, context(json!({ "APPNAME": "Ledger" }))), by_key(0)),
                (ask(RUN, A::Decrypt, context(json!({ "AppName": "ledger" }))), lacking(Resource)),
            ]),
        kms("Case sensitivity of the encryption context condition: the value as it is asked for")
            .key([allow(
                APP,
                "Decrypt",
                json!({ "StringEqualsIgnoreCase": { "kms:EncryptionContext:AppName": "Ledger" } }),
            )])
            .rows([
                (ask(RUN, A::Decrypt, context(json!({ "appname": "LEDGER" }))), by_key(0)),
                (ask(RUN, A::Decrypt, context(json!({ "appname": "ledgers" }))), lacking(Resource)),
            ]),
        kms("Case sensitivity of the encryption context condition: to require the key's case")
            .key([allow(APP, "GenerateDataKey", exact_key)])
            .rows([
                (ask(RUN, A::GenerateDataKey, context(json!({ "AppName": "x" }))), by_key(0)),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "Appname": "x" }))),
                    lacking(Resource),
                ),
            ]),
        kms("Case sensitivity of the encryption context condition: key and value")
            .key([allow(APP, "GenerateDataKey", exact)])
            .rows([
                (ask(RUN, A::GenerateDataKey, context(json!({ "AppName": "Ledger" }))), by_key(0)),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "Appname": "Ledger" }))),
                    lacking(Resource),
                ),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "AppName": "LEDGER" }))),
                    lacking(Resource),
                ),
                // It is undefined which of two pairs counts if their names differ only in case.
                (
                    ask(
                        RUN,
                        A::GenerateDataKey,
                        context(json!({ "AppName": "Ledger", "appname": "other" })),
                    ),
                    lacking(Resource),
                ),
            ]),
    ]
}

fn variables() -> Vec<Example> {
    let sub = |context: &str, token: Option<&str>| {
        let mut facts = json!({ "kms:EncryptionContext": { "sub": context } });
        if let Some(token) = token {
            facts["cognito-identity.amazonaws.com:sub"] = token.into();
        }
        facts
    };
    vec![
        // The guide uses this for a role, but says elsewhere ("Principal key values" of the IAM
        // User Guide) that role sessions have no user name. So it allows only users.
        kms("Using variables in an encryption context condition: aws:username")
            .key([allow(
                &format!("{APP} {ANA} {BEN}"),
                "Decrypt Encrypt",
                json!({ "StringEquals": { "kms:EncryptionContext:user": "${aws:username}" } }),
            )])
            .rows([
                (ask(BEN, A::Encrypt, context(json!({ "user": "ben" }))), by_key(0)),
                (ask(ANA, A::Encrypt, context(json!({ "user": "ana" }))), by_key(0)),
                (ask(ANA, A::Decrypt, context(json!({ "user": "ben" }))), lacking(Resource)),
                (ask(RUN, A::Decrypt, context(json!({ "user": "app" }))), lacking(Resource)),
                (ask(RUN, A::Decrypt, context(json!({ "user": "" }))), lacking(Resource)),
                (
                    ask(ANA, A::Decrypt, context(json!({ "user": "${aws:username}" }))),
                    lacking(Resource),
                ),
            ]),
        kms("Using variables in an encryption context condition: keys of identity providers")
            .key([allow(
                APP,
                "Decrypt Encrypt",
                json!({ "StringEquals": {
                    "kms:EncryptionContext:sub": "${cognito-identity.amazonaws.com:sub}"
                } }),
            )])
            .rows([
                (ask(RUN, A::Decrypt, sub("eu:17", Some("eu:17"))), by_key(0)),
                (ask(RUN, A::Decrypt, sub("eu:17", Some("eu:18"))), lacking(Resource)),
                (ask(RUN, A::Decrypt, sub("eu:17", None)), lacking(Resource)),
            ]),
    ]
}

fn keys() -> Vec<Example> {
    let any = |operator: &str| json!({ operator: { "kms:EncryptionContextKeys": "AppName" } });
    let actions = "Encrypt GenerateDataKey*";
    vec![
        kms("kms:EncryptionContextKeys: ForAnyValue")
            .key([allow(APP, actions, any("ForAnyValue:StringEquals"))])
            .rows([
                (
                    ask(
                        RUN,
                        A::GenerateDataKey,
                        context(json!({ "AppName": "Helper", "Project": "Alpine" })),
                    ),
                    by_key(0),
                ),
                (
                    ask(RUN, A::GenerateDataKey, context(json!({ "Project": "Alpine" }))),
                    lacking(Resource),
                ),
                (ask(RUN, A::Encrypt, context(json!({ "appname": "x" }))), lacking(Resource)),
                (ask(RUN, A::Encrypt, context(json!({}))), lacking(Resource)),
                (ask(RUN, A::Encrypt, json!({})), lacking(Resource)),
            ]),
        kms("kms:EncryptionContextKeys: without regard to case")
            .key([allow(APP, actions, any("ForAnyValue:StringEqualsIgnoreCase"))])
            .rows([
                (ask(RUN, A::Encrypt, context(json!({ "appname": "x" }))), by_key(0)),
                (ask(RUN, A::Encrypt, context(json!({ "app": "x" }))), lacking(Resource)),
            ]),
        // The condition requires no pair, but forbids others.
        kms("kms:EncryptionContextKeys: ForAllValues")
            .key([allow(APP, actions, any("ForAllValues:StringEquals"))])
            .rows([
                (ask(RUN, A::Encrypt, context(json!({ "AppName": "x" }))), by_key(0)),
                (ask(RUN, A::Encrypt, context(json!({}))), by_key(0)),
                (ask(RUN, A::Encrypt, json!({})), by_key(0)),
                (
                    ask(RUN, A::Encrypt, context(json!({ "AppName": "x", "Stage": "y" }))),
                    lacking(Resource),
                ),
            ]),
        kms("kms:EncryptionContextKeys: to require any encryption context")
            .key([allow(APP, actions, json!({ "Null": { "kms:EncryptionContextKeys": false } }))])
            .rows([
                (ask(RUN, A::Encrypt, context(json!({ "Any": "thing" }))), by_key(0)),
                (ask(RUN, A::Encrypt, context(json!({}))), lacking(Resource)),
                (ask(RUN, A::Encrypt, json!({})), lacking(Resource)),
            ]),
    ]
}
