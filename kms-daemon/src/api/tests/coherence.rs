//! Caches, concurrency and durability: what is acknowledged is what everybody sees from then on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Rig;
use super::rig::{ACCOUNT, b64, join};
use crate::counting::Counting;
use kms_store::{Commit, MemoryStore, RedbStore, Store, Transaction};

#[tokio::test]
async fn a_warm_key_is_used_without_the_store() {
    let store = Arc::new(Counting::default());
    let rig = Rig::on(store.clone()).await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })).await;
    let encrypt = json!({ "KeyId": "alias/a", "Plaintext": b64("x") });
    let made = rig.ok("Encrypt", encrypt.clone()).await;
    let decrypt = json!({ "CiphertextBlob": made["CiphertextBlob"] });
    rig.ok("Decrypt", decrypt.clone()).await;
    // The store's notices of these changes may still be on their way.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let before = store.calls();
    for _ in 0..100 {
        rig.ok("Encrypt", encrypt.clone()).await;
        rig.ok("Decrypt", decrypt.clone()).await;
    }
    assert_eq!(store.calls(), before);
}

#[tokio::test]
async fn another_process_sees_a_change_soon_and_its_updates_lose_nothing() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (here, there) = (Rig::on(store.clone()).await, Rig::on(store).await);
    let id = here.create("SYMMETRIC_DEFAULT").await;
    let encrypt = json!({ "KeyId": id, "Plaintext": b64("x") });
    there.ok("Encrypt", encrypt.clone()).await;
    here.ok("DisableKey", json!({ "KeyId": id })).await;
    assert_eq!(here.refused("Encrypt", encrypt.clone()).await, "DisabledException");
    let mut waits = 0;
    while there.call("Encrypt", encrypt.clone()).await.is_ok() {
        waits += 1;
        assert!(waits < 1000, "the change never arrived");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // An update that starts from an old cache entry is decided anew.
    for (rig, key) in [(&here, "a"), (&there, "b"), (&here, "c"), (&there, "d")] {
        let tags = json!([{ "TagKey": key, "TagValue": "v" }]);
        rig.ok("TagResource", json!({ "KeyId": id, "Tags": tags })).await;
    }
    assert_eq!(here.record(&id).await.unwrap().tags.len(), 4);
}

#[tokio::test]
async fn grants_count_at_once_and_are_used_without_the_store() {
    let store = Arc::new(Counting::default());
    let (here, there) = (Rig::on(store.clone()).await, Rig::on(store.clone()).await);
    let policy = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
        "Principal": { "AWS": ACCOUNT }, "Resource": "*",
        "Action": ["kms:CreateGrant", "kms:RevokeGrant", "kms:PutKeyPolicy"] } });
    let key = here.ok("CreateKey", json!({ "Policy": policy.to_string() })).await;
    let id = key["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let encrypt = json!({ "KeyId": id, "Plaintext": b64("x") });
    // That there is no grant is remembered as well.
    for rig in [&here, &there] {
        assert_eq!(rig.refused("Encrypt", encrypt.clone()).await, "AccessDeniedException");
    }
    let grant = json!({ "KeyId": id, "GranteePrincipal": ACCOUNT, "Operations": ["Encrypt"] });
    let made = here.ok("CreateGrant", grant).await;
    here.ok("Encrypt", encrypt.clone()).await;
    let soon = async |may: bool| {
        for _ in 0..1000 {
            if there.call("Encrypt", encrypt.clone()).await.is_ok() == may {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the change never arrived");
    };
    soon(true).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let before = store.calls();
    for _ in 0..100 {
        here.ok("Encrypt", encrypt.clone()).await;
        there.ok("Encrypt", encrypt.clone()).await;
    }
    assert_eq!(store.calls(), before);
    here.ok("RevokeGrant", json!({ "KeyId": id, "GrantId": made["GrantId"] })).await;
    assert_eq!(here.refused("Encrypt", encrypt.clone()).await, "AccessDeniedException");
    soon(false).await;
}

#[tokio::test]
async fn a_process_that_falls_behind_the_store_forgets_what_it_knew() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (here, there) = (Rig::on(store.clone()).await, Rig::on(store.clone()).await);
    let id = here.create("SYMMETRIC_DEFAULT").await;
    there.ok("DescribeKey", json!({ "KeyId": id })).await;
    // Nothing in here waits, so the tasks that follow the store see none of it in time.
    here.ok("DisableKey", json!({ "KeyId": id })).await;
    for n in 0..10_000_u32 {
        let other = Transaction::new().put("other", n.to_le_bytes());
        assert!(matches!(store.commit(other).await, Ok(Commit::Applied { .. })));
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let described = there.ok("DescribeKey", json!({ "KeyId": id })).await;
    assert_eq!(described["KeyMetadata"]["KeyState"], json!("Disabled"));
}

#[tokio::test]
async fn changes_of_one_key_at_the_same_time_all_happen() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let calls = (0..50).map(|n| {
        let tags = json!([{ "TagKey": n.to_string(), "TagValue": "v" }]);
        rig.call("TagResource", json!({ "KeyId": id, "Tags": tags }))
    });
    assert!(join(calls).await.iter().all(Result::is_ok));
    assert_eq!(rig.record(&id).await.unwrap().tags.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let (id, made, marker) = {
        let rig = Rig::on(Arc::new(RedbStore::open(&path).unwrap())).await;
        let id = rig.create("SYMMETRIC_DEFAULT").await;
        rig.create("SYMMETRIC_DEFAULT").await;
        rig.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })).await;
        let calls = (0..20).map(|n| {
            let tags = json!([{ "TagKey": n.to_string(), "TagValue": "v" }]);
            rig.call("TagResource", json!({ "KeyId": id, "Tags": tags }))
        });
        assert!(join(calls).await.iter().all(Result::is_ok));
        let made = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })).await;
        let marker = rig.ok("ListKeys", json!({ "Limit": 1 })).await["NextMarker"].clone();
        (id, made, marker)
    };
    // The task that follows the store holds it for a moment longer.
    let store = loop {
        match RedbStore::open(&path) {
            Ok(store) => break store,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let rig = Rig::on(Arc::new(store)).await;
    let opened = rig.ok("Decrypt", json!({ "CiphertextBlob": made["CiphertextBlob"] })).await;
    assert_eq!(opened["Plaintext"], json!(b64("x")));
    assert_eq!(rig.record(&id).await.unwrap().tags.len(), 20);
    rig.ok("DescribeKey", json!({ "KeyId": "alias/a" })).await;
    let rest = rig.ok("ListKeys", json!({ "Marker": marker })).await;
    assert_eq!(rest["Keys"].as_array().unwrap().len(), 1);
}
