//! Ciphertexts under keys of another account.

use serde_json::{Value, json};

use super::super::rig::{Rig, root};
use super::{OTHER, World, identity, statement};
use kms_base::principal::Principal;
use kms_store::{Range, Store as _, Transaction};

const UNIFORM: &str = "AccessDeniedException: The ciphertext refers to a customer master key that \
                       does not exist, does not exist in this region, or you are not allowed to \
                       access.";

async fn decrypt(world: &World, blob: &Value) -> Result<Value, String> {
    let input = json!({ "CiphertextBlob": blob });
    let outcome = world.rig.kms(&world.eve, "Decrypt", input).await;
    outcome.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ciphertext_finds_its_key() {
    let world = World::new().await;
    let key = world.key(&[]).await;
    let blob = world.encrypt(&root(), &key).await.unwrap()["CiphertextBlob"].clone();
    assert_eq!(decrypt(&world, &blob).await.unwrap_err(), UNIFORM);
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    assert_eq!(decrypt(&world, &blob).await.unwrap_err(), UNIFORM);
    world.put(&key, &[statement("Allow", OTHER, "kms:Decrypt")]).await;
    let answer = decrypt(&world, &blob).await.unwrap();
    assert_eq!((&answer["Plaintext"], &answer["KeyId"]), (&json!("AAAA"), &json!(key)));

    // From there to a key of one's own, and the other way.
    let mine = world.rig.kms(&world.eve, "CreateKey", json!({})).await.unwrap();
    let mine = &mine["KeyMetadata"]["Arn"];
    let there = json!({ "CiphertextBlob": blob, "DestinationKeyId": mine });
    let refused = world.rig.kms(&world.eve, "ReEncrypt", there.clone()).await.unwrap_err();
    assert_eq!(refused.to_string(), UNIFORM);
    world.put(&key, &[statement("Allow", OTHER, "kms:ReEncrypt*")]).await;
    let (moved, facts) = world.rig.kms_audited(&world.eve, "ReEncrypt", there).await;
    let moved = moved.unwrap();
    assert_eq!((&moved["SourceKeyId"], &moved["KeyId"]), (&json!(key), mine));
    assert_eq!(facts.resources.len(), 2);
    let back = json!({ "CiphertextBlob": moved["CiphertextBlob"], "DestinationKeyId": key });
    let back = world.rig.kms(&world.eve, "ReEncrypt", back).await.unwrap();
    let own = json!({ "CiphertextBlob": back["CiphertextBlob"] });
    assert_eq!(world.own("Decrypt", own).await["Plaintext"], "AAAA");
}

/// The keys of a store that knows no owners yet.
#[tokio::test(flavor = "multi_thread")]
async fn owners_of_older_keys_are_found_at_the_start() {
    let world = World::new().await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let key = world.key(&[statement("Allow", OTHER, "kms:*")]).await;
    let blob = world.encrypt(&root(), &key).await.unwrap()["CiphertextBlob"].clone();
    let range = Range { prefix: b"owners/".to_vec(), after: None, limit: 100 };
    let owners = world.store.range(range.clone()).await.unwrap().value.entries;
    assert_eq!(owners.len(), 1);
    let forget = Transaction::new().delete(owners[0].key.clone());
    let forget = forget.delete(b"service/owners-indexed".to_vec());
    let _ = world.store.commit(forget).await.unwrap();
    assert_eq!(decrypt(&world, &blob).await.unwrap_err(), UNIFORM);
    let World { store, other, eve, .. } = world;
    let world = World { rig: Rig::on(store.clone()).await, store, other, eve };
    decrypt(&world, &blob).await.unwrap();
    let again = world.store.range(range).await.unwrap().value.entries;
    assert_eq!(again[0].key, owners[0].key);
}

/// Developers may give one id to keys of several accounts.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_several_keys_finds_the_caller_s_own_or_none() {
    let World { rig, store, other, eve } = World::new().await;
    let Rig { iam, management, service, store: shared, clock } = rig;
    let service = service.in_development();
    let world =
        World { rig: Rig { iam, management, service, store: shared, clock }, store, other, eve };
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let third = world.rig.ok("CreateAccount", &[]).await;
    let third = third["AccessKey"]["AccessKeyId"].as_str().unwrap();
    let third = world.rig.principal(third).await;
    let chosen = json!({ "BypassPolicyLockoutSafetyCheck": true,
        "Policy": super::document(statement("Allow", "*", "kms:*")),
        "Tags": [{ "TagKey": "_custom_id_", "TagValue": super::MISSING }] });
    let make = async |owner: Principal| {
        world.rig.kms(&owner, "CreateKey", chosen.clone()).await.unwrap();
        world.encrypt(&owner, super::MISSING).await.unwrap()["CiphertextBlob"].clone()
    };
    let first = make(root()).await;
    decrypt(&world, &first).await.unwrap();
    make(third).await;
    assert_eq!(decrypt(&world, &first).await.unwrap_err(), UNIFORM);
    let named = json!({ "KeyId": super::arn_of(super::MISSING), "CiphertextBlob": first });
    world.rig.kms(&world.eve, "Decrypt", named).await.unwrap();
    let mine = make(world.other.clone()).await;
    decrypt(&world, &mine).await.unwrap();
}
