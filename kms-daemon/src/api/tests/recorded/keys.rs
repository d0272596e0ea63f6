//! Keys, aliases, tags and rotation.

use serde_json::{Value, json};

use super::Rig;
use crate::api::tests::import::external;
use crate::api::tests::rig::arn;
use kms_keys::rotation::MAX_ON_DEMAND;
use kms_model::state::KeyState;

#[tokio::test]
async fn post_quantum_keys_are_not_imported() {
    let rig = Rig::new().await;
    for (spec, usage) in [("ML_DSA_44", "SIGN_VERIFY"), ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE")] {
        let input = json!({ "KeySpec": spec, "KeyUsage": usage, "Origin": "EXTERNAL" });
        let expected =
            format!("ValidationException: KeySpec {spec} is not supported for Origin EXTERNAL");
        rig.says("CreateKey", input, &expected).await;
    }
}

#[tokio::test]
async fn the_status_of_rotation_is_told_of_every_key() {
    let rig = Rig::new().await;
    for (spec, usage) in [
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "KEY_AGREEMENT"),
        ("HMAC_512", "GENERATE_VERIFY_MAC"),
        ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE"),
    ] {
        let id = rig.create_for(spec, usage).await;
        for state in KeyState::ALL {
            rig.force_state(&id, state).await;
            let status = rig.ok("GetKeyRotationStatus", json!({ "KeyId": id })).await;
            let never = json!({ "KeyId": arn(&id), "KeyRotationEnabled": false });
            assert_eq!(status, never, "{spec} {state}");
        }
    }
    let id = external(&rig, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let status = rig.ok("GetKeyRotationStatus", json!({ "KeyId": id })).await;
    assert_eq!(status, json!({ "KeyId": arn(&id), "KeyRotationEnabled": false }));
}

#[tokio::test]
async fn origin_comes_before_state() {
    let rig = Rig::new().await;
    let id = external(&rig, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let unfit = format!(
        "UnsupportedOperationException: {} origin is EXTERNAL which is not valid for this \
         operation.",
        arn(&id)
    );
    for operation in ["EnableKeyRotation", "DisableKeyRotation"] {
        rig.says(operation, json!({ "KeyId": id }), &unfit).await;
    }
    let pending = format!("KMSInvalidStateException: {} is pending import.", arn(&id));
    rig.says("RotateKeyOnDemand", json!({ "KeyId": id }), &pending).await;
    let own = rig.create("SYMMETRIC_DEFAULT").await;
    rig.force_state(&own, KeyState::PendingDeletion).await;
    let unfit = format!(
        "UnsupportedOperationException: {} origin is AWS_KMS which is not valid for this \
         operation.",
        arn(&own)
    );
    rig.says("DeleteImportedKeyMaterial", json!({ "KeyId": own }), &unfit).await;
}

#[tokio::test]
async fn rotations_by_hand_have_a_limit() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for _ in 0..MAX_ON_DEMAND {
        rig.ok("RotateKeyOnDemand", json!({ "KeyId": id })).await;
    }
    let expected = format!(
        "LimitExceededException: The on-demand rotations limit has been reached for the given \
         keyId. No more on-demand rotations can be performed for this key: {}",
        arn(&id)
    );
    rig.says("RotateKeyOnDemand", json!({ "KeyId": id }), &expected).await;
}

#[tokio::test]
async fn a_disabled_key_has_a_public_half() {
    let rig = Rig::new().await;
    for (spec, usage) in [
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
        ("ML_DSA_44", "SIGN_VERIFY"),
    ] {
        let id = rig.create_for(spec, usage).await;
        let enabled = rig.ok("GetPublicKey", json!({ "KeyId": id })).await;
        assert_eq!(enabled["CustomerMasterKeySpec"], spec);
        rig.ok("DisableKey", json!({ "KeyId": id })).await;
        assert_eq!(rig.ok("GetPublicKey", json!({ "KeyId": id })).await, enabled);
        rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
        let pending = format!("KMSInvalidStateException: {} is pending deletion.", arn(&id));
        rig.says("GetPublicKey", json!({ "KeyId": id }), &pending).await;
    }
}

#[tokio::test]
async fn names_of_aliases() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let create = |name: &str| json!({ "AliasName": name, "TargetKeyId": id });
    rig.says(
        "CreateAlias",
        create("my-alias"),
        "ValidationException: Alias must start with the prefix \"alias/\". Please see \
         https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html",
    )
    .await;
    rig.says(
        "CreateAlias",
        create("alias/my:alias"),
        "ValidationException: alias/my:alias contains invalid characters for an alias",
    )
    .await;
    let listed = rig.ok("ListAliases", json!({ "KeyId": id })).await;
    assert_eq!(listed["Aliases"], json!([]));
}

/// Names with a colon were accepted before: they still mean their key, and can be deleted.
#[tokio::test]
async fn earlier_names_with_a_colon_are_still_names() {
    use kms_base::identifier::{AliasName, KeyId};
    use kms_keys::AliasRecord;
    use kms_keys::catalog::Update;

    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let catalog = rig.service.catalog();
    let target = KeyId::parse(&id).unwrap();
    let key = catalog.key(&rig.scope(), target).await.unwrap().unwrap();
    let index = catalog.aliases().of_key(&rig.scope(), target).await.unwrap();
    let record = AliasRecord { target, created: key.created, updated: key.created };
    let name = AliasName::parse("alias/a:b").unwrap();
    let made = catalog.aliases().create(&name, &record, &key, index).await.unwrap();
    assert_eq!(made, Update::Applied);
    let described = rig.ok("DescribeKey", json!({ "KeyId": "alias/a:b" })).await;
    assert_eq!(described["KeyMetadata"]["KeyId"], json!(id));
    let other = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("UpdateAlias", json!({ "AliasName": "alias/a:b", "TargetKeyId": other })).await;
    rig.ok("DeleteAlias", json!({ "AliasName": "alias/a:b" })).await;
}

#[tokio::test]
async fn tags() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let tag = |key: &str, value: &str| json!({ "TagKey": key, "TagValue": value });
    let many =
        |count: usize| -> Vec<Value> { (0..count).map(|n| tag(&format!("k{n}"), "v")).collect() };
    let (key, value) = ("k".repeat(129), "v".repeat(257));
    let at = |member: &str, value: &str, most: usize| {
        format!(
            "ValidationException: 1 validation error detected: Value '{value}' at \
             'tags.1.member.{member}' failed to satisfy constraint: Member must have length less \
             than or equal to {most}"
        )
    };
    for (tags, expected) in [
        (many(51), "TagException: Too many tags".to_owned()),
        (vec![tag("a", "1"), tag("a", "1")], "TagException: Duplicate tag keys".to_owned()),
        (vec![tag("aws:a", "1")], "TagException: Tags beginning with aws: are reserved".to_owned()),
        (vec![tag("AWS:a", "1")], "TagException: Tags beginning with aws: are reserved".to_owned()),
        (vec![tag(&key, "1")], at("tagKey", &key, 128)),
        (vec![tag("a", &value)], at("tagValue", &value, 256)),
    ] {
        rig.says("CreateKey", json!({ "Tags": tags }), &expected).await;
        rig.says("TagResource", json!({ "KeyId": id, "Tags": tags }), &expected).await;
    }
    rig.ok("TagResource", json!({ "KeyId": id, "Tags": many(50) })).await;
    let input = json!({ "KeyId": id, "Tags": [tag("one-more", "1")] });
    rig.says("TagResource", input, "TagException: Too many tags").await;
}
