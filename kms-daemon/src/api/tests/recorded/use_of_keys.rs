//! Ciphertexts, signatures and dry runs.

use serde_json::{Value, json};

use super::Rig;
use crate::api::tests::rig::{ACCOUNT, arn, b64, bytes};

const INCORRECT: &str = "IncorrectKeyException: The key ID in the request does not identify a CMK \
                         that can perform this operation.";

#[tokio::test]
async fn a_ciphertext_is_of_one_key() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let made = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })).await;
    let other = rig.create("SYMMETRIC_DEFAULT").await;
    let disabled = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("DisableKey", json!({ "KeyId": disabled })).await;
    let (hmac, rsa) = (rig.create("HMAC_256").await, rig.create("RSA_2048").await);
    let elsewhere = arn(&id).replace("us-east-1", "eu-west-1");
    for key in [&other, &disabled, &hmac, &rsa, &elsewhere] {
        let decrypt = json!({ "CiphertextBlob": made["CiphertextBlob"], "KeyId": key });
        rig.says("Decrypt", decrypt, INCORRECT).await;
        let re_encrypt = json!({ "CiphertextBlob": made["CiphertextBlob"], "SourceKeyId": key,
                                 "DestinationKeyId": id });
        rig.says("ReEncrypt", re_encrypt, INCORRECT).await;
        // An invalid ciphertext is reported as such before the mismatch of keys.
        let bad = json!({ "CiphertextBlob": b64("x"), "KeyId": key });
        rig.says("Decrypt", bad, "InvalidCiphertextException").await;
    }
    // A caller that may not use the named key learns nothing more.
    let foreign = arn(&id).replace(ACCOUNT, "111122223333");
    let decrypt = json!({ "CiphertextBlob": b64("x"), "KeyId": foreign });
    assert_eq!(rig.refused("Decrypt", decrypt).await, "AccessDeniedException");
    // With the right key, the caller learns its state.
    rig.ok("DisableKey", json!({ "KeyId": id })).await;
    let decrypt = json!({ "CiphertextBlob": made["CiphertextBlob"], "KeyId": id });
    let expected = format!("DisabledException: {} is disabled.", arn(&id));
    rig.says("Decrypt", decrypt, &expected).await;
}

#[tokio::test]
async fn asymmetric_ciphertexts_name_their_key_and_have_no_context() {
    let rig = Rig::new().await;
    let (rsa, aes) = (rig.create("RSA_2048").await, rig.create("SYMMETRIC_DEFAULT").await);
    let algorithm = "RSAES_OAEP_SHA_256";
    let encrypt = json!({ "KeyId": rsa, "EncryptionAlgorithm": algorithm, "Plaintext": b64("x") });
    let blob = rig.ok("Encrypt", encrypt.clone()).await["CiphertextBlob"].clone();
    let decrypt = json!({ "KeyId": rsa, "CiphertextBlob": blob });
    rig.says("Decrypt", decrypt, "InvalidCiphertextException").await;
    let unnamed = json!({ "CiphertextBlob": blob, "EncryptionAlgorithm": algorithm });
    rig.says("Decrypt", unnamed, "ValidationException: KeyId must not be null").await;
    let unnamed = json!({ "CiphertextBlob": blob, "SourceEncryptionAlgorithm": algorithm,
                          "DestinationKeyId": aes });
    rig.says("ReEncrypt", unnamed, "ValidationException: SourceKeyId must not be null").await;
    let with_context = |mut input: Value| {
        input["EncryptionContext"] = json!({ "a": "b" });
        input
    };
    let expected = "ValidationException: EncryptionContext is not supported when \
                    encrypting/decrypting with asymmetric CMKs.";
    rig.says("Encrypt", with_context(encrypt), expected).await;
    let decrypt = json!({ "KeyId": rsa, "CiphertextBlob": blob, "EncryptionAlgorithm": algorithm });
    rig.says("Decrypt", with_context(decrypt), expected).await;
}

