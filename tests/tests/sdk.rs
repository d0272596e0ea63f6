//! The AWS SDK for Rust: the life of each of three keys over QEMU's serial line, and every
//! operation.

#[path = "sdk/operations.rs"]
mod operations;

use std::time::{Duration, Instant};

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    DataKeySpec, KeyMetadata, KeySpec, KeyState, KeyUsageType, MacAlgorithmSpec, MessageType,
    MultiRegionKeyType, SigningAlgorithmSpec, Tag,
};
use hsm_tests::daemon::{Daemon, REGION};
use hsm_tests::patience::PATIENCE;
use hsm_tests::sdk::{self, code};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;

fn serial() -> Daemon {
    Daemon::start_with(&["qemu"], &["--link", "uart"])
}

async fn make(kms: &Client, spec: KeySpec, usage: KeyUsageType) -> KeyMetadata {
    let tag = Tag::builder().tag_key("made").tag_value("by a test").build().expect("complete");
    let call = kms.create_key().key_spec(spec.clone()).key_usage(usage.clone()).tags(tag);
    let made = call.description("three keys").send().await.expect("made");
    let metadata = made.key_metadata.expect("metadata");
    assert_eq!(metadata.key_spec, Some(spec));
    assert_eq!(metadata.key_usage, Some(usage));
    assert_eq!(metadata.key_state, Some(KeyState::Enabled));
    metadata
}

/// What every key goes through besides its own operations; it ends pending deletion.
async fn live(kms: &Client, key: &KeyMetadata) {
    let (id, arn) = (&key.key_id, key.arn.as_deref().expect("an ARN"));
    let alias = format!("alias/sdk/{id}");
    kms.create_alias().alias_name(&alias).target_key_id(id).send().await.expect("made");
    let again = kms.create_alias().alias_name(&alias).target_key_id(id).send().await;
    assert_eq!(code(again), "AlreadyExistsException");

    let (scope, _) = arn.rsplit_once(":key/").expect("an ARN of a key");
    for form in [id, arn, &alias, &format!("{scope}:{alias}")] {
        let described = kms.describe_key().key_id(form).send().await.expect("described");
        assert_eq!(described.key_metadata.expect("metadata").arn.as_deref(), Some(arn));
    }
    kms.update_key_description().key_id(id).description("new").send().await.expect("updated");
    let tags = kms.list_resource_tags().key_id(id).send().await.expect("listed");
    assert_eq!(tags.tags().iter().map(Tag::tag_key).collect::<Vec<_>>(), ["made"]);
    kms.untag_resource().key_id(id).tag_keys("made").send().await.expect("untagged");
    let policy = kms.get_key_policy().key_id(id).send().await.expect("a policy");
    let policy = policy.policy.expect("a text");
    kms.put_key_policy().key_id(id).policy(policy).send().await.expect("put");

    let scheduled = kms.schedule_key_deletion().key_id(id).pending_window_in_days(7);
    let scheduled = scheduled.send().await.expect("scheduled");
    assert_eq!(scheduled.key_state, Some(KeyState::PendingDeletion));
    let enabled = kms.enable_key().key_id(id).send().await;
    assert_eq!(code(enabled), "KMSInvalidStateException");
    kms.cancel_key_deletion().key_id(id).send().await.expect("cancelled");
    let described = kms.describe_key().key_id(id).send().await.expect("described");
    let metadata = described.key_metadata.expect("metadata");
    assert_eq!(metadata.key_state, Some(KeyState::Disabled));
    assert_eq!(metadata.description.as_deref(), Some("new"));
    kms.delete_alias().alias_name(&alias).send().await.expect("deleted");
}

