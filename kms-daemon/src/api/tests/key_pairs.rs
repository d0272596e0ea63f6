//! GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext.

use hsm_protocol::key_spec::{KEY_SPECS, KeySpec};
use serde_json::{Value, json};

use super::Rig;
use super::rig::{arn, bytes};

#[tokio::test]
async fn the_private_half_decrypts_to_what_was_answered() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let rows = KEY_SPECS.iter().filter(|row| row.data_key_pair);
    for row in rows.filter(|row| !row.slow || row.spec == KeySpec::RSA_2048) {
        let spec = row.spec.aws_name().unwrap();
        let input = json!({ "KeyId": id, "KeyPairSpec": spec, "EncryptionContext": { "a": "b" } });
        let made = rig.ok("GenerateDataKeyPair", input.clone()).await;
        let (private, blob) = (&made["PrivateKeyPlaintext"], &made["PrivateKeyCiphertextBlob"]);
        let expected = json!({
            "KeyId": arn(&id),
            "KeyPairSpec": spec,
            "PrivateKeyPlaintext": private,
            "PrivateKeyCiphertextBlob": blob,
            "PublicKey": made["PublicKey"],
            "KeyMaterialId": made["KeyMaterialId"],
        });
        assert_eq!(made, expected);
        assert_eq!(bytes(&made["PublicKey"]).len(), row.public_size);
        assert_eq!(decrypted(&rig, blob).await, *private);

        let wrapped = rig.ok("GenerateDataKeyPairWithoutPlaintext", input).await;
        assert_eq!(wrapped.as_object().unwrap().len(), 5);
        assert_eq!(wrapped["KeyMaterialId"], made["KeyMaterialId"]);
        assert_ne!(wrapped["PublicKey"], made["PublicKey"]);
        let other = decrypted(&rig, &wrapped["PrivateKeyCiphertextBlob"]).await;
        assert_ne!(other, *private);
    }
}

async fn decrypted(rig: &Rig, blob: &Value) -> Value {
    let input = json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "b" } });
    rig.ok("Decrypt", input).await["Plaintext"].clone()
}

#[tokio::test]
async fn what_is_no_data_key_pair() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let pair = |id: &str, spec: &str| json!({ "KeyId": id, "KeyPairSpec": spec });
    for operation in ["GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"] {
        for spec in ["ML_DSA_44", "HMAC_256", "SYMMETRIC_DEFAULT"] {
            assert_eq!(rig.refused(operation, pair(&id, spec)).await, "ValidationException");
        }
        let unsupported = rig.refused(operation, pair(&id, "SM2")).await;
        assert_eq!(unsupported, "UnsupportedOperationException");
        let hmac = rig.create("HMAC_256").await;
        let misuse = rig.refused(operation, pair(&hmac, "ECC_NIST_P256")).await;
        assert_eq!(misuse, "InvalidKeyUsageException");
        let mut dry = pair(&id, "RSA_4096");
        dry["DryRun"] = json!(true);
        assert_eq!(rig.refused(operation, dry).await, "DryRunOperationException");
    }
    let mut attested = pair(&id, "ECC_NIST_P256");
    attested["Recipient"] = json!({});
    let refusal = rig.refused("GenerateDataKeyPair", attested).await;
    assert_eq!(refusal, "ValidationException");
}
