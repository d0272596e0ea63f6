//! Multi-Region keys: one key in several Regions.

use std::time::Duration;

use serde_json::{Value, json};

use super::Rig;
use super::deletion::destroy;
use super::device::REGIONS;
use super::import::{metadata, wrapped};
use super::rig::{ACCOUNT, b64};
use super::rotation::rotate;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A key with a replica: the rig in both Regions, and the key id.
async fn pair(input: Value) -> (Rig, Rig, String) {
    let east = Rig::with_regions(3).await;
    let west = east.in_region(REGIONS[1]);
    let id = multi_region(&east, input).await;
    replicate(&east, &id, REGIONS[1]).await;
    (east, west, id)
}

async fn multi_region(rig: &Rig, mut input: Value) -> String {
    input["MultiRegion"] = json!(true);
    let made = rig.ok("CreateKey", input).await;
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

async fn replicate(rig: &Rig, id: &str, region: &str) -> Value {
    rig.ok("ReplicateKey", json!({ "KeyId": id, "ReplicaRegion": region })).await
}

fn arn_in(region: &str, id: &str) -> String {
    format!("arn:aws:kms:{region}:{ACCOUNT}:key/{id}")
}

async fn encrypt(rig: &Rig, id: &str) -> Value {
    rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })).await["CiphertextBlob"].clone()
}

async fn decrypts(rig: &Rig, blob: &Value) -> Value {
    let opened = rig.ok("Decrypt", json!({ "CiphertextBlob": blob })).await;
    assert_eq!(opened["Plaintext"], b64("x"));
    opened
}

#[tokio::test]
async fn a_primary_says_what_it_is() {
    let rig = Rig::with_regions(2).await;
    let made = rig.ok("CreateKey", json!({ "MultiRegion": true })).await;
    let metadata = &made["KeyMetadata"];
    let id = metadata["KeyId"].as_str().unwrap();
    assert!(id.starts_with("mrk-") && id.len() == 36, "{id}");
    assert_eq!(metadata["MultiRegion"], json!(true));
    let own = json!({ "Arn": arn_in(REGIONS[0], id), "Region": REGIONS[0] });
    assert_eq!(
        metadata["MultiRegionConfiguration"],
        json!({ "MultiRegionKeyType": "PRIMARY", "PrimaryKey": own, "ReplicaKeys": [] })
    );
    let west = rig.in_region(REGIONS[1]);
    assert_eq!(west.refused("DescribeKey", json!({ "KeyId": id })).await, "NotFoundException");
    let single = rig.create("SYMMETRIC_DEFAULT").await;
    assert!(super::import::metadata(&rig, &single).await.get("MultiRegionConfiguration").is_none());
}

