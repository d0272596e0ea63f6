//! The values of condition keys in requests that manage keys.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::rig::{ACCOUNT, REGION, b64};
use super::requests::{rig, with};
use super::{absent, any, check, decide, flag, identity, is, number, user};
use crate::api::tests::device::REGIONS;

#[tokio::test]
async fn a_key_that_is_made_has_the_defaults() {
    let rig = rig().await;
    let symmetric = vec![
        is("kms:KeySpec", "SYMMETRIC_DEFAULT", "RSA_2048"),
        is("kms:CustomerMasterKeySpec", "SYMMETRIC_DEFAULT", "RSA_2048"),
        is("kms:KeyUsage", "ENCRYPT_DECRYPT", "SIGN_VERIFY"),
        is("kms:CustomerMasterKeyUsage", "ENCRYPT_DECRYPT", "SIGN_VERIFY"),
        is("kms:KeyOrigin", "AWS_KMS", "EXTERNAL"),
        flag("kms:MultiRegion", false),
        absent("kms:BypassPolicyLockoutSafetyCheck"),
        absent("kms:MultiRegionKeyType"),
        absent("aws:RequestTag/team"),
        absent("aws:TagKeys"),
        absent("aws:ResourceTag/team"),
    ];
    check(&rig, "CreateKey", &json!({}), symmetric).await;
    let input = json!({ "CustomerMasterKeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY",
        "Origin": "EXTERNAL", "MultiRegion": true, "BypassPolicyLockoutSafetyCheck": true,
        "Tags": [{ "TagKey": "Team", "TagValue": "red" }] });
    let given = vec![
        is("kms:KeySpec", "ECC_NIST_P256", "SYMMETRIC_DEFAULT"),
        is("kms:KeyUsage", "SIGN_VERIFY", "KEY_AGREEMENT"),
        is("kms:KeyOrigin", "EXTERNAL", "AWS_KMS"),
        flag("kms:MultiRegion", true),
        flag("kms:BypassPolicyLockoutSafetyCheck", true),
        is("kms:MultiRegionKeyType", "PRIMARY", "REPLICA"),
        is("aws:RequestTag/team", "red", "blue"),
        any("aws:TagKeys", "Team", "Other"),
        ("ForAllValues:StringEquals", "aws:TagKeys", json!(["Team", "x"]), json!(["x"])),
    ];
    check(&rig, "CreateKey", &input, given).await;
    decide(&rig, "TagResource", "CreateKey", input, is("aws:RequestTag/TEAM", "red", "blue")).await;
}

#[tokio::test]
async fn management_tells_its_parameters() {
    let rig = rig().await;
    let key = rig.create("SYMMETRIC_DEFAULT").await;
    let named = |more: Value| with(&json!({ "KeyId": key }), more);
    let tags = json!([{ "TagKey": "team", "TagValue": "red" }]);
    for (operation, input, conditions) in [
        (
            "TagResource",
            named(json!({ "Tags": tags })),
            vec![is("aws:RequestTag/team", "red", "blue"), any("aws:TagKeys", "team", "x")],
        ),
        (
            "UntagResource",
            named(json!({ "TagKeys": ["a", "b"] })),
            vec![any("aws:TagKeys", "b", "x"), absent("aws:RequestTag/a")],
        ),
        ("EnableKeyRotation", named(json!({})), vec![number("kms:RotationPeriodInDays", 365)]),
        (
            "EnableKeyRotation",
            named(json!({ "RotationPeriodInDays": 100 })),
            vec![number("kms:RotationPeriodInDays", 100)],
        ),
        ("GetKeyPolicy", named(json!({})), vec![is("kms:PolicyName", "default", "other")]),
        (
            "GetKeyPolicy",
            named(json!({ "PolicyName": "AWS_RAM" })),
            vec![is("kms:PolicyName", "AWS_RAM", "default")],
        ),
        (
            "ScheduleKeyDeletion",
            named(json!({ "PendingWindowInDays": 7 })),
            vec![number("kms:ScheduleKeyDeletionPendingWindowInDays", 7)],
        ),
        // The key is now pending deletion, which is only checked after the decision.
        (
            "ScheduleKeyDeletion",
            named(json!({})),
            vec![number("kms:ScheduleKeyDeletionPendingWindowInDays", 30)],
        ),
    ] {
        check(&rig, operation, &input, conditions).await;
    }
}

#[tokio::test]
async fn import_tells_its_parameters() {
    let rig = rig().await;
    let made = rig.ok("CreateKey", json!({ "Origin": "EXTERNAL" })).await;
    let id = &made["KeyMetadata"]["KeyId"];
    let parameters =
        json!({ "KeyId": id, "WrappingKeySpec": "SM2", "WrappingAlgorithm": "SM2PKE" });
    let conditions = vec![
        is("kms:WrappingAlgorithm", "SM2PKE", "RSAES_OAEP_SHA_1"),
        is("kms:WrappingKeySpec", "SM2", "RSA_2048"),
    ];
    check(&rig, "GetParametersForImport", &parameters, conditions).await;
    let expires = 1_800_086_400_i64;
    let import = json!({ "KeyId": id, "ImportToken": b64("x"), "EncryptedKeyMaterial": b64("x") });
    let limited = with(&import, json!({ "ValidTo": expires }));
    let conditions = vec![
        absent("kms:ExpirationModel"),
        ("DateEquals", "kms:ValidTo", json!("2027-01-16T08:00:00Z"), json!("2027-01-17T08:00:00Z")),
        ("NumericLessThanEquals", "kms:ValidTo", json!(expires), json!(expires - 1)),
    ];
    check(&rig, "ImportKeyMaterial", &limited, conditions).await;
    let model = "KEY_MATERIAL_DOES_NOT_EXPIRE";
    let forever = with(&import, json!({ "ExpirationModel": model }));
    let conditions =
        vec![is("kms:ExpirationModel", model, "KEY_MATERIAL_EXPIRES"), absent("kms:ValidTo")];
    check(&rig, "ImportKeyMaterial", &forever, conditions).await;
}

