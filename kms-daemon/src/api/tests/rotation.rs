//! Rotation, with a moved clock.

use std::sync::Mutex;
use std::time::Duration;

use hsm_protocol::MaterialId;
use serde_json::{Value, json};

use super::Rig;
use super::rig::{arn, b64};
use crate::job::rotation::{RotationObserver, rotate_due};
use host_driver::audit::DeviceReceipt;
use kms_base::clock::Clock as _;
use kms_keys::KeyRecord;
use kms_keys::rotation::MAX_ON_DEMAND;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const START: f64 = 1_800_000_000.0;

/// Notes what is rotated, or refuses it.
#[derive(Default)]
struct Witness {
    rotated: Mutex<Vec<(String, MaterialId, usize)>>,
    refuses: bool,
}

impl RotationObserver for Witness {
    async fn rotating(
        &self,
        key: &KeyRecord,
        material: MaterialId,
        receipts: &[DeviceReceipt],
    ) -> Result<(), String> {
        if self.refuses {
            return Err("the audit log is full".to_owned());
        }
        self.rotated.lock().unwrap().push((key.id.to_string(), material, receipts.len()));
        Ok(())
    }
}

/// Rotates what is due, and returns how many keys that were.
pub(super) async fn rotate(rig: &Rig) -> usize {
    run_job(rig, &Witness::default()).await
}

async fn run_job(rig: &Rig, witness: &Witness) -> usize {
    let (catalog, regions) = (rig.service.catalog(), rig.service.regions());
    rotate_due(catalog, regions, rig.clock.now(), witness).await.unwrap()
}

async fn status(rig: &Rig, id: &str) -> Value {
    rig.ok("GetKeyRotationStatus", json!({ "KeyId": id })).await
}

async fn current(rig: &Rig, id: &str) -> Value {
    let described = rig.ok("DescribeKey", json!({ "KeyId": id })).await;
    described["KeyMetadata"]["CurrentKeyMaterialId"].clone()
}

#[tokio::test]
async fn a_key_rotates_with_its_period() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    assert_eq!(status(&rig, &id).await, json!({ "KeyId": arn(&id), "KeyRotationEnabled": false }));
    let before = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("old") })).await;

    rig.clock.advance(3 * DAY); // the period starts when rotation is enabled
    rig.ok("EnableKeyRotation", json!({ "KeyId": id, "RotationPeriodInDays": 90 })).await;
    let next = START + 93.0 * 86_400.0;
    let expected = json!({
        "KeyId": arn(&id),
        "KeyRotationEnabled": true,
        "RotationPeriodInDays": 90,
        "NextRotationDate": next,
    });
    assert_eq!(status(&rig, &id).await, expected);
    rig.clock.advance(DAY);
    rig.ok("EnableKeyRotation", json!({ "KeyId": id, "RotationPeriodInDays": 90 })).await;
    rig.ok("EnableKeyRotation", json!({ "KeyId": id })).await;
    assert_eq!(status(&rig, &id).await, expected, "enabled again");

    let (witness, first) = (Witness::default(), current(&rig, &id).await);
    rig.clock.advance(89 * DAY - Duration::from_millis(1));
    assert_eq!(run_job(&rig, &witness).await, 0);
    rig.clock.advance(Duration::from_millis(1));
    assert_eq!(run_job(&rig, &witness).await, 1);
    assert_eq!(run_job(&rig, &witness).await, 0, "once");
    let second = current(&rig, &id).await;
    assert_ne!(second, first);
    let (key, material, receipts) = witness.rotated.lock().unwrap()[0].clone();
    assert_eq!((key.as_str(), material.to_string().as_str()), (&*id, second.as_str().unwrap()));
    assert_eq!(receipts, 1, "the device's chain has it too");
    assert_eq!(status(&rig, &id).await["NextRotationDate"], json!(next + 90.0 * 86_400.0));

    let after = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("new") })).await;
    for (made, text, material) in [(&before, "old", &first), (&after, "new", &second)] {
        let input = json!({ "CiphertextBlob": made["CiphertextBlob"] });
        let answer = rig.ok("Decrypt", input).await;
        assert_eq!(answer["Plaintext"], b64(text));
        assert_eq!(answer["KeyMaterialId"], *material);
    }
    let rotations = rig.ok("ListKeyRotations", json!({ "KeyId": id })).await;
    let entry = json!({
        "KeyId": arn(&id),
        "KeyMaterialId": second,
        "KeyMaterialState": "CURRENT",
        "RotationDate": next,
        "RotationType": "AUTOMATIC",
    });
    assert_eq!(rotations, json!({ "Rotations": [entry], "Truncated": false }));
}

