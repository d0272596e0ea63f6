//! What operations say for their audit records, member by member as in the examples of AWS's guide
//! (KMS Developer Guide, "Examples of AWS KMS log entries", as of 2026).

use serde_json::{Map, Value, json};

use super::Rig;
use super::import::{external, wrapped};
use super::rig::{ACCOUNT, arn, b64};
use kms_audit::AuditFacts;

/// Calls an operation that must succeed; answer and facts.
async fn audited(rig: &Rig, operation: &str, input: Value) -> (Value, AuditFacts) {
    let (outcome, facts) = rig.audited(operation, input).await;
    (outcome.unwrap_or_else(|error| panic!("{operation}: {error}")), facts)
}

fn elements(facts: &AuditFacts) -> Value {
    json!(facts.response_elements)
}

fn parameters(facts: &AuditFacts) -> Value {
    json!(facts.request_parameters)
}

async fn material(rig: &Rig, id: &str) -> Value {
    rig.ok("DescribeKey", json!({ "KeyId": id })).await["KeyMetadata"]["CurrentKeyMaterialId"]
        .clone()
}

#[tokio::test]
async fn symmetric_cryptography_names_the_material_that_was_used() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let first = material(&rig, &id).await;
    assert_eq!(first.as_str().map(str::len), Some(64));
    let plain = json!({ "KeyId": id, "Plaintext": b64("x") });
    let (sealed, facts) = audited(&rig, "Encrypt", plain.clone()).await;
    assert_eq!(json!(facts.additional), json!({ "keyMaterialId": first }));
    let blob = &sealed["CiphertextBlob"];

    rig.ok("RotateKeyOnDemand", json!({ "KeyId": id })).await;
    let second = material(&rig, &id).await;
    assert_ne!(first, second);
    let (_, facts) = audited(&rig, "Encrypt", plain).await;
    assert_eq!(json!(facts.additional), json!({ "keyMaterialId": second }));
    let (_, facts) = audited(&rig, "Decrypt", json!({ "CiphertextBlob": blob })).await;
    assert_eq!(json!(facts.additional), json!({ "keyMaterialId": first }), "not the current one");
    let again = json!({ "CiphertextBlob": blob, "DestinationKeyId": id });
    let (_, facts) = audited(&rig, "ReEncrypt", again).await;
    let both = json!({ "sourceKeyMaterialId": first, "destinationKeyMaterialId": second });
    assert_eq!(json!(facts.additional), both);
    for (operation, input) in [
        ("GenerateDataKey", json!({ "KeyId": id, "KeySpec": "AES_256" })),
        ("GenerateDataKeyWithoutPlaintext", json!({ "KeyId": id, "KeySpec": "AES_256" })),
        ("GenerateDataKeyPair", json!({ "KeyId": id, "KeyPairSpec": "ECC_NIST_P256" })),
        (
            "GenerateDataKeyPairWithoutPlaintext",
            json!({ "KeyId": id, "KeyPairSpec": "ECC_NIST_P256" }),
        ),
    ] {
        let (_, facts) = audited(&rig, operation, input).await;
        assert_eq!(json!(facts.additional), json!({ "keyMaterialId": second }), "{operation}");
    }

    // Nothing was decrypted with it, so nothing was used.
    let wrong = json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "b" } });
    let (outcome, facts) = rig.audited("Decrypt", wrong).await;
    assert!(outcome.is_err() && facts.additional.is_empty(), "{facts:?}");
    // Other keys have one material only, and AWS does not name it.
    let mac = rig.create("HMAC_256").await;
    let input = json!({ "KeyId": mac, "MacAlgorithm": "HMAC_SHA_256", "Message": b64("x") });
    assert_eq!(audited(&rig, "GenerateMac", input).await.1.additional, Map::new());
}

#[tokio::test]
async fn a_change_names_the_key_that_was_changed() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let other = rig.create("SYMMETRIC_DEFAULT").await;
    let named = |id: &str| json!({ "keyId": arn(id) });
    let policy = rig.ok("GetKeyPolicy", json!({ "KeyId": id })).await["Policy"].clone();
    let tags = json!([{ "TagKey": "a", "TagValue": "b" }]);
    for (operation, input) in [
        ("DisableKey", json!({ "KeyId": id })),
        ("EnableKey", json!({ "KeyId": id })),
        ("EnableKeyRotation", json!({ "KeyId": id })),
        ("DisableKeyRotation", json!({ "KeyId": id })),
        ("TagResource", json!({ "KeyId": id, "Tags": tags })),
        ("UntagResource", json!({ "KeyId": id, "TagKeys": ["a"] })),
        ("UpdateKeyDescription", json!({ "KeyId": id, "Description": "d" })),
        ("PutKeyPolicy", json!({ "KeyId": id, "Policy": policy })),
        ("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })),
        ("RotateKeyOnDemand", json!({ "KeyId": id })),
    ] {
        let (_, facts) = audited(&rig, operation, input).await;
        assert_eq!(elements(&facts), named(&id), "{operation}");
    }
    let moved = json!({ "AliasName": "alias/a", "TargetKeyId": other });
    assert_eq!(elements(&audited(&rig, "UpdateAlias", moved).await.1), named(&other));
    let removed = json!({ "AliasName": "alias/a" });
    assert_eq!(elements(&audited(&rig, "DeleteAlias", removed).await.1), named(&other));

    let root = format!("arn:aws:iam::{ACCOUNT}:root");
    let grant =
        json!({ "KeyId": id, "GranteePrincipal": root, "Operations": ["Decrypt", "RetireGrant"] });
    for operation in ["RevokeGrant", "RetireGrant"] {
        let (made, facts) = audited(&rig, "CreateGrant", grant.clone()).await;
        let grant = &made["GrantId"];
        assert_eq!(elements(&facts), json!({ "grantId": grant, "keyId": arn(&id) }));
        let input = json!({ "KeyId": arn(&id), "GrantId": grant });
        let (_, facts) = audited(&rig, operation, input).await;
        assert_eq!(elements(&facts), named(&id), "{operation}");
        if operation == "RetireGrant" {
            assert_eq!(parameters(&facts), Value::Null);
            assert_eq!(json!(facts.additional), json!({ "grantId": grant }));
        }
    }

    // Reading names nothing, and nor does what was refused.
    let (_, facts) = audited(&rig, "DescribeKey", json!({ "KeyId": id })).await;
    assert_eq!(elements(&facts), Value::Null);
    let (outcome, facts) = rig.audited("DisableKey", json!({ "KeyId": "alias/none" })).await;
    assert!(outcome.is_err());
    assert_eq!(elements(&facts), Value::Null);
}

