//! What cannot be told about a key of another account: whether it exists, what it is, why it is
//! closed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::rig::{ACCOUNT, root};
use super::{MISSING, OTHER, World, arn_of, identity, statement};
use kms_base::identifier::{KeyId, Scope};
use kms_base::principal::Principal;
use kms_store::{Range, Store as _};

/// All of these inputs are refused with the same words and the same work, cold and warm.
async fn all_alike(world: &World, caller: &Principal, operation: &str, inputs: &[Value]) {
    // Whatever is known of the caller is in the caches then.
    world.observe(caller, operation, &inputs[0]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut first = None;
    for input in inputs.iter().chain(inputs) {
        let seen = world.observe(caller, operation, input).await;
        assert!(seen.refusal.starts_with("AccessDeniedException"), "{}", seen.refusal);
        assert!(seen.facts.resources.is_empty(), "{:?}", seen.facts.resources);
        assert!(seen.facts.events.is_empty() && seen.facts.receipts.is_empty());
        let found = (seen.refusal, seen.work);
        assert_eq!(&found, first.get_or_insert_with(|| found.clone()), "{operation} {input}");
    }
}

/// Keys of every kind and closed in every way, and one that does not exist.
async fn keys(world: &World) -> Vec<String> {
    let eve = world.eve.arn();
    let explicit = statement("Deny", OTHER, "kms:*");
    let other_action = statement("Allow", OTHER, "kms:ScheduleKeyDeletion");
    let mut conditional = statement("Allow", &eve, "kms:*");
    conditional["Condition"] = json!({ "StringEquals": { "kms:EncryptionContext:a": "b" } });
    let mut keys = vec![arn_of(MISSING), world.key(&[]).await];
    for statements in [vec![explicit], vec![other_action], vec![conditional]] {
        keys.push(world.key(&statements).await);
    }
    let signing = json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" });
    keys.push(world.key_of(signing).await);
    keys.push(world.key_of(json!({ "Origin": "EXTERNAL" })).await);
    for operation in ["DisableKey", "ScheduleKeyDeletion"] {
        let key = world.key(&[]).await;
        world.own(operation, json!({ "KeyId": key })).await;
        keys.push(key);
    }
    // One that its owner has just used.
    let used = world.key(&[]).await;
    world.encrypt(&root(), &used).await.unwrap();
    keys.push(used);
    keys.push(format!("arn:aws:kms:us-east-1:999999999999:key/{MISSING}"));
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_key_is_like_none() {
    let world = World::new().await;
    let session = world.session().await;
    let keys = keys(&world).await;
    // The last one asks about the key: it must not become a way to learn about it.
    let mut about = identity("Deny", "kms:*");
    about["Condition"] = json!({ "StringEquals": { "kms:KeySpec": "ECC_NIST_P256" } });
    let allow = identity("Allow", "kms:*");
    for own in [None, Some(allow.clone()), Some(json!([allow, about]))] {
        if let Some(own) = own {
            world.let_them(Some(own)).await;
        }
        for (operation, more) in [
            ("Encrypt", json!({ "Plaintext": "AAAA" })),
            ("Sign", json!({ "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256" })),
            ("DescribeKey", json!({})),
            ("GetKeyRotationStatus", json!({})),
            ("ListGrants", json!({})),
            ("RevokeGrant", json!({ "GrantId": "0".repeat(64) })),
            ("RetireGrant", json!({ "GrantId": "0".repeat(64) })),
            ("CreateGrant", json!({ "GranteePrincipal": OTHER, "Operations": ["Decrypt"] })),
            ("PutKeyPolicy", json!({ "Policy": "{}" })),
        ] {
            let with = |key: &String| {
                let mut input = more.clone();
                input["KeyId"] = json!(key);
                input
            };
            let inputs: Vec<_> = keys.iter().map(with).collect();
            for caller in [&world.eve, &session, &world.other] {
                all_alike(&world, caller, operation, &inputs).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_of_a_closed_key_is_like_none() {
    let world = World::new().await;
    let keys = keys(&world).await;
    for (number, key) in keys[1..5].iter().enumerate() {
        let input = json!({ "AliasName": format!("alias/{number}"), "TargetKeyId": key });
        world.own("CreateAlias", input).await;
    }
    // One that leads nowhere, and those of services.
    world.own("DescribeKey", json!({ "KeyId": "alias/aws/s3" })).await;
    let names = [
        "alias/none",
        "alias/0",
        "alias/1",
        "alias/2",
        "alias/3",
        "alias/aws/s3",
        "alias/aws/ebs",
        "alias/aws/none",
    ];
    let inputs: Vec<_> = names
        .iter()
        .map(|name| format!("arn:aws:kms:us-east-1:{ACCOUNT}:{name}"))
        .map(|alias| json!({ "KeyId": alias, "Plaintext": "AAAA" }))
        .collect();
    all_alike(&world, &world.eve, "Encrypt", &inputs).await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    all_alike(&world, &world.eve, "Encrypt", &inputs).await;
    // Nothing was made in the account that was named.
    let keys = world.own("ListKeys", json!({})).await["Keys"].as_array().unwrap().len();
    all_alike(&world, &world.eve, "DescribeKey", &inputs[6..]).await;
    let still = world.own("ListKeys", json!({})).await["Keys"].as_array().unwrap().len();
    assert_eq!(still, keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ciphertext_of_a_closed_key_is_like_one_of_none() {
    let world = World::new().await;
    let explicit = statement("Deny", OTHER, "kms:*");
    let mut blobs = Vec::new();
    for statements in [vec![], vec![explicit]] {
        let key = world.key(&statements).await;
        blobs.push(world.encrypt(&root(), &key).await.unwrap()["CiphertextBlob"].clone());
        if blobs.len() == 2 {
            world.own("DisableKey", json!({ "KeyId": key })).await;
        }
    }
    // A key that is gone.
    let key = world.key(&[]).await;
    blobs.push(world.encrypt(&root(), &key).await.unwrap()["CiphertextBlob"].clone());
    world.own("ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 7 })).await;
    let now = kms_base::clock::Clock::now(&*world.rig.clock).plus_days(8);
    let catalog = world.rig.service.catalog();
    assert_eq!(crate::job::deletion::destroy_due(catalog, now, &Unrecorded).await.unwrap(), 1);
    let scope = Scope::new(ACCOUNT, "us-east-1");
    let id = KeyId::parse(key.rsplit('/').next().unwrap()).unwrap();
    assert!(catalog.key(&scope, id).await.unwrap().is_none());
    let range = Range { prefix: b"owners/".to_vec(), after: None, limit: 100 };
    let owners = world.store.range(range).await.unwrap().value.entries;
    assert_eq!(owners.len(), 2, "nothing is left of it");
    let inputs: Vec<_> = blobs.iter().map(|blob| json!({ "CiphertextBlob": blob })).collect();
    all_alike(&world, &world.eve, "Decrypt", &inputs).await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    all_alike(&world, &world.eve, "Decrypt", &inputs).await;
}

struct Unrecorded;

impl crate::job::deletion::DeletionObserver for Unrecorded {
    async fn destroying(&self, _: &kms_keys::KeyRecord) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_others_is_like_none() {
    let world = World::new().await;
    let key = world.key(&[]).await;
    let mut inputs = vec![
        json!({ "KeyId": arn_of(MISSING), "GrantId": "0".repeat(64) }),
        json!({ "KeyId": key, "GrantId": "0".repeat(64) }),
    ];
    for grantee in [ACCOUNT, OTHER] {
        let input = json!({ "KeyId": key, "GranteePrincipal": grantee,
                            "RetiringPrincipal": grantee, "Operations": ["Decrypt"] });
        let made = world.own("CreateGrant", input).await;
        inputs.push(json!({ "KeyId": key, "GrantId": made["GrantId"] }));
    }
    all_alike(&world, &world.eve, "RetireGrant", &inputs).await;
}

/// How long it takes to refuse; the difference is noise. Run it by itself, on a quiet machine.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn times_of_refusals() {
    const ROUNDS: u32 = 20_000;
    let world = World::new().await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let key = world.key_of(json!({})).await;
    let mut times = [Duration::ZERO; 2];
    for round in 0..ROUNDS {
        let names = [key.clone(), arn_of(&KeyId::random().to_string())];
        // Whoever comes first pays for what both need.
        for index in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let start = Instant::now();
            world.encrypt(&world.eve, &names[index]).await.unwrap_err();
            times[index] += start.elapsed();
        }
    }
    println!("closed {:?}, missing {:?}", times[0] / ROUNDS, times[1] / ROUNDS);
}