#[tokio::test]
async fn messages_fit_key_then_algorithm_then_length() {
    let rig = Rig::new().await;
    let sign = |id: &str, algorithm: &str, form: &str, length: usize| {
        json!({ "KeyId": id, "SigningAlgorithm": algorithm, "MessageType": form,
                "Message": b64(vec![1; length]) })
    };
    let p256 = rig.create("ECC_NIST_P256").await;
    let edwards = rig.create("ECC_NIST_EDWARDS25519").await;
    let ml_dsa = rig.create_for("ML_DSA_44", "SIGN_VERIFY").await;
    for (input, expected) in [
        (
            sign(&p256, "ECDSA_SHA_256", "EXTERNAL_MU", 1),
            "ValidationException: Message type EXTERNAL_MU is incompatible with key spec \
             ECC_NIST_P256.",
        ),
        (
            sign(&p256, "ECDSA_SHA_256", "DIGEST", 31),
            "ValidationException: Digest is invalid length for algorithm ECDSA_SHA_256.",
        ),
        (
            sign(&edwards, "ECDSA_SHA_512", "RAW", 1),
            "InvalidKeyUsageException: Algorithm ECDSA_SHA_512 is incompatible with key spec \
             ECC_NIST_EDWARDS25519.",
        ),
        (
            sign(&edwards, "ED25519_PH_SHA_512", "RAW", 1),
            "ValidationException: Message type RAW is incompatible with algorithm \
             ED25519_PH_SHA_512.",
        ),
        (
            sign(&edwards, "ED25519_SHA_512", "DIGEST", 1),
            "ValidationException: Message type DIGEST is incompatible with algorithm \
             ED25519_SHA_512.",
        ),
        (
            sign(&ml_dsa, "ML_DSA_SHAKE_256", "DIGEST", 1),
            "ValidationException: Message type DIGEST is incompatible with key spec ML_DSA_44.",
        ),
        (
            sign(&ml_dsa, "ML_DSA_SHAKE_256", "EXTERNAL_MU", 63),
            "ValidationException: External Mu is invalid length for algorithm ML_DSA_SHAKE_256.",
        ),
    ] {
        rig.says("Sign", input.clone(), expected).await;
        let mut verify = input;
        verify["Signature"] = json!(b64([1; 64]));
        rig.says("Verify", verify, expected).await;
    }
}

/// A dry run returns what the real request would return, also for earlier ciphertexts and
/// signatures.
#[tokio::test]
async fn a_dry_run_looks_at_what_it_is_given() {
    let rig = Rig::new().await;
    let dry = async |operation: &str, mut input: Value| {
        input["DryRun"] = json!(true);
        rig.refused(operation, input).await
    };
    const RAN: &str = "DryRunOperationException";
    let flipped = |blob: &Value| {
        let mut bytes = bytes(blob);
        *bytes.last_mut().unwrap() ^= 1;
        json!(b64(bytes))
    };

    let aes = rig.create("SYMMETRIC_DEFAULT").await;
    let blob =
        rig.ok("Encrypt", json!({ "KeyId": aes, "Plaintext": b64("x") })).await["CiphertextBlob"]
            .clone();
    for (blob, expected) in [(blob.clone(), RAN), (flipped(&blob), "InvalidCiphertextException")] {
        assert_eq!(dry("Decrypt", json!({ "CiphertextBlob": blob })).await, expected);
        let input = json!({ "CiphertextBlob": blob, "DestinationKeyId": aes });
        assert_eq!(dry("ReEncrypt", input).await, expected);
    }
    let rsa = rig.create("RSA_2048").await;
    let algorithm = "RSAES_OAEP_SHA_256";
    let input = json!({ "KeyId": rsa, "EncryptionAlgorithm": algorithm, "Plaintext": b64("x") });
    let blob = rig.ok("Encrypt", input).await["CiphertextBlob"].clone();
    for (blob, expected) in [(blob.clone(), RAN), (flipped(&blob), "InvalidCiphertextException")] {
        let input =
            json!({ "KeyId": rsa, "EncryptionAlgorithm": algorithm, "CiphertextBlob": blob });
        assert_eq!(dry("Decrypt", input).await, expected);
    }

    let hmac = rig.create("HMAC_256").await;
    let input = json!({ "KeyId": hmac, "MacAlgorithm": "HMAC_SHA_256", "Message": b64("x") });
    assert_eq!(dry("GenerateMac", input.clone()).await, RAN);
    let mac = rig.ok("GenerateMac", input.clone()).await["Mac"].clone();
    for (mac, expected) in [(mac.clone(), RAN), (flipped(&mac), "KMSInvalidMacException")] {
        let mut verify = input.clone();
        verify["Mac"] = mac;
        assert_eq!(dry("VerifyMac", verify).await, expected);
    }

    let p256 = rig.create_for("ECC_NIST_P256", "KEY_AGREEMENT").await;
    let public = rig.ok("GetPublicKey", json!({ "KeyId": p256 })).await["PublicKey"].clone();
    for (public, expected) in [(public.clone(), RAN), (flipped(&public), "ValidationException")] {
        let input = json!({ "KeyId": p256, "KeyAgreementAlgorithm": "ECDH", "PublicKey": public });
        assert_eq!(dry("DeriveSharedSecret", input).await, expected);
    }

    let kem = rig.create("ML_KEM_512").await;
    let input = json!({ "KeyId": kem, "EncapsulationAlgorithm": "ML_KEM" });
    assert_eq!(dry("Encapsulate", input.clone()).await, RAN);
    for (length, expected) in [(768, RAN), (767, "InvalidCiphertextException")] {
        let mut input = input.clone();
        input["SharedSecretCiphertextBlob"] = json!(b64(vec![1; length]));
        assert_eq!(dry("Decapsulate", input).await, expected);
    }
    // A dry run does not count as use of the key.
    let usage = rig.ok("GetKeyLastUsage", json!({ "KeyId": kem })).await;
    assert_eq!(usage["KeyLastUsage"], json!({}));
}
