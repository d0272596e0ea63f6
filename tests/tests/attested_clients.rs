//! `Recipient` as an application in an enclave uses it, through the AWS SDK for Rust, on an
//! emulated device.

use std::path::Path;
use std::time::SystemTime;

use aws_sdk_kms::Client;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    DataKeyPairSpec, DataKeySpec, KeyAgreementAlgorithmSpec, KeyEncryptionMechanism, KeySpec,
    KeyUsageType, RecipientInfo,
};
use hsm_tests::daemon::Daemon;
use hsm_tests::enclave::{Document, Enclave};
use hsm_tests::sdk;

/// A daemon that trusts the enclave's root, and nobody else's.
fn trusting(enclave: &Enclave, directory: &Path) -> Daemon {
    let root = directory.join("root.pem");
    std::fs::write(&root, enclave.root_pem()).expect("written");
    let root = root.to_str().expect("UTF-8");
    Daemon::start_with(&["qemu"], &["--attestation-root", root])
}

fn now_ms() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_millis();
    u64::try_from(now).expect("before the year 584556019")
}

fn recipient(document: Vec<u8>) -> RecipientInfo {
    RecipientInfo::builder()
        .key_encryption_algorithm(KeyEncryptionMechanism::RsaesOaepSha256)
        .attestation_document(Blob::new(document))
        .build()
}

fn opened(enclave: &Enclave, sealed: Option<&Blob>) -> Vec<u8> {
    enclave.open(sealed.expect("sealed to the recipient").as_ref()).expect("opens")
}

/// What must not be there in the clear.
fn nothing(plaintext: Option<&Blob>) -> bool {
    plaintext.is_none_or(|plaintext| plaintext.as_ref().is_empty())
}

async fn make(kms: &Client, spec: KeySpec, usage: KeyUsageType) -> String {
    let made = kms.create_key().key_spec(spec).key_usage(usage).send().await.expect("made");
    made.key_metadata.expect("metadata").key_id
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_that_takes_a_recipient() {
    let (enclave, directory) = (Enclave::new(2048), tempfile::tempdir().expect("a directory"));
    let daemon = trusting(&enclave, directory.path());
    let kms = sdk::client(&daemon);
    // Anew for each: it is good for five minutes.
    let document = || recipient(enclave.attest(now_ms()));
    let key = make(&kms, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await;

    let call = kms.generate_data_key().key_id(&key).key_spec(DataKeySpec::Aes256);
    let data_key = call.recipient(document()).send().await.expect("generated");
    assert!(nothing(data_key.plaintext()) && data_key.key_material_id().is_none());
    let secret = opened(&enclave, data_key.ciphertext_for_recipient());
    assert_eq!(secret.len(), 32);

    let blob = data_key.ciphertext_blob().expect("a blob").clone();
    let decrypted = kms.decrypt().ciphertext_blob(blob.clone()).recipient(document());
    let decrypted = decrypted.send().await.expect("decrypted");
    assert!(nothing(decrypted.plaintext()) && decrypted.key_material_id().is_none());
    assert_eq!(opened(&enclave, decrypted.ciphertext_for_recipient()), secret);
    let plain = kms.decrypt().ciphertext_blob(blob).send().await.expect("decrypted");
    assert_eq!(plain.plaintext().expect("in the clear").as_ref(), secret);
    assert!(plain.ciphertext_for_recipient().is_none());

    let call = kms.generate_data_key_pair().key_id(&key);
    let call = call.key_pair_spec(DataKeyPairSpec::EccNistP256).recipient(document());
    let pair = call.send().await.expect("generated");
    assert!(nothing(pair.private_key_plaintext()) && pair.public_key().is_some());
    let private = opened(&enclave, pair.ciphertext_for_recipient());
    let again = kms.decrypt().ciphertext_blob(pair.private_key_ciphertext_blob.expect("a blob"));
    assert_eq!(again.send().await.expect("decrypted").plaintext.expect("clear").as_ref(), private);

    let call = kms.generate_random().number_of_bytes(64).recipient(document());
    let random = call.send().await.expect("drawn");
    assert!(nothing(random.plaintext()));
    assert_eq!(opened(&enclave, random.ciphertext_for_recipient()).len(), 64);

    let ours = make(&kms, KeySpec::EccNistP256, KeyUsageType::KeyAgreement).await;
    let public = kms.get_public_key().key_id(&ours).send().await.expect("a key");
    let call = kms.derive_shared_secret().key_id(&ours);
    let call = call.key_agreement_algorithm(KeyAgreementAlgorithmSpec::Ecdh);
    let call = call.public_key(public.public_key.expect("a key")).recipient(document());
    let shared = call.send().await.expect("agreed");
    assert!(nothing(shared.shared_secret()));
    assert_eq!(opened(&enclave, shared.ciphertext_for_recipient()).len(), 32);
    refusals(&kms, &enclave, &key).await;
    conditions(&kms, &enclave).await;
}

/// A key that only one image may have data keys of.
async fn conditions(kms: &Client, enclave: &Enclave) {
    let now = now_ms();
    let document = enclave.document(now);
    let image: String = document.pcrs[0].1.iter().map(|byte| format!("{byte:02x}")).collect();
    for (image, allowed) in [(image, true), ("00".repeat(48), false)] {
        let policy = format!(
            r#"{{ "Version": "2012-10-17", "Statement": [
                {{ "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*" }},
                {{ "Effect": "Deny", "Principal": "*", "Action": "kms:GenerateDataKey",
                   "Resource": "*", "Condition": {{ "StringNotEquals": {{
                       "kms:RecipientAttestation:ImageSha384": "{image}" }} }} }}
            ] }}"#
        );
        let made = kms.create_key().policy(policy).send().await.expect("made");
        let key = made.key_metadata.expect("metadata").key_id;
        let call = kms.generate_data_key().key_id(&key).key_spec(DataKeySpec::Aes256);
        let attested = call.clone().recipient(recipient(enclave.attest(now_ms()))).send().await;
        let code = attested.err().and_then(|error| error.code().map(str::to_owned));
        assert_eq!(code.as_deref(), (!allowed).then_some("AccessDeniedException"));
        let unattested = call.send().await.expect_err("without a document");
        assert_eq!(unattested.code(), Some("AccessDeniedException"));
    }
}

async fn refusals(kms: &Client, enclave: &Enclave, key: &str) {
    let now = now_ms();
    let stranger = Enclave::new(2048);
    let without_key = Document { public_key: None, ..enclave.document(now) };
    for (name, document, words) in [
        ("another root", stranger.attest(now), "--attestation-root"),
        ("an old document", enclave.attest(now - 600_000), "last five minutes"),
        ("no public key", enclave.sign(&without_key), "RSA public key"),
        ("no document", b"attest".to_vec(), "cannot be read"),
        ("a very long one", vec![0; 100_000], "cannot be read"),
    ] {
        let call = kms.generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256);
        let refused = call.recipient(recipient(document)).send().await.expect_err(name);
        assert_eq!(refused.code(), Some("ValidationException"), "{name}");
        let text = refused.message().expect("a text");
        assert!(text.contains(words), "{name}: {text}");
    }
    let call = kms.generate_random().number_of_bytes(1);
    let none = call.recipient(RecipientInfo::builder().build()).send().await.expect_err("empty");
    assert_eq!(none.code(), Some("ValidationException"));
}

#[test]
fn a_root_that_is_none_is_named() {
    let refused = Daemon::refused(&["--attestation-root", "/nowhere/root.pem"]);
    assert!(refused.contains("/nowhere/root.pem") && refused.contains("aws-nitro"), "{refused}");
}
