//! Multi-Region keys.

use serde_json::json;

use super::Rig;
use crate::api::tests::device::REGIONS;
use crate::api::tests::rig::{ACCOUNT, arn};

const HOME: &str = REGIONS[0];

#[tokio::test]
async fn where_replicas_can_be() {
    let east = Rig::with_regions(3).await;
    let west = east.in_region(REGIONS[1]);
    let made = east.ok("CreateKey", json!({ "MultiRegion": true })).await;
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    let to = |region: &str| json!({ "KeyId": id, "ReplicaRegion": region });
    let answer = east.ok("ReplicateKey", to(REGIONS[1])).await;
    assert_eq!(answer.get("ReplicaTags"), None, "there are none");
    for (region, expected) in [
        (HOME, format!("{HOME} cannot have a replica because it contains the primary.")),
        (
            "cn-north-1",
            "The replica key Region must be in the same AWS partition as the primary key Region."
                .to_owned(),
        ),
        (
            "eu-west-3",
            "Region eu-west-3 is not a valid Region or multi-Region keys are not supported in \
             Region eu-west-3."
                .to_owned(),
        ),
    ] {
        let expected = format!("ValidationException: {expected}");
        east.says("ReplicateKey", to(region), &expected).await;
    }
    east.says(
        "ReplicateKey",
        to(REGIONS[1]),
        "AlreadyExistsException: You can create only one replica of each primary key in each AWS \
         Region.",
    )
    .await;
    let replica = format!("arn:aws:kms:{}:{ACCOUNT}:key/{id}", REGIONS[1]);
    let expected =
        format!("UnsupportedOperationException: {replica} is not a multi-region primary key.");
    west.says("ReplicateKey", to(REGIONS[2]), &expected).await;
    let single = east.create("SYMMETRIC_DEFAULT").await;
    let expected = format!(
        "UnsupportedOperationException: {} is not a multi-region primary key.",
        arn(&single)
    );
    let input = json!({ "KeyId": single, "ReplicaRegion": REGIONS[1] });
    east.says("ReplicateKey", input, &expected).await;

    for operation in ["EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"] {
        let expected = format!(
            "UnsupportedOperationException: {replica} is a multi-region replica key which is not \
             valid for {operation}."
        );
        west.says(operation, json!({ "KeyId": id }), &expected).await;
    }
}

#[tokio::test]
async fn where_primaries_can_move() {
    let east = Rig::with_regions(3).await;
    let west = east.in_region(REGIONS[1]);
    let made = east.ok("CreateKey", json!({ "MultiRegion": true })).await;
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    east.ok("ReplicateKey", json!({ "KeyId": id, "ReplicaRegion": REGIONS[1] })).await;
    let to = |region: &str| json!({ "KeyId": id, "PrimaryRegion": region });
    let before = east.ok("DescribeKey", json!({ "KeyId": id })).await;
    assert!(east.ok("UpdatePrimaryRegion", to(HOME)).await.is_null(), "it is there already");
    assert_eq!(east.ok("DescribeKey", json!({ "KeyId": id })).await, before);
    let expected =
        format!("ValidationException: {id} does not have a replica key in the specified Region.");
    east.says("UpdatePrimaryRegion", to(REGIONS[2]), &expected).await;
    let replica = format!("arn:aws:kms:{}:{ACCOUNT}:key/{id}", REGIONS[1]);
    let expected =
        format!("KMSInvalidStateException: {replica} is not a multi-Region primary key.");
    west.says("UpdatePrimaryRegion", to(REGIONS[1]), &expected).await;
    west.ok("DisableKey", json!({ "KeyId": id })).await;
    let expected = format!("DisabledException: {replica} is disabled.");
    east.says("UpdatePrimaryRegion", to(REGIONS[1]), &expected).await;
    east.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
    let expected = format!("KMSInvalidStateException: {} is pending replica deletion.", arn(id));
    east.says("Encrypt", json!({ "KeyId": id, "Plaintext": "AAAA" }), &expected).await;
}
