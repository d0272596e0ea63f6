//! Keys whose Regions are served by two daemons.

use serde_json::json;

use super::{ACCOUNT, Daemon, EAST, WEST, multi_region, pair, replicate};
use crate::api::testing;
use crate::job::deletion::destroy_due;
use kms_base::clock::Clock as _;

#[tokio::test]
async fn a_replica_in_another_daemon() {
    let (west, east) = pair().await;
    let id = multi_region(&west, json!({ "Description": "first" })).await;
    let blob = west.encrypt(&id).await;
    let input = json!({
        "KeyId": id,
        "ReplicaRegion": EAST,
        "Description": "second",
        "Tags": [{ "TagKey": "a", "TagValue": "b" }],
    });
    let made = west.ok("ReplicateKey", input.clone()).await["ReplicaKeyMetadata"].clone();
    assert_eq!(made, east.metadata(&id).await);
    assert_eq!((&made["Description"], &made["KeyState"]), (&json!("second"), &json!("Enabled")));
    east.decrypts(&blob).await;
    west.decrypts(&east.encrypt(&id).await).await;
    assert_eq!(west.refused("ReplicateKey", input).await, "AlreadyExistsException");
    let refused = east.refused("EnableKeyRotation", json!({ "KeyId": id })).await;
    assert_eq!(refused, "UnsupportedOperationException");
    let nowhere = json!({ "KeyId": id, "ReplicaRegion": "eu-west-3" });
    assert_eq!(west.refused("ReplicateKey", nowhere).await, "ValidationException");
    assert_eq!((west.outbox().await, east.outbox().await), (0, 0));
    let events = east.audited().await;
    assert!(events.iter().any(|line| line.contains("\"CreateKey\"")), "{events:?}");
}

#[tokio::test]
async fn keys_of_other_kinds_and_imported_ones() {
    let (west, east) = pair().await;
    let input = json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" });
    let id = multi_region(&west, input).await;
    replicate(&west, &east, &id).await;
    let input = json!({ "KeyId": id });
    let public = west.ok("GetPublicKey", input.clone()).await["PublicKey"].clone();
    assert_eq!(east.ok("GetPublicKey", input).await["PublicKey"], public);
}

#[tokio::test]
async fn imported_material_is_brought_to_each_daemon() {
    let (west, east) = pair().await;
    let id = multi_region(&west, json!({ "Origin": "EXTERNAL" })).await;
    let import = async |daemon: &Daemon, material: &[u8], kind: Option<&str>| {
        let parameters = daemon.ok("GetParametersForImport", testing::parameters(&id)).await;
        let mut input = testing::wrap(&parameters, &id, material);
        if let Some(kind) = kind {
            input["ImportType"] = json!(kind);
        }
        daemon.call("ImportKeyMaterial", input).await
    };
    let refused = west.refused("ReplicateKey", json!({ "KeyId": id, "ReplicaRegion": EAST })).await;
    assert_eq!(refused, "KMSInvalidStateException", "a primary that waits for its material");

    let (first, second) = ([1; 32], [2; 32]);
    import(&west, &first, None).await.unwrap();
    let made = replicate(&west, &east, &id).await;
    assert_eq!(made["KeyState"], "PendingImport");
    assert_eq!(made, east.metadata(&id).await);
    let other = import(&east, &second, None).await.unwrap_err();
    assert_eq!(other.code(), "IncorrectKeyMaterialException");
    import(&east, &first, None).await.unwrap();
    east.decrypts(&west.encrypt(&id).await).await;

    import(&west, &second, Some("NEW_KEY_MATERIAL")).await.unwrap();
    let rotate = json!({ "KeyId": id });
    let early = west.refused("RotateKeyOnDemand", rotate.clone()).await;
    assert_eq!(early, "KMSInvalidStateException");
    assert_eq!(west.outbox().await, 0);
    import(&east, &second, None).await.unwrap();
    west.ok("RotateKeyOnDemand", rotate).await;
    assert_eq!(west.outbox().await, 0);
    let current = west.metadata(&id).await["CurrentKeyMaterialId"].clone();
    assert_eq!(east.metadata(&id).await["CurrentKeyMaterialId"], current);
    west.decrypts(&east.encrypt(&id).await).await;
}

#[tokio::test]
async fn what_is_shared_follows_when_the_line_is_there_again() {
    let (west, mut east) = pair().await;
    let id = multi_region(&west, json!({})).await;
    replicate(&west, &east, &id).await;
    east.cut().await;
    let input = json!({ "KeyId": id, "RotationPeriodInDays": 90 });
    west.ok("EnableKeyRotation", input).await;
    assert_eq!(west.outbox().await, 1, "the other end cannot be reached");
    // New material is not used before the other Region has it.
    let rotate = json!({ "KeyId": id });
    let refused = west.refused("RotateKeyOnDemand", rotate.clone()).await;
    assert_eq!(refused, "DependencyTimeoutException");
    let status = json!({ "KeyId": id });
    assert_eq!(east.ok("GetKeyRotationStatus", status.clone()).await["KeyRotationEnabled"], false);

    east.plug().await;
    assert_eq!(west.outbox().await, 0);
    assert_eq!(east.ok("GetKeyRotationStatus", status).await["RotationPeriodInDays"], 90);
    west.ok("RotateKeyOnDemand", rotate).await;
    // Before it is told that the key is rotated, it can read what the new material made.
    east.decrypts(&west.encrypt(&id).await).await;
    assert_ne!(
        east.metadata(&id).await["CurrentKeyMaterialId"],
        west.metadata(&id).await["CurrentKeyMaterialId"]
    );
    assert_eq!(west.outbox().await, 0);
    let (here, there) = (west.metadata(&id).await, east.metadata(&id).await);
    assert_eq!(here["CurrentKeyMaterialId"], there["CurrentKeyMaterialId"]);
    let listed = east.ok("ListKeyRotations", json!({ "KeyId": id })).await;
    assert_eq!(listed["Rotations"][0]["RotationType"], "ON_DEMAND");
    west.decrypts(&east.encrypt(&id).await).await;
}