/// In the order of the examples in the KMS developer guide, "Log entries": the key first where an alias is
/// made, the alias first where it is moved or removed. The key that it is moved from is in between.
#[tokio::test]
async fn the_resources_of_an_alias_are_alias_and_keys() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let other = rig.create("SYMMETRIC_DEFAULT").await;
    let alias = format!("arn:aws:kms:us-east-1:{ACCOUNT}:alias/a");
    let (of, moved) = (|id: &str| json!({ "AliasName": "alias/a", "TargetKeyId": id }), other);
    for (operation, input, keys, expected) in [
        ("CreateAlias", of(&id), 1, vec![arn(&id), alias.clone()]),
        ("UpdateAlias", of(&moved), 2, vec![alias.clone(), arn(&id), arn(&moved)]),
        ("DeleteAlias", json!({ "AliasName": "alias/a" }), 1, vec![alias.clone(), arn(&moved)]),
    ] {
        let (_, facts) = audited(&rig, operation, input).await;
        let arns: Vec<_> = facts.resources.iter().map(|resource| resource.arn.clone()).collect();
        assert_eq!(arns, expected, "{operation}");
        let found = facts.resources.iter().filter(|resource| resource.is_key()).count();
        assert_eq!(found, keys, "{operation}");
    }
}

#[tokio::test]
async fn a_rotation_is_an_event_of_its_own() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let first = material(&rig, &id).await;
    let (_, facts) = audited(&rig, "RotateKeyOnDemand", json!({ "KeyId": id })).await;
    let [event] = facts.events.as_slice() else { panic!("{:?}", facts.events) };
    assert_eq!((event.name, event.arn.as_str()), ("RotateKey", arn(&id).as_str()));
    let expected = json!({
        "rotationType": "ON_DEMAND",
        "keyOrigin": "AWS_KMS",
        "previousKeyMaterialId": first,
        "currentKeyMaterialId": material(&rig, &id).await,
    });
    assert_eq!(json!(event.details), expected);
}

#[tokio::test]
async fn dates_are_text_and_a_deletion_tells_its_own() {
    let rig = Rig::new().await;
    // The rig's clock stands at 2027-01-15T08:00:00Z.
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{ACCOUNT}:root"}},"Action":"kms:*","Resource":"*"}}]}}"#
    );
    let (made, facts) = audited(&rig, "CreateKey", json!({ "Policy": policy })).await;
    let metadata = &elements(&facts)["keyMetadata"];
    assert_eq!(metadata["creationDate"], "Jan 15, 2027, 8:00:00 AM");
    assert_eq!(metadata["aWSAccountId"], ACCOUNT);
    assert_eq!(parameters(&facts)["policy"], policy.as_str());
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    let input = json!({ "KeyId": id, "PendingWindowInDays": 7 });
    let (_, facts) = audited(&rig, "ScheduleKeyDeletion", input).await;
    let expected = json!({
        "keyId": arn(id),
        "keyState": "PendingDeletion",
        "deletionDate": "Jan 22, 2027, 8:00:00 AM",
    });
    assert_eq!(elements(&facts), expected);
    let (_, facts) = audited(&rig, "CancelKeyDeletion", json!({ "KeyId": id })).await;
    assert_eq!(elements(&facts), json!({ "keyId": arn(id) }));
}

#[tokio::test]
async fn imported_material_is_named_when_it_comes_and_goes() {
    let rig = Rig::new().await;
    let id = external(&rig, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let mut input = wrapped(&rig, &id, &[7; 32]).await;
    input["ExpirationModel"] = json!("KEY_MATERIAL_EXPIRES");
    input["ValidTo"] = json!(1_800_000_000 + 60 * 60 * 12);
    input["ImportType"] = json!("NEW_KEY_MATERIAL");
    input["KeyMaterialDescription"] = json!("from the safe");
    let (made, facts) = audited(&rig, "ImportKeyMaterial", input).await;
    let expected = json!({
        "keyId": id,
        "validTo": "Jan 15, 2027, 8:00:00 PM",
        "expirationModel": "KEY_MATERIAL_EXPIRES",
        "importType": "NEW_KEY_MATERIAL",
        "keyMaterialDescription": "from the safe",
    });
    assert_eq!(parameters(&facts), expected);
    let both = json!({ "keyId": arn(&id), "keyMaterialId": made["KeyMaterialId"] });
    assert_eq!(elements(&facts), both);
    let input = json!({ "KeyId": id, "KeyMaterialId": made["KeyMaterialId"] });
    let (_, facts) = audited(&rig, "DeleteImportedKeyMaterial", input).await;
    assert_eq!(elements(&facts), both);
}
