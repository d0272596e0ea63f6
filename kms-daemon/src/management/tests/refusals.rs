//! What refusals of access keys cost: the same, whatever is wrong with them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::HeaderValue;

use super::rig::{ROOT_KEY, Rig, credentials, root};
use crate::counting::Counting;
use crate::signer::{Signing, sign_with};
use kms_base::error::{Exception, KmsError};
use kms_sigv4::{SignedRequest, SigningService, Verifier};

const BODY: &[u8] = b"{}";

/// Identifies whoever signs a request like this. The outcome, and calls of the store.
async fn identify(
    (rig, store): (&Rig, &Counting),
    key: (&str, &str),
    token: Option<&str>,
) -> (Result<(), KmsError>, usize) {
    let verifier = Verifier::new(Arc::new(|_| true), Duration::from_secs(300));
    // That of the rig's clock, by which sessions end.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_001);
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost"));
    let (method, target, service, declare) = ("POST", "/", "kms", false);
    sign_with(&mut headers, BODY, Signing { method, target, service, key, token, time, declare });
    let request = SignedRequest {
        method,
        path: target,
        query: None,
        authority: None,
        headers: &headers,
        body: BODY,
    };
    let claim = verifier.read(&request, SigningService::KMS, time).unwrap();
    let before = store.calls();
    let mut receipts = Vec::new();
    let outcome = rig.iam.identify(&verifier, &claim, ([0; 16], &mut receipts)).await;
    assert!(receipts.is_empty() || outcome.is_ok(), "a refusal needs no device");
    (outcome.map(drop), store.calls() - before)
}

/// What follows the store has read what it follows: nothing has called the store for a while.
async fn settled(store: &Counting) {
    let mut quiet = 0;
    while quiet < 5 {
        let before = store.calls();
        tokio::time::sleep(Duration::from_millis(50)).await;
        quiet = if store.calls() == before { quiet + 1 } else { 0 };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_costs_one_read_of_the_store() {
    let store = Arc::new(Counting::default());
    let rig = Rig::on(store.clone()).await;
    let parts = (&rig, &*store);
    let (used, secret) = rig.user("used").await;
    let (disabled, disabled_secret) = rig.user("disabled").await;
    let (deleted, deleted_secret) = rig.user("deleted").await;
    for (id, secret) in
        [(&used, &secret), (&disabled, &disabled_secret), (&deleted, &deleted_secret)]
    {
        identify(parts, (id, secret), None).await.0.unwrap();
    }
    let inactive =
        [("UserName", "disabled"), ("AccessKeyId", disabled.as_str()), ("Status", "Inactive")];
    rig.ok("UpdateAccessKey", &inactive).await;
    let named = [("UserName", "deleted"), ("AccessKeyId", deleted.as_str())];
    rig.ok("DeleteAccessKey", &named).await;
    let session = rig.call(&root(), "GetSessionToken", &[]).await.unwrap();
    let [temporary, temporary_secret, token] = credentials(&session);
    identify(parts, (&temporary, &temporary_secret), Some(&token)).await.0.unwrap();
    rig.gone(&disabled, None).await; // is in the cache now, as it is known to be disabled
    settled(&store).await;

    // Accepted, from the caches.
    let accepted = identify(parts, (&used, &secret), None).await;
    assert_eq!((accepted.0.is_ok(), accepted.1), (true, 0));

    let wrong = "w".repeat(40);
    let made_up = "x".repeat(token.len());
    let refusals = [
        ("unknown", Exception::UnrecognizedClient, ("AKIAXXXXXXXXXXXXXXXX", &wrong), None),
        ("deleted", Exception::UnrecognizedClient, (&*deleted, &deleted_secret), None),
        ("disabled", Exception::UnrecognizedClient, (&*disabled, &disabled_secret), None),
        ("wrong secret", Exception::InvalidSignature, (&*used, &wrong), None),
        ("wrong secret of the root", Exception::InvalidSignature, (ROOT_KEY, &wrong), None),
        ("made up token", Exception::UnrecognizedClient, (&*temporary, &wrong), Some(&made_up)),
        (
            "made up token of a key",
            Exception::UnrecognizedClient,
            (&*used, &secret),
            Some(&made_up),
        ),
        ("without its token", Exception::UnrecognizedClient, (&*temporary, &wrong), None),
        ("another's token", Exception::UnrecognizedClient, (&*used, &secret), Some(&token)),
        (
            "wrong secret of a session",
            Exception::InvalidSignature,
            (&*temporary, &wrong),
            Some(&token),
        ),
    ];
    for (what, expected, (id, secret), token) in refusals {
        for _ in 0..2 {
            let (outcome, calls) = identify(parts, (id, secret), token.map(|it| it.as_str())).await;
            let exception = outcome.unwrap_err().exception();
            assert_eq!((exception, calls), (expected, 1), "{what}");
        }
    }
}

/// A disabled key is not told from an unknown one by its first request after a start either.
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_key_costs_no_more_when_it_is_not_in_the_cache() {
    let store = Arc::new(Counting::default());
    let rig = Rig::on(store.clone()).await;
    let (id, secret) = rig.user("ana").await;
    let inactive = [("UserName", "ana"), ("AccessKeyId", id.as_str()), ("Status", "Inactive")];
    rig.ok("UpdateAccessKey", &inactive).await;
    let restarted = rig.restarted().await;
    settled(&store).await;
    for _ in 0..2 {
        let (outcome, calls) = identify((&restarted, &store), (&id, &secret), None).await;
        assert_eq!(outcome.unwrap_err().exception(), Exception::UnrecognizedClient);
        assert_eq!(calls, 1);
    }
}
