//! Grants through the API: tokens, listings, limits, and their end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Rig;
use super::deletion::destroy;
use super::grants::{ALICE, BOB, grant, with};
use super::rig::{ACCOUNT, arn, b64};
use kms_store::{MemoryStore, Range, Store, Transaction};

#[tokio::test]
async fn tokens_are_taken_as_long_as_their_grant_lives() {
    let store = Arc::new(MemoryStore::new());
    let rig = Rig::on(store.clone()).await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let made = rig.ok("CreateGrant", grant(&id, &["Encrypt"])).await;
    let encrypt =
        |token: &Value| json!({ "KeyId": id, "Plaintext": b64("x"), "GrantTokens": [token] });
    rig.ok("Encrypt", encrypt(&made["GrantToken"])).await;
    // A token of another key does no harm.
    let other = rig.create("SYMMETRIC_DEFAULT").await;
    let elsewhere = rig.ok("CreateGrant", grant(&other, &["Encrypt"])).await;
    rig.ok("Encrypt", encrypt(&elsewhere["GrantToken"])).await;
    let restarted = Rig::on(store).await;
    restarted.ok("Encrypt", encrypt(&made["GrantToken"])).await;

    assert_eq!(rig.refused("Encrypt", encrypt(&json!("x"))).await, "InvalidGrantTokenException");
    let dry = json!({ "GrantToken": made["GrantToken"], "DryRun": true });
    assert_eq!(rig.refused("RetireGrant", dry).await, "DryRunOperationException");
    let (answer, facts) =
        rig.audited("RetireGrant", json!({ "GrantToken": made["GrantToken"] })).await;
    assert!(answer.unwrap().is_null());
    assert_eq!(facts.request_parameters, None);
    assert_eq!(facts.additional["grantId"], made["GrantId"]);
    assert_eq!(facts.resources[0].arn, arn(&id));
    let refusal = rig.refused("Encrypt", encrypt(&made["GrantToken"])).await;
    assert_eq!(refusal, "InvalidGrantTokenException");
    let by_id = json!({ "KeyId": arn(&other), "GrantId": elsewhere["GrantId"] });
    rig.ok("RetireGrant", by_id.clone()).await;
    assert_eq!(rig.refused("RetireGrant", by_id).await, "NotFoundException");
}

#[tokio::test]
async fn listings_neither_skip_nor_repeat() {
    let rig = Rig::new().await;
    let keys = [rig.create("SYMMETRIC_DEFAULT").await, rig.create("ECC_NIST_P256").await];
    for n in 0..25 {
        let (key, operation) = if n % 5 == 0 { (&keys[1], "Sign") } else { (&keys[0], "Encrypt") };
        let grantee = if n % 2 == 0 { ALICE } else { BOB };
        let input = with(grant(key, &[operation]), "GranteePrincipal", grantee);
        rig.ok("CreateGrant", with(input, "RetiringPrincipal", BOB)).await;
    }

    for (operation, input, expected) in [
        ("ListGrants", json!({ "KeyId": keys[0] }), 20),
        ("ListGrants", json!({ "KeyId": keys[1] }), 5),
        ("ListGrants", json!({ "KeyId": keys[0], "GranteePrincipal": BOB }), 10),
        ("ListRetirableGrants", json!({ "RetiringPrincipal": BOB }), 25),
    ] {
        let (mut seen, mut marker) = (Vec::new(), Value::Null);
        loop {
            let page =
                rig.ok(operation, with(with(input.clone(), "Limit", 3), "Marker", marker)).await;
            let grants = page["Grants"].as_array().unwrap();
            assert!(grants.len() <= 3);
            seen.extend(grants.iter().map(|grant| grant["GrantId"].as_str().unwrap().to_owned()));
            marker = page["NextMarker"].clone();
            assert_eq!(page["Truncated"], !marker.is_null());
            if marker.is_null() {
                break;
            }
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((seen.len(), all), (expected, expected), "{operation} {input}");
    }
    // A marker belongs to its listing, and outlives what it points to.
    let input = json!({ "KeyId": keys[0], "Limit": 3 });
    let page = rig.ok("ListGrants", input).await;
    let revoke = json!({ "KeyId": keys[0], "GrantId": page["Grants"][2]["GrantId"] });
    rig.ok("RevokeGrant", revoke).await;
    let next = json!({ "KeyId": keys[0], "Limit": 100, "Marker": page["NextMarker"] });
    assert_eq!(rig.ok("ListGrants", next).await["Grants"].as_array().unwrap().len(), 17);
    let stranger = json!({ "KeyId": keys[1], "Marker": page["NextMarker"] });
    assert_eq!(rig.refused("ListGrants", stranger).await, "InvalidMarkerException");
}

#[tokio::test]
async fn there_is_a_limit_per_key() {
    let store = Arc::new(MemoryStore::new());
    let rig = Rig::on(store.clone()).await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let count = format!("grant-counts/{ACCOUNT}/us-east-1/{id}");
    let _ = store.commit(Transaction::new().put(count, b"49999".to_vec())).await.unwrap();
    rig.ok("CreateGrant", grant(&id, &["Encrypt"])).await;
    let refusal = rig.refusal("CreateGrant", grant(&id, &["Encrypt"])).await;
    assert_eq!(refusal, "LimitExceededException: A key has at most 50000 grants.");
}

#[tokio::test]
async fn grants_go_with_their_key() {
    let store = Arc::new(MemoryStore::new());
    let rig = Rig::on(store.clone()).await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let other = rig.create("SYMMETRIC_DEFAULT").await;
    let mut token = Value::Null;
    for n in 0..65 {
        let input = with(grant(&id, &["Encrypt"]), "RetiringPrincipal", BOB);
        token =
            rig.ok("CreateGrant", with(input, "Name", format!("g{n}"))).await["GrantToken"].clone();
    }
    let kept = with(grant(&other, &["Encrypt"]), "RetiringPrincipal", BOB);
    rig.ok("CreateGrant", kept).await;
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id, "PendingWindowInDays": 7 })).await;
    assert_eq!(
        rig.refused("CreateGrant", grant(&id, &["Encrypt"])).await,
        "KMSInvalidStateException"
    );
    assert_eq!(rig.grants(&id).await.len(), 65);
    rig.clock.advance(Duration::from_secs(8 * 24 * 60 * 60));
    destroy(&rig).await;

    let retirable = rig.ok("ListRetirableGrants", json!({ "RetiringPrincipal": BOB })).await;
    assert_eq!(retirable["Grants"].as_array().unwrap().len(), 1);
    let retire = json!({ "GrantToken": token });
    assert_eq!(rig.refused("RetireGrant", retire).await, "InvalidGrantTokenException");
    let range = Range { prefix: b"".to_vec(), after: None, limit: 1000 };
    for entry in store.range(range).await.unwrap().value.entries {
        let text = String::from_utf8_lossy(&entry.key).into_owned();
        assert!(!text.contains(&id), "{text} is left");
    }
}