#[tokio::test]
async fn a_replica_whose_answer_was_lost_is_found() {
    let (west, mut east) = pair().await;
    let id = multi_region(&west, json!({})).await;
    east.cut().await;
    let input = json!({ "KeyId": id, "ReplicaRegion": EAST });
    let refused = west.refused("ReplicateKey", input.clone()).await;
    assert_eq!(refused, "DependencyTimeoutException");
    assert_eq!(west.metadata(&id).await["MultiRegionConfiguration"]["ReplicaKeys"], json!([]));
    east.plug().await;
    // As if only the answer had been lost: the replica is there, its primary does not know.
    west.ok("ReplicateKey", input.clone()).await;
    let catalog = west.app.service.catalog();
    let scope = kms_base::identifier::Scope::new(ACCOUNT, WEST);
    let key = catalog
        .key(&scope, kms_base::identifier::KeyId::parse(&id).unwrap())
        .await
        .unwrap()
        .unwrap();
    let forgotten = key.without_replica(EAST, key.version() + 1, west.clock.now());
    let _ = catalog.replace_key(&key, &forgotten).await.unwrap();
    west.ok("ReplicateKey", input).await;
    let listed = &west.metadata(&id).await["MultiRegionConfiguration"]["ReplicaKeys"];
    assert_eq!(listed[0]["Region"], EAST);
}

#[tokio::test]
async fn the_primary_moves_to_another_daemon() {
    let (west, mut east) = pair().await;
    let id = multi_region(&west, json!({})).await;
    replicate(&west, &east, &id).await;
    let to = |region: &str| json!({ "KeyId": id, "PrimaryRegion": region });
    east.ok("DisableKey", json!({ "KeyId": id })).await;
    let refused = west.refused("UpdatePrimaryRegion", to(EAST)).await;
    assert_eq!(refused, "DisabledException", "the replica has to be usable");
    east.ok("EnableKey", json!({ "KeyId": id })).await;

    west.ok("UpdatePrimaryRegion", to(EAST)).await;
    let moving = west.metadata(&id).await;
    assert_eq!(moving["KeyState"], "Updating");
    west.decrypts(&west.encrypt(&id).await).await;
    let refused = west.refused("EnableKeyRotation", json!({ "KeyId": id })).await;
    assert_eq!(refused, "KMSInvalidStateException");
    east.cut().await;
    assert_eq!(west.outbox().await, 1);
    east.plug().await;
    assert_eq!(west.outbox().await, 0);
    for daemon in [&west, &east] {
        let metadata = daemon.metadata(&id).await;
        assert_eq!(metadata["KeyState"], "Enabled");
        let configuration = &metadata["MultiRegionConfiguration"];
        assert_eq!(configuration["PrimaryKey"]["Region"], EAST);
        assert_eq!(configuration["ReplicaKeys"][0]["Region"], WEST);
    }
    // And back, with a rotation in between.
    east.ok("RotateKeyOnDemand", json!({ "KeyId": id })).await;
    assert_eq!(east.outbox().await, 0);
    let blob = east.encrypt(&id).await;
    west.decrypts(&blob).await;
    east.ok("UpdatePrimaryRegion", to(WEST)).await;
    assert_eq!((east.outbox().await, west.outbox().await), (0, 0));
    let configuration = &east.metadata(&id).await["MultiRegionConfiguration"];
    assert_eq!(configuration["MultiRegionKeyType"], "REPLICA");
    west.ok("RotateKeyOnDemand", json!({ "KeyId": id })).await;
}

#[tokio::test]
async fn a_destroyed_replica_is_forgotten() {
    let (mut west, east) = pair().await;
    let id = multi_region(&west, json!({})).await;
    replicate(&west, &east, &id).await;
    let window = json!({ "KeyId": id, "PendingWindowInDays": 7 });
    let answer = west.ok("ScheduleKeyDeletion", window.clone()).await;
    assert_eq!(answer["KeyState"], "PendingReplicaDeletion");
    east.ok("ScheduleKeyDeletion", window).await;
    let week = std::time::Duration::from_secs(7 * 24 * 60 * 60);
    east.clock.advance(week);
    west.cut().await;
    let catalog = east.app.service.catalog();
    destroy_due(catalog, east.clock.now(), &*east.app.audit).await.unwrap();
    assert_eq!(east.refused("DescribeKey", json!({ "KeyId": id })).await, "NotFoundException");
    assert_eq!(east.outbox().await, 1);
    west.plug().await;
    assert_eq!(east.outbox().await, 0);
    let left = west.metadata(&id).await;
    assert_eq!(left["KeyState"], "PendingDeletion");
    assert_eq!(left["MultiRegionConfiguration"]["ReplicaKeys"], json!([]));
    assert_eq!(west.outbox().await, 0);
}