#[tokio::test]
async fn a_replica_has_the_same_material_and_a_life_of_its_own() {
    let east = Rig::with_regions(2).await;
    let west = east.in_region(REGIONS[1]);
    let id = multi_region(&east, json!({ "Description": "first" })).await;
    let before = encrypt(&east, &id).await;
    let input = json!({
        "KeyId": id,
        "ReplicaRegion": REGIONS[1],
        "Description": "second",
        "Tags": [{ "TagKey": "team", "TagValue": "red" }],
    });
    let (answer, facts) = east.audited("ReplicateKey", input).await;
    let answer = answer.unwrap();
    let replica = &answer["ReplicaKeyMetadata"];
    let entry = |region: &str| json!({ "Arn": arn_in(region, &id), "Region": region });
    assert_eq!(
        replica["MultiRegionConfiguration"],
        json!({
            "MultiRegionKeyType": "REPLICA",
            "PrimaryKey": entry(REGIONS[0]),
            "ReplicaKeys": [entry(REGIONS[1])],
        })
    );
    assert_eq!(replica["Arn"], arn_in(REGIONS[1], &id));
    assert_eq!((&replica["KeyId"], &replica["Description"]), (&json!(id), &json!("second")));
    assert_eq!(answer["ReplicaTags"], json!([{ "TagKey": "team", "TagValue": "red" }]));
    assert!(answer["ReplicaPolicy"].as_str().unwrap().contains("key-default-1"));
    // Exported by one device, imported by another.
    assert_eq!(facts.receipts.len(), 2);
    assert_ne!(facts.receipts[0].device, facts.receipts[1].device);
    assert_eq!(facts.resources.len(), 2);

    let primary = metadata(&east, &id).await;
    assert_eq!(primary["MultiRegionConfiguration"]["MultiRegionKeyType"], "PRIMARY");
    assert_eq!(primary["MultiRegionConfiguration"]["ReplicaKeys"], json!([entry(REGIONS[1])]));
    assert_eq!(primary["CurrentKeyMaterialId"], replica["CurrentKeyMaterialId"]);
    assert_eq!(&metadata(&west, &id).await, replica);

    let opened = decrypts(&west, &before).await;
    assert_eq!(opened["KeyId"], arn_in(REGIONS[1], &id));
    decrypts(&east, &encrypt(&west, &id).await).await;

    // What is not shared.
    west.ok("DisableKey", json!({ "KeyId": id })).await;
    west.ok("CreateAlias", json!({ "AliasName": "alias/west", "TargetKeyId": id })).await;
    assert_eq!(metadata(&east, &id).await["KeyState"], "Enabled");
    assert_eq!(east.ok("ListAliases", json!({ "KeyId": id })).await["Aliases"], json!([]));
    decrypts(&east, &before).await;
    let refused = west.refused("Decrypt", json!({ "CiphertextBlob": before })).await;
    assert_eq!(refused, "DisabledException");
    assert_eq!(
        east.ok("ListKeys", json!({})).await["Keys"],
        json!([{ "KeyId": id, "KeyArn": arn_in(REGIONS[0], &id) }])
    );
}

