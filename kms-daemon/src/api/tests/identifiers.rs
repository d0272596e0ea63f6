//! The four forms of a key identifier, and what is answered to everything else.

use serde_json::{Value, json};

use super::Rig;
use super::rig::{ACCOUNT, REGION, arn, b64};

const ABSENT: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

/// Operations that take all four forms, on a symmetric key.
fn any_form(key: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("DescribeKey", json!({ "KeyId": key })),
        ("Encrypt", json!({ "KeyId": key, "Plaintext": b64("x") })),
        ("GenerateDataKey", json!({ "KeyId": key, "KeySpec": "AES_256" })),
        ("GenerateDataKeyWithoutPlaintext", json!({ "KeyId": key, "NumberOfBytes": 7 })),
    ]
}

/// Operations that take only key id and ARN.
fn key_form(key: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("DisableKey", json!({ "KeyId": key })),
        ("EnableKey", json!({ "KeyId": key })),
        ("GetKeyPolicy", json!({ "KeyId": key })),
        ("ListResourceTags", json!({ "KeyId": key })),
        ("ListAliases", json!({ "KeyId": key })),
        ("UpdateKeyDescription", json!({ "KeyId": key, "Description": "d" })),
    ]
}

#[tokio::test]
async fn forms_are_accepted_where_they_should_be() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })).await;
    let alias_arn = format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/a");
    for key in [id.clone(), arn(&id), "alias/a".to_owned(), alias_arn.clone()] {
        for (operation, input) in any_form(&key) {
            rig.ok(operation, input).await;
        }
    }
    for key in [id.clone(), arn(&id)] {
        for (operation, input) in key_form(&key) {
            rig.ok(operation, input).await;
        }
    }
    for alias in ["alias/a", &alias_arn, "alias/none"] {
        for (operation, input) in key_form(alias) {
            let refusal = rig.refusal(operation, input).await;
            let expected = "InvalidArnException: Key Aliases are not supported for this operation.";
            assert_eq!(refusal, expected, "{operation} {alias}");
        }
    }
}

#[tokio::test]
async fn an_absent_key_is_not_found() {
    let rig = Rig::new().await;
    for (operation, input) in any_form(ABSENT).into_iter().chain(key_form(ABSENT)) {
        let expected = format!("NotFoundException: Key '{}' does not exist", arn(ABSENT));
        assert_eq!(rig.refusal(operation, input).await, expected, "{operation}");
    }
    let expected =
        format!("NotFoundException: Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/none is not found.");
    for (operation, input) in any_form("alias/none") {
        assert_eq!(rig.refusal(operation, input).await, expected, "{operation}");
    }
}

#[tokio::test]
async fn another_region_is_not_found() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let elsewhere = arn(&id).replace(REGION, "eu-west-1");
    for (operation, input) in any_form(&elsewhere).into_iter().chain(key_form(&elsewhere)) {
        let refusal = rig.refusal(operation, input).await;
        assert_eq!(refusal, "NotFoundException: Invalid arn eu-west-1", "{operation}");
    }
}

#[tokio::test]
async fn another_account_is_denied_whether_or_not_the_key_exists() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for id in [&id, ABSENT] {
        let foreign = arn(id).replace(ACCOUNT, "111122223333");
        for (operation, input) in any_form(&foreign).into_iter().chain(key_form(&foreign)) {
            let expected = format!(
                "AccessDeniedException: User: arn:aws:iam::{ACCOUNT}:root is not authorized to \
                 perform: kms:{operation} on this resource because the resource does not exist \
                 in this Region, no resource-based policies allow access, or a resource-based \
                 policy explicitly denies access"
            );
            assert_eq!(rig.refusal(operation, input).await, expected);
        }
    }
}

#[tokio::test]
async fn a_malformed_arn_is_invalid_where_the_model_says_so() {
    let rig = Rig::new().await;
    let malformed = "arn:aws:kms:us-east-1:key/x";
    let mut calls = any_form(malformed);
    calls.extend(key_form(malformed));
    for (operation, input) in calls {
        let modelled = !operation.starts_with("Generate") && operation != "Encrypt";
        let expected = if modelled { "InvalidArnException" } else { "NotFoundException" };
        assert_eq!(rig.refused(operation, input).await, expected, "{operation}");
    }
}

#[tokio::test]
async fn lengths_are_checked_first() {
    let rig = Rig::new().await;
    let long = "x".repeat(1 << 20);
    for key in ["", &long] {
        for (operation, input) in any_form(key).into_iter().chain(key_form(key)) {
            let refusal = rig.refusal(operation, input).await;
            assert!(refusal.starts_with("ValidationException: 1 validation error"), "{refusal}");
            assert!(refusal.len() < 1300);
        }
    }
}
