//! The values of condition keys in requests about grants.

use serde_json::json;

use super::super::rig::{ACCOUNT, arn};
use super::requests::{rig, with};
use super::{absent, allows, any, check, flag, is};

#[tokio::test]
async fn a_grant_tells_its_terms() {
    let rig = rig().await;
    let key = rig.create("SYMMETRIC_DEFAULT").await;
    let (other, root) = ("arn:aws:iam::111122223333:root", format!("arn:aws:iam::{ACCOUNT}:root"));
    let base = json!({ "KeyId": key, "DryRun": true, "Operations": ["Encrypt", "Decrypt"] });
    let source = arn(&key);
    let principal = with(
        &base,
        json!({ "GranteePrincipal": other, "RetiringPrincipal": ACCOUNT,
        "Constraints": { "EncryptionContextSubset": { "Team": "red" } } }),
    );
    let conditions = vec![
        ("StringEquals", "kms:GranteePrincipal", json!(other), json!(root)),
        ("StringEquals", "kms:RetiringPrincipal", json!(root), json!(other)),
        absent("kms:GranteeServicePrincipal"),
        absent("kms:RetiringServicePrincipal"),
        absent("kms:GrantConstraintSourceArn"),
        is("kms:GrantConstraintType", "EncryptionContextSubset", "EncryptionContextEquals"),
        is("kms:EncryptionContext:team", "red", "blue"),
        any("kms:EncryptionContextKeys", "Team", "team"),
        any("kms:GrantOperations", "Decrypt", "Sign"),
        (
            "ForAllValues:StringEquals",
            "kms:GrantOperations",
            json!(["Encrypt", "Decrypt"]),
            json!(["Encrypt"]),
        ),
        flag("kms:GrantIsForAWSResource", false),
    ];
    check(&rig, "CreateGrant", &principal, conditions).await;
    let service = with(
        &base,
        json!({ "GranteeServicePrincipal": "logs.amazonaws.com",
        "RetiringServicePrincipal": "sns.amazonaws.com", "Constraints": { "SourceArn": source } }),
    );
    let conditions = vec![
        is("kms:GranteeServicePrincipal", "logs.amazonaws.com", "sns.amazonaws.com"),
        is("kms:RetiringServicePrincipal", "sns.amazonaws.com", "logs.amazonaws.com"),
        absent("kms:GranteePrincipal"),
        absent("kms:GrantConstraintType"),
        absent("kms:EncryptionContextKeys"),
        ("ArnEquals", "kms:GrantConstraintSourceArn", json!(source), json!(arn("x"))),
    ];
    check(&rig, "CreateGrant", &service, conditions).await;
    // With both types, the value of a condition for one type is unknown, and decides against the
    // caller.
    let both = with(
        &base,
        json!({ "GranteePrincipal": other, "Constraints": {
        "EncryptionContextEquals": { "a": "1", "b": "2" },
        "EncryptionContextSubset": { "A": "1", "B": "3" } } }),
    );
    let types = json!(["EncryptionContextEquals", "EncryptionContextSubset"]);
    let conditions = vec![
        ("ForAllValues:StringEquals", "kms:GrantConstraintType", types.clone(), json!(types[0])),
        ("Null", "kms:GrantConstraintType", json!(false), json!(true)),
        is("kms:EncryptionContext:a", "1", "2"),
        (
            "ForAllValues:StringEquals",
            "kms:EncryptionContextKeys",
            json!(["a", "b", "A", "B"]),
            json!(["a", "b"]),
        ),
    ];
    check(&rig, "CreateGrant", &both, conditions).await;
    let request = rig.request(super::user());
    let asked = ("CreateGrant", "CreateGrant", &both);
    for (operator, key, value) in [
        ("StringEquals", "kms:GrantConstraintType", types.clone()),
        ("StringNotEquals", "kms:GrantConstraintType", json!("other")),
        ("StringEquals", "kms:EncryptionContext:b", json!(["2", "3"])),
        ("StringNotEquals", "kms:EncryptionContext:b", json!("4")),
    ] {
        assert!(!allows(&rig, &request, asked, (operator, key, &value)).await, "{operator} {key}");
    }

    let constrained = with(&principal, json!({ "DryRun": false }));
    let made = rig.ok("CreateGrant", constrained).await;
    let retire = json!({ "KeyId": source, "GrantId": made["GrantId"], "DryRun": true });
    let conditions = vec![
        is("kms:GrantConstraintType", "EncryptionContextSubset", "EncryptionContextEquals"),
        is("kms:EncryptionContext:team", "red", "blue"),
        is("kms:KeySpec", "SYMMETRIC_DEFAULT", "RSA_2048"),
        absent("kms:GranteePrincipal"),
        absent("kms:GrantOperations"),
    ];
    check(&rig, "RetireGrant", &retire, conditions).await;
}