/// A clock that jumps over several periods rotates once, and the next period starts then.
#[tokio::test]
async fn what_was_missed_is_made_up_for_once() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("EnableKeyRotation", json!({ "KeyId": id })).await;
    rig.clock.advance(1000 * DAY);
    let refusing = Witness { refuses: true, ..Witness::default() };
    assert_eq!(run_job(&rig, &refusing).await, 0);
    let witness = Witness::default();
    assert_eq!(run_job(&rig, &witness).await, 1);
    assert_eq!(run_job(&rig, &witness).await, 0);
    let next = START + (1000.0 + 365.0) * 86_400.0;
    assert_eq!(status(&rig, &id).await["NextRotationDate"], json!(next));
}

#[tokio::test]
async fn a_key_that_is_off_waits() {
    let rig = Rig::new().await;
    let witness = Witness::default();
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("EnableKeyRotation", json!({ "KeyId": id })).await;
    rig.ok("DisableKey", json!({ "KeyId": id })).await;
    for operation in ["EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"] {
        let refused = rig.refused(operation, json!({ "KeyId": id })).await;
        assert_eq!(refused, "DisabledException", "{operation}");
    }
    rig.clock.advance(400 * DAY);
    assert_eq!(run_job(&rig, &witness).await, 0);
    rig.ok("EnableKey", json!({ "KeyId": id })).await;
    assert_eq!(run_job(&rig, &witness).await, 1, "overdue when it is enabled again");

    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
    assert_eq!(status(&rig, &id).await, json!({ "KeyId": arn(&id), "KeyRotationEnabled": false }));
    rig.clock.advance(20 * DAY);
    rig.ok("CancelKeyDeletion", json!({ "KeyId": id })).await;
    assert_eq!(status(&rig, &id).await["KeyRotationEnabled"], json!(true), "restored");
    rig.ok("EnableKey", json!({ "KeyId": id })).await;
    rig.ok("DisableKeyRotation", json!({ "KeyId": id })).await;
    rig.clock.advance(1000 * DAY);
    assert_eq!(run_job(&rig, &witness).await, 0);
    assert_eq!(witness.rotated.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn by_hand_only_so_often() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let mut blobs = Vec::new();
    for count in 0..MAX_ON_DEMAND {
        let input = json!({ "KeyId": id, "Plaintext": b64(count.to_string()) });
        blobs.push(rig.ok("Encrypt", input).await["CiphertextBlob"].clone());
        let answer = rig.ok("RotateKeyOnDemand", json!({ "KeyId": id })).await;
        assert_eq!(answer, json!({ "KeyId": arn(&id) }));
    }
    let refused = rig.refused("RotateKeyOnDemand", json!({ "KeyId": id })).await;
    assert_eq!(refused, "LimitExceededException");
    for (count, blob) in blobs.iter().enumerate() {
        let answer = rig.ok("Decrypt", json!({ "CiphertextBlob": blob })).await;
        assert_eq!(answer["Plaintext"], b64(count.to_string()));
    }
    // The calendar goes on.
    rig.ok("EnableKeyRotation", json!({ "KeyId": id })).await;
    rig.clock.advance(365 * DAY);
    assert_eq!(run_job(&rig, &Witness::default()).await, 1);

    let mut pages = Vec::new();
    let mut input = json!({ "KeyId": id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL", "Limit": 10 });
    loop {
        let page = rig.ok("ListKeyRotations", input.clone()).await;
        pages.extend(page["Rotations"].as_array().unwrap().clone());
        let Some(marker) = page.get("NextMarker") else { break };
        assert_eq!(page["Truncated"], json!(true));
        input["Marker"] = marker.clone();
    }
    assert_eq!(pages.len(), 1 + MAX_ON_DEMAND + 1);
    assert!(pages[0].get("RotationDate").is_none() && pages[0].get("RotationType").is_none());
    assert_eq!(pages[1]["RotationType"], json!("ON_DEMAND"));
    assert_eq!(pages[26]["RotationType"], json!("AUTOMATIC"));
    let states: Vec<_> = pages.iter().filter(|p| p["KeyMaterialState"] == "CURRENT").collect();
    assert_eq!(states.len(), 1);
    let rotations = rig.ok("ListKeyRotations", json!({ "KeyId": id })).await;
    assert_eq!(rotations["Rotations"].as_array().unwrap()[..], pages[1..]);
    let refused = rig.refused("ListKeyRotations", json!({ "KeyId": id, "Marker": "x" })).await;
    assert_eq!(refused, "InvalidMarkerException");
}

#[tokio::test]
async fn only_symmetric_keys_rotate() {
    let rig = Rig::new().await;
    for spec in ["HMAC_256", "ECC_NIST_P256"] {
        let id = rig.create(spec).await;
        for operation in ["EnableKeyRotation", "RotateKeyOnDemand"] {
            let refused = rig.refused(operation, json!({ "KeyId": id })).await;
            assert_eq!(refused, "UnsupportedOperationException", "{operation} {spec}");
        }
        rig.ok("DisableKeyRotation", json!({ "KeyId": id })).await;
        let never = json!({ "KeyId": arn(&id), "KeyRotationEnabled": false });
        assert_eq!(status(&rig, &id).await, never);
        let listed = rig.ok("ListKeyRotations", json!({ "KeyId": id })).await;
        assert_eq!(listed, json!({ "Rotations": [], "Truncated": false }));
        let input = json!({ "KeyId": id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
        assert_eq!(
            rig.refusal("ListKeyRotations", input).await,
            "ValidationException: Input parameter includeKeyMaterial can only be used with \
             symmetric keys."
        );
    }
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for period in [89, 2561] {
        let input = json!({ "KeyId": id, "RotationPeriodInDays": period });
        assert_eq!(rig.refused("EnableKeyRotation", input).await, "ValidationException");
    }
    let input = json!({ "KeyId": id, "IncludeKeyMaterial": "SOME" });
    assert_eq!(rig.refused("ListKeyRotations", input).await, "ValidationException");
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
    let refused = rig.refused("RotateKeyOnDemand", json!({ "KeyId": id })).await;
    assert_eq!(refused, "KMSInvalidStateException");
}

#[tokio::test]
async fn a_destroyed_key_leaves_no_due_date() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("EnableKeyRotation", json!({ "KeyId": id })).await;
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id, "PendingWindowInDays": 7 })).await;
    rig.clock.advance(8 * DAY);
    super::deletion::destroy(&rig).await;
    assert!(rig.record(&id).await.is_none());
    rig.clock.advance(400 * DAY);
    assert_eq!(run_job(&rig, &Witness::default()).await, 0);
    assert_eq!(rig.service.catalog().due_dates().await.unwrap(), 0);
}

#[tokio::test]
async fn the_names_of_policies() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let names = rig.ok("ListKeyPolicies", json!({ "KeyId": id })).await;
    assert_eq!(names, json!({ "PolicyNames": ["default"], "Truncated": false }));
    let refused = rig.refused("ListKeyPolicies", json!({ "KeyId": id, "Marker": "x" })).await;
    assert_eq!(refused, "InvalidMarkerException");
}
