//! A daemon of several Regions.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use hsm_tests::daemon::Daemon;
use hsm_tests::sdk::{client_in, code};

async fn create(client: &Client) -> String {
    let made = client.create_key().multi_region(true).send().await.expect("made");
    made.key_metadata.expect("metadata").key_id
}

async fn decrypts(client: &Client, blob: &Blob) {
    let opened = client.decrypt().ciphertext_blob(blob.clone()).send().await.expect("decrypted");
    assert_eq!(opened.plaintext.expect("a plaintext").as_ref(), b"x");
}

#[tokio::test]
async fn any_region_opens_when_it_is_first_used() {
    let mut daemon = Daemon::start_with(&["soft"], &["--region", "any", "--dev"]);
    let south = client_in("ap-south-1", &daemon);
    let id = create(&south).await;
    let made = south.encrypt().key_id(&id).plaintext(Blob::new("x")).send().await;
    let blob = made.expect("encrypted").ciphertext_blob.expect("a ciphertext");
    // A replica opens a Region as well.
    let replicate = south.replicate_key().key_id(&id).replica_region("eu-central-1");
    replicate.send().await.expect("replicated");
    decrypts(&client_in("eu-central-1", &daemon), &blob).await;
    let nowhere = client_in("nowhere", &daemon).list_keys().send().await;
    assert_eq!(code(nowhere), "InvalidSignatureException");

    daemon.kill();
    daemon.restart();
    for region in ["ap-south-1", "eu-central-1"] {
        decrypts(&client_in(region, &daemon), &blob).await;
    }
    let keys = client_in("us-east-1", &daemon).list_keys().send().await.expect("listed");
    assert_eq!(keys.keys().len(), 0);
}

#[test]
fn any_region_is_for_developers() {
    let refusal = Daemon::refused(&["--region", "any"]);
    assert!(refusal.contains("add --dev"), "{refusal}");
}

/// A domain is a Region's own: a key of one Region is not a key of another, whoever copies what.
#[tokio::test]
async fn a_key_of_one_region_is_none_of_another() {
    let daemon = Daemon::start_with(&["soft"], &["--region", "us-east-1,eu-west-1"]);
    let (here, there) = (client_in("us-east-1", &daemon), client_in("eu-west-1", &daemon));
    let made = here.create_key().send().await.expect("made").key_metadata.expect("metadata");
    let encrypted = here.encrypt().key_id(&made.key_id).plaintext(Blob::new("x")).send().await;
    let blob = encrypted.expect("encrypted").ciphertext_blob.expect("a ciphertext");
    let refused = code(there.decrypt().ciphertext_blob(blob).send().await);
    assert_eq!(refused, "AccessDeniedException");
    let arn = made.arn.expect("an ARN");
    assert_eq!(code(there.describe_key().key_id(arn).send().await), "NotFoundException");
    let replicate = here.replicate_key().key_id(&made.key_id).replica_region("eu-west-1");
    assert_eq!(code(replicate.send().await), "UnsupportedOperationException");
}
