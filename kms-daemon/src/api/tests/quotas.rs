//! Request quotas through the API.

use std::sync::Arc;

use serde_json::json;

use super::Rig;
use super::rig::b64;
use crate::quota::Quotas;

/// Seldom enough that no second request is allowed in the time of a test.
const SELDOM: &str = "0.001";

impl Rig {
    fn with_quotas(self, names: &[&str]) -> Self {
        let settings: Vec<_> = names.iter().map(|name| format!("{name}={SELDOM}")).collect();
        self.with_settings(&settings)
    }

    fn with_settings(self, settings: &[impl AsRef<str>]) -> Self {
        let Self { service, clock, region } = self;
        let service = Arc::into_inner(service).unwrap();
        let service = service.with_quotas(Quotas::parse(settings).unwrap());
        Self { service: Arc::new(service), clock, region }
    }
}

#[tokio::test]
async fn an_operation_has_its_own_quota() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let rig = rig.with_quotas(&["CreateKey", "DescribeKey"]);
    rig.ok("CreateKey", json!({})).await;
    assert_eq!(
        rig.refusal("CreateKey", json!({})).await,
        "ThrottlingException: You have exceeded the rate at which you may call KMS. Reduce the \
         frequency of your calls."
    );
    rig.ok("DescribeKey", json!({ "KeyId": id })).await;
    // Whether the key exists or not is no longer looked at.
    for key in [id.as_str(), "1234abcd-12ab-34cd-56ef-1234567890ab"] {
        let refusal = rig.refused("DescribeKey", json!({ "KeyId": key })).await;
        assert_eq!(refusal, "ThrottlingException");
    }
    rig.ok("ListKeys", json!({})).await;
}

#[tokio::test]
async fn cryptography_shares_the_quota_of_its_kind_of_key() {
    let rig = Rig::new().await;
    let aes = rig.create("SYMMETRIC_DEFAULT").await;
    let ecc = rig.create("ECC_NIST_P256").await;
    let made = rig.ok("Encrypt", json!({ "KeyId": aes, "Plaintext": b64("x") })).await;
    let rig = rig.with_quotas(&["symmetric", "ecc", "data-key-pair:ECC_NIST_P256"]);
    // One request, two keys, one count.
    let blob = &made["CiphertextBlob"];
    rig.ok("ReEncrypt", json!({ "CiphertextBlob": blob, "DestinationKeyId": aes })).await;
    let decrypt = json!({ "CiphertextBlob": blob });
    assert_eq!(rig.refused("Decrypt", decrypt).await, "ThrottlingException");
    let random = json!({ "NumberOfBytes": 1 });
    assert_eq!(rig.refused("GenerateRandom", random).await, "ThrottlingException");
    // A data key pair counts as such only.
    let pair = json!({ "KeyId": aes, "KeyPairSpec": "ECC_NIST_P256" });
    rig.ok("GenerateDataKeyPair", pair.clone()).await;
    let again = rig.refused("GenerateDataKeyPairWithoutPlaintext", pair).await;
    assert_eq!(again, "ThrottlingException");
    let other = json!({ "KeyId": aes, "KeyPairSpec": "ECC_NIST_P384" });
    rig.ok("GenerateDataKeyPair", other).await;

    let sign = json!({ "KeyId": ecc, "Message": b64("x"), "SigningAlgorithm": "ECDSA_SHA_256" });
    rig.ok("Sign", sign.clone()).await;
    assert_eq!(rig.refused("Sign", sign).await, "ThrottlingException");
}

#[tokio::test]
async fn an_account_has_so_many_keys_in_a_region() {
    let rig = Rig::with_regions(2).await;
    rig.create("SYMMETRIC_DEFAULT").await;
    let rig = rig.with_settings(&["keys=2"]);
    let made = rig.ok("CreateKey", json!({ "MultiRegion": true })).await;
    let id = &made["KeyMetadata"]["KeyId"];
    assert_eq!(
        rig.refusal("CreateKey", json!({})).await,
        "LimitExceededException: The account has 2 KMS keys in us-east-1, the most."
    );
    // The other Region has a count of its own, and replicas are keys there.
    let other = rig.in_region("eu-west-1");
    other.create("SYMMETRIC_DEFAULT").await;
    rig.ok("ReplicateKey", json!({ "KeyId": id, "ReplicaRegion": "eu-west-1" })).await;
    assert_eq!(other.refused("CreateKey", json!({})).await, "LimitExceededException");
}