#[tokio::test]
async fn keys_of_every_kind_are_replicated() {
    for (spec, usage) in [
        ("HMAC_512", "GENERATE_VERIFY_MAC"),
        ("ECC_NIST_P384", "SIGN_VERIFY"),
        ("RSA_2048", "SIGN_VERIFY"),
        ("ML_DSA_44", "SIGN_VERIFY"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
    ] {
        let (east, west, id) = pair(json!({ "KeySpec": spec, "KeyUsage": usage })).await;
        if spec == "HMAC_512" {
            let input = json!({ "KeyId": id, "MacAlgorithm": "HMAC_SHA_512", "Message": b64("m") });
            let mac = east.ok("GenerateMac", input.clone()).await["Mac"].clone();
            assert_eq!(west.ok("GenerateMac", input).await["Mac"], mac);
            continue;
        }
        let input = json!({ "KeyId": id });
        let key = east.ok("GetPublicKey", input.clone()).await["PublicKey"].clone();
        assert_eq!(west.ok("GetPublicKey", input).await["PublicKey"], key, "{spec}");
    }
}

#[tokio::test]
async fn what_cannot_be_replicated() {
    let (east, west, id) = pair(json!({})).await;
    let single = east.create("SYMMETRIC_DEFAULT").await;
    let to = |id: &str, region: &str| json!({ "KeyId": id, "ReplicaRegion": region });
    for (rig, input, exception) in [
        (&east, to(&single, REGIONS[1]), "UnsupportedOperationException"),
        (&east, to(&id, REGIONS[1]), "AlreadyExistsException"),
        (&east, to(&id, REGIONS[0]), "ValidationException"),
        (&west, to(&id, REGIONS[2]), "UnsupportedOperationException"),
        (&east, to(&id, "eu-west-3"), "ValidationException"),
        (&east, to(&id, "cn-north-1"), "ValidationException"),
        (&east, to(&id, "nowhere"), "ValidationException"),
        (&east, json!({ "KeyId": id }), "ValidationException"),
        (&east, to("mrk-00000000000000000000000000000000", REGIONS[1]), "NotFoundException"),
    ] {
        assert_eq!(rig.refused("ReplicateKey", input.clone()).await, exception, "{input}");
    }
    east.ok("DisableKey", json!({ "KeyId": id })).await;
    let refused = east.refused("ReplicateKey", to(&id, REGIONS[2])).await;
    assert_eq!(refused, "DisabledException");
}

#[tokio::test]
async fn rotation_is_the_primarys_business() {
    let (east, west, id) = pair(json!({})).await;
    let input = json!({ "KeyId": id });
    for operation in ["EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"] {
        let refused = west.refused(operation, input.clone()).await;
        assert_eq!(refused, "UnsupportedOperationException", "{operation}");
    }
    let old = encrypt(&west, &id).await;
    east.ok("RotateKeyOnDemand", input.clone()).await;
    let current = metadata(&east, &id).await["CurrentKeyMaterialId"].clone();
    assert_eq!(metadata(&west, &id).await["CurrentKeyMaterialId"], current);
    decrypts(&west, &encrypt(&east, &id).await).await;
    decrypts(&east, &encrypt(&west, &id).await).await;
    assert_ne!(decrypts(&east, &old).await["KeyMaterialId"], current);

    east.ok("EnableKeyRotation", json!({ "KeyId": id, "RotationPeriodInDays": 90 })).await;
    let status = west.ok("GetKeyRotationStatus", input.clone()).await;
    assert_eq!(status["RotationPeriodInDays"], 90);
    // A replica made later has it all.
    let south = east.in_region(REGIONS[2]);
    replicate(&east, &id, REGIONS[2]).await;
    east.clock.advance(91 * DAY);
    assert_eq!(rotate(&east).await, 1, "once, not in each Region");
    let blob = encrypt(&east, &id).await;
    for rig in [&west, &south] {
        decrypts(rig, &blob).await;
        decrypts(rig, &old).await;
        let listed = rig.ok("ListKeyRotations", input.clone()).await;
        let types: Vec<_> =
            listed["Rotations"].as_array().unwrap().iter().map(|r| &r["RotationType"]).collect();
        assert_eq!(types, ["ON_DEMAND", "AUTOMATIC"]);
        assert_eq!(rig.ok("GetKeyRotationStatus", input.clone()).await["KeyRotationEnabled"], true);
    }
    east.ok("DisableKeyRotation", input.clone()).await;
    assert_eq!(west.ok("GetKeyRotationStatus", input).await["KeyRotationEnabled"], false);
}

#[tokio::test]
async fn the_primary_moves() {
    let (east, west, id) = pair(json!({})).await;
    let south = east.in_region(REGIONS[2]);
    replicate(&east, &id, REGIONS[2]).await;
    east.ok("EnableKeyRotation", json!({ "KeyId": id, "RotationPeriodInDays": 90 })).await;
    let to = |region: &str| json!({ "KeyId": id, "PrimaryRegion": region });
    for (rig, region, exception) in [
        (&west, REGIONS[1], "KMSInvalidStateException"),
        (&east, "eu-west-3", "ValidationException"),
        (&east, "", "ValidationException"),
    ] {
        assert_eq!(rig.refused("UpdatePrimaryRegion", to(region)).await, exception, "{region}");
    }
    assert_eq!(east.ok("UpdatePrimaryRegion", to(REGIONS[0])).await, Value::Null, "as it is");
    assert_eq!(east.ok("UpdatePrimaryRegion", to(REGIONS[1])).await, Value::Null);
    for rig in [&east, &west, &south] {
        let metadata = metadata(rig, &id).await;
        let configuration = &metadata["MultiRegionConfiguration"];
        assert_eq!(configuration["PrimaryKey"]["Region"], REGIONS[1]);
        let replicas = configuration["ReplicaKeys"].as_array().unwrap();
        let regions: Vec<_> = replicas.iter().map(|r| r["Region"].as_str().unwrap()).collect();
        assert_eq!(regions, [REGIONS[2], REGIONS[0]]);
        let kind = if rig.region == REGIONS[1] { "PRIMARY" } else { "REPLICA" };
        assert_eq!(configuration["MultiRegionKeyType"], kind);
    }
    // The schedule moves along, and rotates the key once.
    east.clock.advance(91 * DAY);
    assert_eq!(rotate(&east).await, 1);
    decrypts(&south, &encrypt(&west, &id).await).await;
    let refused = east.refused("RotateKeyOnDemand", json!({ "KeyId": id })).await;
    assert_eq!(refused, "UnsupportedOperationException");
    west.ok("DisableKeyRotation", json!({ "KeyId": id })).await;
    assert_eq!(east.service.catalog().due_dates().await.unwrap(), 0);
}

#[tokio::test]
async fn replicas_end_before_their_primary() {
    let (east, west, id) = pair(json!({})).await;
    let south = east.in_region(REGIONS[2]);
    replicate(&east, &id, REGIONS[2]).await;
    let window = |days: u32| json!({ "KeyId": id, "PendingWindowInDays": days });
    let answer = east.ok("ScheduleKeyDeletion", window(10)).await;
    assert_eq!(
        answer,
        json!({
            "KeyId": arn_in(REGIONS[0], &id),
            "KeyState": "PendingReplicaDeletion",
            "PendingWindowInDays": 10,
        })
    );
    let waiting = metadata(&east, &id).await;
    assert_eq!(waiting["KeyState"], "PendingReplicaDeletion");
    assert_eq!(waiting["PendingDeletionWindowInDays"], 10);
    assert!(waiting.get("DeletionDate").is_none());
    let refused = east.refused("ScheduleKeyDeletion", window(10)).await;
    assert_eq!(refused, "KMSInvalidStateException");
    let refused = east.refused("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })).await;
    assert_eq!(refused, "KMSInvalidStateException");

    // However long it takes: the replicas are still there.
    east.clock.advance(100 * DAY);
    destroy(&east).await;
    assert_eq!(metadata(&east, &id).await["KeyState"], "PendingReplicaDeletion");
    west.ok("ScheduleKeyDeletion", window(7)).await;
    south.ok("ScheduleKeyDeletion", window(8)).await;
    east.clock.advance(7 * DAY);
    destroy(&east).await;
    assert_eq!(west.refused("DescribeKey", json!({ "KeyId": id })).await, "NotFoundException");
    let waiting = metadata(&east, &id).await;
    assert_eq!(waiting["KeyState"], "PendingReplicaDeletion");
    let replicas = &waiting["MultiRegionConfiguration"]["ReplicaKeys"];
    assert_eq!(replicas.as_array().unwrap().len(), 1);

    // The clock of the primary starts when the last one is gone.
    east.clock.advance(DAY);
    destroy(&east).await;
    let due = metadata(&east, &id).await;
    assert_eq!(due["KeyState"], "PendingDeletion");
    assert_eq!(due["DeletionDate"], json!(1_800_000_000.0 + 118.0 * 86_400.0));
    assert!(due.get("PendingDeletionWindowInDays").is_none());
    east.clock.advance(10 * DAY);
    destroy(&east).await;
    assert_eq!(east.refused("DescribeKey", json!({ "KeyId": id })).await, "NotFoundException");
    assert_eq!(east.service.catalog().due_dates().await.unwrap(), 0);
}

#[tokio::test]
async fn a_waiting_primary_is_kept() {
    let (east, west, id) = pair(json!({})).await;
    let input = json!({ "KeyId": id });
    east.ok("ScheduleKeyDeletion", input.clone()).await;
    east.ok("CancelKeyDeletion", input.clone()).await;
    let kept = metadata(&east, &id).await;
    assert_eq!(kept["KeyState"], "Disabled");
    assert!(kept.get("PendingDeletionWindowInDays").is_none());
    // Its replica ends without it.
    west.ok("ScheduleKeyDeletion", input).await;
    east.clock.advance(30 * DAY);
    destroy(&east).await;
    let alone = metadata(&east, &id).await;
    assert_eq!(alone["KeyState"], "Disabled");
    assert_eq!(alone["MultiRegionConfiguration"]["ReplicaKeys"], json!([]));
    // And can be made again.
    east.ok("EnableKey", json!({ "KeyId": id })).await;
    replicate(&east, &id, REGIONS[1]).await;
    decrypts(&west, &encrypt(&east, &id).await).await;
}

#[tokio::test]
async fn imported_material_is_brought_to_each_region() {
    let east = Rig::with_regions(2).await;
    let west = east.in_region(REGIONS[1]);
    let id = multi_region(&east, json!({ "Origin": "EXTERNAL" })).await;
    let (first, second) = ([1; 32], [2; 32]);
    let import = async |rig: &Rig, material: &[u8], kind: Option<&str>| {
        let mut input = wrapped(rig, &id, material).await;
        if let Some(kind) = kind {
            input["ImportType"] = json!(kind);
        }
        rig.call("ImportKeyMaterial", input).await
    };
    import(&east, &first, None).await.unwrap();
    replicate(&east, &id, REGIONS[1]).await;
    assert_eq!(metadata(&west, &id).await["KeyState"], "PendingImport");
    let other = import(&west, &second, None).await.unwrap_err();
    assert_eq!(other.code(), "IncorrectKeyMaterialException");
    let new = import(&west, &second, Some("NEW_KEY_MATERIAL")).await.unwrap_err();
    assert_eq!(new.code(), "ValidationException");
    import(&west, &first, None).await.unwrap();
    decrypts(&west, &encrypt(&east, &id).await).await;

    // New material waits until every Region has it.
    let state = async |rig: &Rig| {
        let input = json!({ "KeyId": id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
        let listed = rig.ok("ListKeyRotations", input).await;
        let last = listed["Rotations"].as_array().unwrap().last().unwrap().clone();
        (last["KeyMaterialState"].clone(), last["ImportState"].clone())
    };
    import(&east, &second, Some("NEW_KEY_MATERIAL")).await.unwrap();
    let everywhere = json!("PENDING_MULTI_REGION_IMPORT_AND_ROTATION");
    assert_eq!(state(&east).await, (everywhere.clone(), json!("IMPORTED")));
    assert_eq!(state(&west).await, (everywhere, json!("PENDING_IMPORT")));
    let rotation = json!({ "KeyId": id });
    let early = east.refused("RotateKeyOnDemand", rotation.clone()).await;
    assert_eq!(early, "KMSInvalidStateException");
    import(&west, &second, None).await.unwrap();
    assert_eq!(state(&east).await, (json!("PENDING_ROTATION"), json!("IMPORTED")));
    east.ok("RotateKeyOnDemand", rotation).await;
    assert_eq!(state(&west).await, (json!("CURRENT"), json!("IMPORTED")));
    decrypts(&west, &encrypt(&east, &id).await).await;
    decrypts(&east, &encrypt(&west, &id).await).await;

    // Lost in one Region, it is there in the other.
    west.ok("DeleteImportedKeyMaterial", json!({ "KeyId": id })).await;
    assert_eq!(metadata(&west, &id).await["KeyState"], "PendingImport");
    decrypts(&east, &encrypt(&east, &id).await).await;
    import(&west, &second, None).await.unwrap();
    assert_eq!(metadata(&west, &id).await["KeyState"], "Enabled");
}

#[tokio::test]
async fn pending_material_deleted_on_the_primary_is_gone_everywhere() {
    let east = Rig::with_regions(2).await;
    let west = east.in_region(REGIONS[1]);
    let id = multi_region(&east, json!({ "Origin": "EXTERNAL" })).await;
    let input = wrapped(&east, &id, &[1; 32]).await;
    east.ok("ImportKeyMaterial", input).await;
    replicate(&east, &id, REGIONS[1]).await;
    let input = wrapped(&west, &id, &[1; 32]).await;
    west.ok("ImportKeyMaterial", input).await;
    let mut input = wrapped(&east, &id, &[2; 32]).await;
    input["ImportType"] = json!("NEW_KEY_MATERIAL");
    let pending = east.ok("ImportKeyMaterial", input).await["KeyMaterialId"].clone();
    let input = wrapped(&west, &id, &[2; 32]).await;
    west.ok("ImportKeyMaterial", input).await;

    let delete = json!({ "KeyId": id, "KeyMaterialId": pending });
    // On a replica it is only forgotten there.
    west.ok("DeleteImportedKeyMaterial", delete.clone()).await;
    assert!(east.record(&id).await.unwrap().pending.unwrap().is_present());
    assert!(!west.record(&id).await.unwrap().pending.unwrap().is_present());
    east.ok("DeleteImportedKeyMaterial", delete).await;
    assert_eq!(east.record(&id).await.unwrap().pending, None);
    assert_eq!(west.record(&id).await.unwrap().pending, None);
    for rig in [&east, &west] {
        assert_eq!(metadata(rig, &id).await["KeyState"], "Enabled");
    }
}