#[tokio::test]
async fn unused_keys_are_told_by_days() {
    let rig = rig().await;
    let day = Duration::from_secs(24 * 60 * 60);
    let (used, unused) = (rig.create("SYMMETRIC_DEFAULT").await, rig.create("HMAC_256").await);
    rig.clock.advance(day * 10);
    rig.ok("Encrypt", json!({ "KeyId": used, "Plaintext": b64("x") })).await;
    rig.clock.advance(day * 3 - Duration::from_secs(1));
    let key = "kms:TrailingDaysWithoutKeyUsage";
    for (id, days) in [(&used, 2), (&unused, 12)] {
        let input = json!({ "KeyId": id });
        let conditions = vec![
            number(key, days),
            ("NumericGreaterThanEquals", key, json!(days), json!(days + 1)),
        ];
        check(&rig, "DisableKey", &input, conditions.clone()).await;
        check(&rig, "ScheduleKeyDeletion", &input, conditions).await;
    }
    // Key policies can use these conditions as well.
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let policy = |least: u32| {
        json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Principal": { "AWS": ACCOUNT }, "Action": "kms:*", "Resource": "*" },
            { "Effect": "Deny", "Principal": "*", "Action": "kms:DisableKey", "Resource": "*",
              "Condition": { "NumericLessThan": { key: least } } },
        ] })
        .to_string()
    };
    rig.ok("PutKeyPolicy", json!({ "KeyId": id, "Policy": policy(1) })).await;
    let disable = json!({ "KeyId": id });
    assert_eq!(rig.refused("DisableKey", disable.clone()).await, "AccessDeniedException");
    rig.clock.advance(day);
    rig.ok("DisableKey", disable).await;
}

#[tokio::test]
async fn regions_are_told() {
    let rig = rig().await;
    let made = rig.ok("CreateKey", json!({ "MultiRegion": true })).await;
    let id = &made["KeyMetadata"]["KeyId"];
    let replicate = json!({ "KeyId": id, "ReplicaRegion": REGIONS[1],
        "Tags": [{ "TagKey": "team", "TagValue": "red" }] });
    let conditions = vec![
        is("kms:ReplicaRegion", REGIONS[1], REGION),
        is("aws:RequestedRegion", REGION, REGIONS[1]),
        is("kms:MultiRegionKeyType", "PRIMARY", "REPLICA"),
        is("aws:RequestTag/team", "red", "blue"),
        absent("kms:BypassPolicyLockoutSafetyCheck"),
    ];
    check(&rig, "ReplicateKey", &replicate, conditions).await;
    // The creation of a replica is decided in the Region of the replica.
    for condition in [
        is("kms:MultiRegionKeyType", "REPLICA", "PRIMARY"),
        is("kms:KeySpec", "SYMMETRIC_DEFAULT", "RSA_2048"),
        is("aws:RequestedRegion", REGIONS[1], REGION),
        is("aws:RequestTag/team", "red", "blue"),
    ] {
        decide(&rig, "CreateKey", "ReplicateKey", replicate.clone(), condition).await;
    }
    let update = json!({ "KeyId": id, "PrimaryRegion": REGIONS[1] });
    let conditions = vec![is("kms:PrimaryRegion", REGIONS[1], REGION)];
    check(&rig, "UpdatePrimaryRegion", &update, conditions).await;
}

#[tokio::test]
async fn a_policy_is_judged_by_the_key_it_is_for() {
    let rig = rig().await;
    let policy = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow", "Principal":
        { "AWS": ACCOUNT }, "Action": "kms:*", "Resource": "*" } })
    .to_string();
    let input = json!({ "Policy": policy, "MultiRegion": true,
        "Tags": [{ "TagKey": "team", "TagValue": "red" }] });
    // The caller could put the policy again only if the new key has this property.
    for condition in [
        is("kms:KeySpec", "SYMMETRIC_DEFAULT", "RSA_2048"),
        is("aws:ResourceTag/team", "red", "blue"),
        is("kms:MultiRegionKeyType", "PRIMARY", "REPLICA"),
        is("kms:PolicyName", "default", "other"),
        flag("kms:BypassPolicyLockoutSafetyCheck", false),
        absent("kms:ResourceAliases"),
    ] {
        let (operator, key, right, wrong) = condition;
        for (value, holds) in [(right, true), (wrong, false)] {
            let policies = identity(&json!([
                { "Effect": "Allow", "NotAction": "kms:PutKeyPolicy", "Resource": "*" },
                { "Effect": "Allow", "Action": "kms:PutKeyPolicy", "Resource": "*",
                  "Condition": { operator: { key: value } } },
            ]));
            let made = rig.limited(&policies, &rig.request(user()), "CreateKey", &input).await;
            assert_eq!(made.is_ok(), holds, "{operator} {key} {value}: {made:?}");
        }
    }
}
