use serde_json::json;

use super::rig::{Rig, contains, credentials, root};
use crate::iam::record::{AccessKey, Record};
use kms_base::error::Exception;
use kms_store::Transaction;

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_access_key() {
    let rig = Rig::new().await;
    let (id, secret) = rig.user("ana").await;
    assert!(id.starts_with("AKIA") && id.len() == 20 && secret.len() == 40);
    let known = rig.lookup(&id, None).await.unwrap().unwrap();
    assert_eq!((known.secret(), known.principal().access_key_id.as_str()), (&*secret, &*id));
    assert!(rig.lookup(&id, Some("token")).await.unwrap().is_none());
    assert!(rig.lookup("AKIAAAAAAAAAAAAAAAAA", None).await.unwrap().is_none());

    let named = [("UserName", "ana"), ("AccessKeyId", id.as_str())];
    let status = |status| [named[0], named[1], ("Status", status)];
    rig.ok("UpdateAccessKey", &status("Inactive")).await;
    assert!(rig.lookup(&id, None).await.unwrap().is_none(), "a disabled key counts at once");
    let listed = rig.ok("ListAccessKeys", &[("UserName", "ana")]).await;
    let expected = json!([{ "UserName": "ana", "AccessKeyId": id, "Status": "Inactive",
        "CreateDate": "2027-01-15T08:00:00Z" }]);
    assert_eq!(listed["AccessKeyMetadata"], expected);
    rig.ok("UpdateAccessKey", &status("Active")).await;
    assert_eq!(rig.lookup(&id, None).await.unwrap().unwrap().secret(), secret);

    let conflict = rig.refused("DeleteUser", &[("UserName", "ana")]).await;
    assert_eq!(conflict, "DeleteConflict: Cannot delete entity, must delete access keys first.");
    rig.ok("CreateAccessKey", &[("UserName", "ana")]).await;
    let quota = rig.refused("CreateAccessKey", &[("UserName", "ana")]).await;
    assert_eq!(quota, "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2");
    rig.ok("DeleteAccessKey", &named).await;
    assert!(rig.lookup(&id, None).await.unwrap().is_none());
    assert!(rig.refused("DeleteAccessKey", &named).await.starts_with("NoSuchEntity"));
    let other = [("AccessKeyId", id.as_str()), ("Status", "Active")];
    assert!(rig.refused("UpdateAccessKey", &other).await.starts_with("NoSuchEntity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_store_and_no_audit_record() {
    let rig = Rig::new().await;
    rig.ok("CreateUser", &[("UserName", "ana")]).await;
    let named = [("UserName", "ana")];
    let (answer, facts) = rig.audited(&root(), "CreateAccessKey", &named).await;
    let answer = answer.unwrap();
    let secret = answer["AccessKey"]["SecretAccessKey"].as_str().unwrap();
    assert!(!facts.receipts.is_empty(), "a device has sealed it");
    assert_eq!(facts.response_elements.as_ref().unwrap()["accessKey"]["status"], "Active");
    let (session, session_facts) = rig.audited(&root(), "GetSessionToken", &[]).await;
    let [_, temporary, token] = credentials(&session.unwrap());
    let stored = rig.stored().await;
    assert!(
        contains(&stored, "iam/access-keys/AKIA") && contains(&stored, "system-keys/us-east-1")
    );
    for secret in [secret, &temporary, &token] {
        assert!(!contains(&stored, secret));
        for facts in [&facts, &session_facts] {
            assert!(!format!("{facts:?}").contains(secret));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_opens_secrets_and_hears_of_changes() {
    let rig = Rig::new().await;
    let (id, secret) = rig.user("ana").await;
    let other = rig.restarted().await;
    assert_eq!(other.lookup(&id, None).await.unwrap().unwrap().secret(), secret);
    let status = [("UserName", "ana"), ("AccessKeyId", id.as_str()), ("Status", "Inactive")];
    rig.ok("UpdateAccessKey", &status).await;
    other.gone(&id, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_cannot_stand_in_for_another() {
    let rig = Rig::new().await;
    let ((one, _), (two, _)) = (rig.user("ana").await, rig.user("ben").await);
    let read = async |id: &str| {
        let key = format!("iam/access-keys/{id}").into_bytes();
        AccessKey::decode(&rig.store.get(&key).await.unwrap().value.unwrap().value).unwrap()
    };
    let swapped = AccessKey { secret: read(&one).await.secret, ..read(&two).await };
    let write = Transaction::new().put(swapped.key(), swapped.encode().unwrap());
    let _ = rig.store.commit(write).await.unwrap();
    let error = rig.restarted().await.lookup(&two, None).await.unwrap_err();
    assert_eq!(error.exception(), Exception::InvalidCiphertext);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_key() {
    let rig = Rig::new().await;
    let (id, _) = rig.user("ana").await;
    let ana = rig.principal(&id).await;
    let session = rig.call(&ana, "GetSessionToken", &[]).await.unwrap();
    assert_eq!(session["Credentials"]["Expiration"], "2027-01-15T20:00:00Z");
    let [temporary, secret, token] = credentials(&session);
    assert!(temporary.starts_with("ASIA"));
    let known = rig.lookup(&temporary, Some(&token)).await.unwrap().unwrap();
    assert_eq!(known.secret(), secret);
    let caller = known.principal();
    assert_eq!((caller.arn(), &caller.access_key_id), (ana.arn(), &temporary));
    assert!(caller.session.is_some());
    let error = rig.call(caller, "GetSessionToken", &[]).await.unwrap_err();
    assert_eq!(error.code().name(), "AccessDenied");
    assert!(rig.kms(caller, "ListKeys", json!({})).await.is_err());

    for wrong in ["", "token", &token[1..], &token[..token.len() - 4], &token.replace('A', "B")] {
        assert!(rig.lookup(&temporary, Some(wrong)).await.unwrap().is_none(), "{wrong}");
    }
    assert!(rig.lookup(&temporary, None).await.unwrap().is_none());
    assert!(rig.lookup(&id, Some(&token)).await.unwrap().is_none(), "the token of another key");
    let status = [("UserName", "ana"), ("AccessKeyId", id.as_str()), ("Status", "Inactive")];
    rig.ok("UpdateAccessKey", &status).await;
    assert!(rig.lookup(&temporary, Some(&token)).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_the_root_uses_kms_and_manages_nobody() {
    let rig = Rig::new().await;
    let session = rig.ok("GetSessionToken", &[("DurationSeconds", "7200")]).await;
    assert_eq!(session["Credentials"]["Expiration"], "2027-01-15T09:00:00Z", "an hour at most");
    let [id, _, token] = credentials(&session);
    let known = rig.lookup(&id, Some(&token)).await.unwrap().unwrap();
    assert!(known.principal().is_root());
    assert!(rig.kms(known.principal(), "ListKeys", json!({})).await.is_ok());
    let error = rig.call(known.principal(), "ListUsers", &[]).await.unwrap_err();
    assert_eq!(error.code().name(), "AccessDenied");
}
