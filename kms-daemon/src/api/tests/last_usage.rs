//! `GetKeyLastUsage`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Rig;
use super::deletion::destroy;
use super::rig::b64;
use kms_store::{MemoryStore, Range, Store};

const START: f64 = 1_800_000_000.0;

impl Rig {
    async fn last(&self, key: &str) -> Value {
        self.ok("GetKeyLastUsage", json!({ "KeyId": key })).await
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

#[tokio::test]
async fn the_last_successful_use_is_told() {
    let rig = Rig::new().await;
    rig.wait(5);
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let unused = json!({
        "KeyId": id,
        "KeyLastUsage": {},
        "TrackingStartDate": START + 5.0,
        "KeyCreationDate": START + 5.0,
    });
    assert_eq!(rig.last(&id).await, unused);

    let blob = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })).await;
    let first = rig.last(&id).await["KeyLastUsage"].clone();
    assert_eq!(
        (&first["Operation"], &first["Timestamp"]),
        (&json!("Encrypt"), &json!(START + 5.0))
    );
    rig.wait(1);
    // Failed requests, dry runs and operations without cryptography do not count as use.
    let dry = json!({ "KeyId": id, "Plaintext": b64("x"), "DryRun": true });
    rig.refused("Encrypt", dry).await;
    let wrong =
        json!({ "CiphertextBlob": blob["CiphertextBlob"], "EncryptionContext": { "a": "b" } });
    rig.refused("Decrypt", wrong).await;
    rig.ok("DescribeKey", json!({ "KeyId": id })).await;
    rig.ok("GenerateRandom", json!({ "NumberOfBytes": 1 })).await;
    assert_eq!(rig.last(&id).await["KeyLastUsage"], first);
    rig.ok("Decrypt", json!({ "CiphertextBlob": blob["CiphertextBlob"] })).await;
    let second = rig.last(&id).await["KeyLastUsage"].clone();
    assert_eq!(second["Operation"], "Decrypt");
    assert_eq!(second["Timestamp"], START + 6.0);
    assert_ne!(second["CloudTrailEventId"], first["CloudTrailEventId"]);
    assert_ne!(second["KmsRequestId"], first["KmsRequestId"]);

    let other = rig.create("SYMMETRIC_DEFAULT").await;
    rig.wait(1);
    let across = json!({ "CiphertextBlob": blob["CiphertextBlob"], "DestinationKeyId": other });
    rig.ok("ReEncrypt", across).await;
    let (from, to) = (rig.last(&id).await, rig.last(&other).await);
    assert_eq!(from["KeyLastUsage"], to["KeyLastUsage"]);
    assert_eq!(from["KeyLastUsage"]["Operation"], "ReEncrypt");
    rig.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })).await;
    assert_eq!(
        rig.refused("GetKeyLastUsage", json!({ "KeyId": "alias/a" })).await,
        "InvalidArnException"
    );
}

#[tokio::test]
async fn it_outlives_a_restart_and_goes_with_the_key() {
    let store = Arc::new(MemoryStore::new());
    let rig = Rig::on(store.clone()).await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let encrypt = json!({ "KeyId": id, "Plaintext": b64("x") });
    rig.ok("Encrypt", encrypt.clone()).await;
    let known = rig.last(&id).await;
    assert_eq!(rig.service.usage().flush().await.unwrap(), 1);
    assert_eq!(rig.service.usage().flush().await.unwrap(), 0);

    let restarted = Rig::on(store.clone()).await;
    restarted.wait(100);
    assert_eq!(restarted.last(&id).await, known);
    // An older use that another daemon has yet to write does not replace a newer one.
    rig.ok("Encrypt", encrypt.clone()).await;
    restarted.ok("Encrypt", encrypt.clone()).await;
    let newer = restarted.last(&id).await;
    restarted.service.usage().flush().await.unwrap();
    rig.service.usage().flush().await.unwrap();
    assert_eq!(rig.last(&id).await, newer);

    rig.ok("Encrypt", encrypt).await;
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id, "PendingWindowInDays": 7 })).await;
    rig.wait(8 * 24 * 60 * 60);
    destroy(&rig).await;
    rig.service.usage().flush().await.unwrap();
    let range = Range { prefix: b"last-usage/".to_vec(), after: None, limit: 10 };
    assert!(store.range(range).await.unwrap().value.entries.is_empty());
}
