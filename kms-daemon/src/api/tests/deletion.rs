//! The end of a key, with a moved clock.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use super::Rig;
use super::rig::{arn, b64};
use crate::job::deletion::{DeletionObserver, destroy_due};
use kms_audit::AuditLog;
use kms_base::clock::Clock as _;
use kms_keys::KeyRecord;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Notes what is destroyed, or refuses it.
#[derive(Default)]
struct Witness {
    destroyed: Mutex<Vec<String>>,
    refuses: bool,
}

impl DeletionObserver for Witness {
    async fn destroying(&self, key: &KeyRecord) -> Result<(), String> {
        if self.refuses {
            return Err("the audit log is full".to_owned());
        }
        self.destroyed.lock().unwrap().push(key.id.to_string());
        Ok(())
    }
}

/// Destroys what is due.
pub(super) async fn destroy(rig: &Rig) {
    run_job(rig, &Witness::default()).await;
}

async fn run_job(rig: &Rig, witness: &Witness) -> usize {
    destroy_due(rig.service.catalog(), rig.clock.now(), witness).await.unwrap()
}

#[tokio::test]
async fn a_key_ends_with_its_window() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let kept = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })).await;
    rig.ok("CreateAlias", json!({ "AliasName": "alias/kept", "TargetKeyId": kept })).await;
    let made = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })).await;

    let input = json!({ "KeyId": id, "PendingWindowInDays": 7 });
    let (answer, facts) = rig.audited("ScheduleKeyDeletion", input).await;
    let due = 1_800_000_000.0 + 7.0 * 86_400.0;
    assert_eq!(
        answer.unwrap(),
        json!({
            "KeyId": arn(&id),
            "DeletionDate": due,
            "KeyState": "PendingDeletion",
            "PendingWindowInDays": 7,
        })
    );
    assert_eq!(facts.response_elements.unwrap()["keyState"], json!("PendingDeletion"));
    let described = rig.ok("DescribeKey", json!({ "KeyId": "alias/a" })).await;
    assert_eq!(described["KeyMetadata"]["DeletionDate"], json!(due));
    assert_eq!(described["KeyMetadata"]["Enabled"], json!(false));

    rig.clock.advance(7 * DAY - Duration::from_millis(1));
    let witness = Witness::default();
    assert_eq!(run_job(&rig, &witness).await, 0);
    assert!(rig.record(&id).await.is_some());
    rig.clock.advance(Duration::from_millis(1));
    assert_eq!(run_job(&rig, &witness).await, 1);
    assert_eq!(*witness.destroyed.lock().unwrap(), std::slice::from_ref(&id));

    assert!(rig.record(&id).await.is_none());
    assert_eq!(rig.refused("DescribeKey", json!({ "KeyId": id })).await, "NotFoundException");
    assert_eq!(
        rig.refused("DescribeKey", json!({ "KeyId": "alias/a" })).await,
        "NotFoundException"
    );
    let decrypt = json!({ "CiphertextBlob": made["CiphertextBlob"] });
    assert_eq!(rig.refused("Decrypt", decrypt).await, "AccessDeniedException");
    let aliases = rig.ok("ListAliases", json!({ "Limit": 100 })).await;
    let aliases = aliases["Aliases"].as_array().unwrap().iter();
    assert_eq!(aliases.filter(|alias| alias.get("TargetKeyId").is_some()).count(), 1);
    assert_eq!(run_job(&rig, &witness).await, 0);
    rig.ok("DescribeKey", json!({ "KeyId": "alias/kept" })).await;
}

#[tokio::test]
async fn a_cancelled_deletion_leaves_a_disabled_key() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
    let again = json!({ "KeyId": id, "PendingWindowInDays": 7 });
    assert_eq!(rig.refused("ScheduleKeyDeletion", again).await, "KMSInvalidStateException");
    let answer = rig.ok("CancelKeyDeletion", json!({ "KeyId": arn(&id) })).await;
    assert_eq!(answer, json!({ "KeyId": arn(&id) }));
    let described = rig.ok("DescribeKey", json!({ "KeyId": id })).await;
    assert_eq!(described["KeyMetadata"]["KeyState"], json!("Disabled"));
    assert!(described["KeyMetadata"].get("DeletionDate").is_none());
    rig.clock.advance(365 * DAY);
    assert_eq!(run_job(&rig, &Witness::default()).await, 0);
    rig.ok("EnableKey", json!({ "KeyId": id })).await;
    rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })).await;
}

#[tokio::test]
async fn a_deletion_that_cannot_be_recorded_waits() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
    rig.clock.advance(31 * DAY);
    let refusing = Witness { refuses: true, ..Witness::default() };
    assert_eq!(run_job(&rig, &refusing).await, 0);
    assert!(rig.record(&id).await.is_some());
    assert_eq!(run_job(&rig, &Witness::default()).await, 1);
}

#[tokio::test]
async fn many_due_keys_end_in_one_run() {
    let rig = Rig::new().await;
    let mut ids = Vec::new();
    for _ in 0..105 {
        let id = rig.create("HMAC_256").await;
        rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id, "PendingWindowInDays": 7 })).await;
        ids.push(id);
    }
    rig.ok("CancelKeyDeletion", json!({ "KeyId": ids[0] })).await;
    rig.clock.advance(8 * DAY);
    assert_eq!(run_job(&rig, &Witness::default()).await, 104);
    let listed = rig.ok("ListKeys", json!({})).await;
    assert_eq!(listed["Keys"], json!([{ "KeyId": ids[0], "KeyArn": arn(&ids[0]) }]));
}

#[tokio::test]
async fn the_window_is_seven_to_thirty_days() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for (days, rule) in [(6, "greater than or equal to 7"), (31, "less than or equal to 30")] {
        let input = json!({ "KeyId": id, "PendingWindowInDays": days });
        assert_eq!(
            rig.refusal("ScheduleKeyDeletion", input).await,
            format!(
                "ValidationException: 1 validation error detected: Value '{days}' at \
                 'pendingWindowInDays' failed to satisfy constraint: Member must have value {rule}"
            )
        );
    }
    let answer = rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
    assert_eq!(answer["PendingWindowInDays"], json!(30));
}

#[tokio::test]
async fn the_audit_log_says_which_key_ended() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
    rig.clock.advance(30 * DAY);
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = AuditLog::open(directory.path(), json!({})).await.unwrap();
    destroy_due(rig.service.catalog(), rig.clock.now(), &log).await.unwrap();
    drop(log);
    assert!(rig.record(&id).await.is_none());
    let mut events = Vec::new();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        for line in String::from_utf8_lossy(&content).lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            if line["kind"] == "service-event" {
                events.push(line["record"].clone());
            }
        }
    }
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["eventName"], json!("DeleteKey"));
    assert_eq!(events[0]["serviceEventDetails"], json!({ "keyId": id }));
    assert_eq!(events[0]["resources"][0]["ARN"], json!(arn(&id)));
}