#[tokio::test]
async fn symmetric_key() {
    let daemon = serial();
    let kms = sdk::client(&daemon);
    let key = make(&kms, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await;
    let plaintext = Blob::new(vec![7; 4096]);
    let call = kms.encrypt().key_id(&key.key_id).plaintext(plaintext.clone());
    let sealed = call.encryption_context("purpose", "test").send().await.expect("encrypted");
    let blob = sealed.ciphertext_blob.expect("a blob");

    let call = kms.decrypt().ciphertext_blob(blob.clone()).encryption_context("purpose", "test");
    let opened = call.send().await.expect("decrypted");
    assert_eq!(opened.plaintext, Some(plaintext.clone()));
    let bare = kms.decrypt().ciphertext_blob(blob.clone()).send().await;
    assert_eq!(code(bare), "InvalidCiphertextException");

    let other = make(&kms, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await;
    let call = kms.re_encrypt().ciphertext_blob(blob).destination_key_id(&other.key_id);
    let moved = call.source_encryption_context("purpose", "test").send().await.expect("moved");
    let call = kms.decrypt().ciphertext_blob(moved.ciphertext_blob.expect("a blob"));
    assert_eq!(call.send().await.expect("decrypted").plaintext, Some(plaintext));

    let call = kms.generate_data_key().key_id(&key.key_id).key_spec(DataKeySpec::Aes256);
    let data = call.send().await.expect("a data key");
    let call = kms.decrypt().ciphertext_blob(data.ciphertext_blob.expect("a blob"));
    assert_eq!(call.send().await.expect("decrypted").plaintext, data.plaintext);
    let call = kms.generate_data_key_without_plaintext().key_id(&key.key_id);
    call.number_of_bytes(64).send().await.expect("a data key");
    let random = kms.generate_random().number_of_bytes(1024).send().await.expect("random");
    assert_eq!(random.plaintext.expect("bytes").as_ref().len(), 1024);
    live(&kms, &key).await;
    let disabled = kms.encrypt().key_id(&key.key_id).plaintext(Blob::new(*b"x")).send().await;
    assert_eq!(code(disabled), "DisabledException");
}

#[tokio::test]
async fn signing_key() {
    let daemon = serial();
    let kms = sdk::client(&daemon);
    let key = make(&kms, KeySpec::EccNistP256, KeyUsageType::SignVerify).await;
    let message = Blob::new(*b"what is signed");
    let algorithm = SigningAlgorithmSpec::EcdsaSha256;
    let call = kms.sign().key_id(&key.key_id).message(message.clone());
    let signed = call.signing_algorithm(algorithm.clone()).send().await.expect("signed");
    let signature = signed.signature.expect("a signature");

    let public = kms.get_public_key().key_id(&key.key_id).send().await.expect("a public key");
    let der = public.public_key.expect("a key");
    let verifier = VerifyingKey::from_public_key_der(der.as_ref()).expect("a P-256 key");
    let parsed = DerSignature::try_from(signature.as_ref()).expect("DER");
    verifier.verify(message.as_ref(), &parsed).expect("the signature holds");

    let verify = |message: &[u8]| {
        let call = kms.verify().key_id(&key.key_id).message(Blob::new(message));
        call.signature(signature.clone()).signing_algorithm(algorithm.clone())
    };
    assert!(verify(message.as_ref()).send().await.expect("verified").signature_valid);
    assert_eq!(code(verify(b"another").send().await), "KMSInvalidSignatureException");
    let call = verify(message.as_ref()).message_type(MessageType::Digest);
    assert_eq!(code(call.send().await), "ValidationException");
    let call = kms.encrypt().key_id(&key.key_id).plaintext(message);
    assert_eq!(code(call.send().await), "InvalidKeyUsageException");
    live(&kms, &key).await;
}

#[tokio::test]
async fn mac_key() {
    let daemon = serial();
    let kms = sdk::client(&daemon);
    let key = make(&kms, KeySpec::Hmac256, KeyUsageType::GenerateVerifyMac).await;
    let message = Blob::new(*b"what is authenticated");
    let algorithm = MacAlgorithmSpec::HmacSha256;
    let call = kms.generate_mac().key_id(&key.key_id).message(message.clone());
    let made = call.mac_algorithm(algorithm.clone()).send().await.expect("a MAC");
    let mac = made.mac.expect("a MAC");

    let verify = |mac: Blob| {
        let call = kms.verify_mac().key_id(&key.key_id).message(message.clone());
        call.mac_algorithm(algorithm.clone()).mac(mac)
    };
    assert!(verify(mac.clone()).send().await.expect("verified").mac_valid);
    let cut = Blob::new(&mac.as_ref()[..16]);
    assert_eq!(code(verify(cut).send().await), "KMSInvalidMacException");
    live(&kms, &key).await;
}

#[tokio::test]
async fn pages_of_keys() {
    let daemon = serial();
    let kms = sdk::client(&daemon);
    let mut made = Vec::new();
    for _ in 0..5 {
        let key = make(&kms, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await;
        made.push(key.key_id);
    }
    let mut pages = kms.list_keys().limit(2).into_paginator().send();
    let (mut listed, mut count) = (Vec::new(), 0);
    while let Some(page) = pages.next().await {
        let page = page.expect("a page");
        listed.extend(page.keys().iter().filter_map(|key| key.key_id.clone()));
        count += 1;
    }
    assert!(count >= 3);
    listed.sort();
    made.sort();
    assert_eq!(listed, made);
}

/// A key that is replicated, and becomes the primary of the other Region.
#[tokio::test]
async fn multi_region_key() {
    const THERE: &str = "eu-west-1";

    let daemon = Daemon::start_with(&["soft"], &["--region", REGION, "--region", THERE]);
    let (here, there) = (sdk::client(&daemon), sdk::client_in(THERE, &daemon));
    let made = here.create_key().multi_region(true).send().await.expect("made");
    let key = made.key_metadata.expect("metadata").key_id;
    let call = here.replicate_key().key_id(&key).replica_region(THERE).description("replica");
    let replicated = call.send().await.expect("replicated");
    let replica = replicated.replica_key_metadata.expect("metadata");
    assert_eq!((replica.key_id(), replica.description()), (key.as_str(), Some("replica")));
    assert!(replicated.replica_policy.is_some());
    await_role(&there, &key, MultiRegionKeyType::Replica).await;

    let sealed = here.encrypt().key_id(&key).plaintext(Blob::new(*b"m")).send().await;
    let blob = sealed.expect("encrypted").ciphertext_blob.expect("a blob");
    let opened = there.decrypt().ciphertext_blob(blob).send().await.expect("decrypted");
    assert_eq!(opened.plaintext, Some(Blob::new(*b"m")));
    assert_eq!(opened.key_id.as_deref(), replica.arn());

    here.update_primary_region().key_id(&key).primary_region(THERE).send().await.expect("moved");
    await_role(&there, &key, MultiRegionKeyType::Primary).await;
    await_role(&here, &key, MultiRegionKeyType::Replica).await;
}

/// Waits until a key is enabled in a role; AWS takes seconds for it.
async fn await_role(kms: &Client, key: &str, role: MultiRegionKeyType) {
    let end = Instant::now() + PATIENCE;
    loop {
        let described = kms.describe_key().key_id(key).send().await.expect("described");
        let metadata = described.key_metadata.expect("metadata");
        let found =
            metadata.multi_region_configuration().and_then(|all| all.multi_region_key_type());
        if found == Some(&role) && metadata.key_state() == Some(&KeyState::Enabled) {
            return;
        }
        assert!(Instant::now() < end, "{metadata:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
