//! Encrypt, Decrypt, ReEncrypt and data keys.

use serde_json::{Value, json};

use super::Rig;
use super::rig::{ACCOUNT, arn, b64, bytes};

const UNIFORM: &str = "AccessDeniedException: The ciphertext refers to a customer master key that \
                       does not exist, does not exist in this region, or you are not allowed to \
                       access.";

#[tokio::test]
async fn what_is_encrypted_is_decrypted() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let material =
        rig.ok("DescribeKey", json!({ "KeyId": id })).await["KeyMetadata"]["CurrentKeyMaterialId"]
            .clone();
    for length in [1, 32, 4096] {
        let plaintext = b64(vec![7; length]);
        let input =
            json!({ "KeyId": id, "Plaintext": plaintext, "EncryptionContext": { "a": "b" } });
        let made = rig.ok("Encrypt", input).await;
        let blob = made["CiphertextBlob"].clone();
        assert_eq!(
            made,
            json!({ "CiphertextBlob": blob, "KeyId": arn(&id),
                    "EncryptionAlgorithm": "SYMMETRIC_DEFAULT" })
        );
        let input = json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "b" } });
        assert_eq!(
            rig.ok("Decrypt", input).await,
            json!({ "KeyId": arn(&id), "Plaintext": plaintext,
                    "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "KeyMaterialId": material })
        );
    }
}

#[tokio::test]
async fn the_context_must_be_the_same_in_any_order() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let encrypt = |context: Value| json!({ "KeyId": id, "Plaintext": b64("x"), "EncryptionContext": context });
    let decrypt = |blob: &Value, context: Value| json!({ "CiphertextBlob": blob, "EncryptionContext": context });
    let made = rig.ok("Encrypt", encrypt(json!({ "a": "1", "b": "2" }))).await;
    let blob = &made["CiphertextBlob"];
    rig.ok("Decrypt", decrypt(blob, json!({ "b": "2", "a": "1" }))).await;
    for context in [
        json!({}),
        Value::Null,
        json!({ "a": "1" }),
        json!({ "a": "1", "B": "2" }),
        json!({ "a": "2", "b": "1" }),
    ] {
        let refusal = rig.refusal("Decrypt", decrypt(blob, context)).await;
        assert_eq!(refusal, "InvalidCiphertextException");
    }
    let none = rig.ok("Encrypt", encrypt(Value::Null)).await;
    rig.ok("Decrypt", decrypt(&none["CiphertextBlob"], json!({}))).await;
    let large = json!({ "k": "v".repeat(8192) });
    assert_eq!(rig.refused("Encrypt", encrypt(large)).await, "ValidationException");
}

#[tokio::test]
async fn a_named_key_must_be_the_right_one() {
    let rig = Rig::new().await;
    let (id, other) =
        (rig.create("SYMMETRIC_DEFAULT").await, rig.create("SYMMETRIC_DEFAULT").await);
    rig.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })).await;
    let made = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })).await;
    let decrypt = |key: &str| json!({ "CiphertextBlob": made["CiphertextBlob"], "KeyId": key });
    for key in [id.clone(), arn(&id), "alias/a".to_owned()] {
        rig.ok("Decrypt", decrypt(&key)).await;
    }
    assert_eq!(
        rig.refusal("Decrypt", decrypt(&other)).await,
        "IncorrectKeyException: The key ID in the request does not identify a CMK that can \
         perform this operation."
    );
    let absent = "1234abcd-12ab-34cd-56ef-1234567890ab";
    assert_eq!(rig.refused("Decrypt", decrypt(absent)).await, "NotFoundException");
    let foreign = arn(&id).replace(ACCOUNT, "111122223333");
    assert_eq!(rig.refused("Decrypt", decrypt(&foreign)).await, "AccessDeniedException");
    let mac = rig.create("HMAC_256").await;
    assert_eq!(rig.refused("Decrypt", decrypt(&mac)).await, "IncorrectKeyException");
}

#[tokio::test]
async fn damage_is_one_exception_without_a_text() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let made = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })).await;
    let blob = bytes(&made["CiphertextBlob"]);
    // Version, material id, nonce, IV, ciphertext, tag.
    for position in [0, 20, 52, 70, 78, blob.len() - 1] {
        let mut damaged = blob.clone();
        damaged[position] ^= 1;
        for named in [json!(id), Value::Null] {
            let input = json!({ "CiphertextBlob": b64(&damaged), "KeyId": named });
            let refusal = rig.refusal("Decrypt", input).await;
            assert_eq!(refusal, "InvalidCiphertextException", "byte {position}");
        }
    }
    for damaged in [&blob[..blob.len() - 1], &blob[1..], b"x"] {
        let input = json!({ "CiphertextBlob": b64(damaged) });
        assert_eq!(rig.refusal("Decrypt", input).await, "InvalidCiphertextException");
    }
    // A blob of a key that nobody has: its existence is not revealed.
    let mut strange = blob;
    strange[5] ^= 1;
    let strange = b64(strange);
    assert_eq!(rig.refusal("Decrypt", json!({ "CiphertextBlob": strange })).await, UNIFORM);
    let input = json!({ "CiphertextBlob": strange, "DestinationKeyId": id });
    assert_eq!(rig.refusal("ReEncrypt", input).await, UNIFORM);
    let input = json!({ "CiphertextBlob": strange, "KeyId": id });
    assert_eq!(rig.refused("Decrypt", input).await, "IncorrectKeyException");
}

#[tokio::test]
async fn algorithms_of_other_keys_do_not_fit() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let input =
        json!({ "KeyId": id, "Plaintext": b64("x"), "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" });
    assert_eq!(
        rig.refusal("Encrypt", input).await,
        "InvalidKeyUsageException: Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec \
         SYMMETRIC_DEFAULT."
    );
    let signing = rig.create("ECC_NIST_P256").await;
    assert_eq!(
        rig.refusal("Encrypt", json!({ "KeyId": signing, "Plaintext": b64("x") })).await,
        format!(
            "InvalidKeyUsageException: {} key usage is SIGN_VERIFY which is not valid for Encrypt.",
            arn(&signing)
        )
    );
}

#[tokio::test]
async fn re_encryption_changes_key_and_context() {
    let rig = Rig::new().await;
    let (from, to) = (rig.create("SYMMETRIC_DEFAULT").await, rig.create("SYMMETRIC_DEFAULT").await);
    let input = json!({ "KeyId": from, "Plaintext": b64("x"), "EncryptionContext": { "a": "1" } });
    let made = rig.ok("Encrypt", input).await;
    let input = json!({
        "CiphertextBlob": made["CiphertextBlob"],
        "SourceEncryptionContext": { "a": "1" },
        "DestinationKeyId": to,
        "DestinationEncryptionContext": { "b": "2" },
    });
    let (moved, facts) = rig.audited("ReEncrypt", input.clone()).await;
    let moved = moved.unwrap();
    let material = async |id: &str| rig.record(id).await.unwrap().materials[0].id.to_string();
    assert_eq!(
        moved,
        json!({
            "CiphertextBlob": moved["CiphertextBlob"],
            "SourceKeyId": arn(&from),
            "KeyId": arn(&to),
            "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "SourceKeyMaterialId": material(&from).await,
            "DestinationKeyMaterialId": material(&to).await,
        })
    );
    let arns: Vec<_> = facts.resources.iter().map(|resource| resource.arn.clone()).collect();
    assert_eq!(arns, [arn(&from), arn(&to)]);
    let input_of = |context: Value| json!({ "CiphertextBlob": moved["CiphertextBlob"], "EncryptionContext": context });
    assert_eq!(
        rig.ok("Decrypt", input_of(json!({ "b": "2" }))).await["Plaintext"],
        json!(b64("x"))
    );
    assert_eq!(
        rig.refused("Decrypt", input_of(json!({ "a": "1" }))).await,
        "InvalidCiphertextException"
    );

    let mut wrong = input.clone();
    wrong["SourceKeyId"] = json!(to);
    assert_eq!(rig.refused("ReEncrypt", wrong).await, "IncorrectKeyException");
    let mut wrong = input.clone();
    wrong["SourceEncryptionContext"] = json!({});
    assert_eq!(rig.refused("ReEncrypt", wrong).await, "InvalidCiphertextException");
    let mut dry = input;
    dry["DryRun"] = json!(true);
    assert_eq!(rig.refused("ReEncrypt", dry).await, "DryRunOperationException");
}

#[tokio::test]
async fn data_keys_decrypt_to_themselves() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for (size, length) in [
        (json!({ "KeySpec": "AES_256" }), 32),
        (json!({ "KeySpec": "AES_128" }), 16),
        (json!({ "NumberOfBytes": 1 }), 1),
        (json!({ "NumberOfBytes": 1024 }), 1024),
    ] {
        let mut input = size;
        input["KeyId"] = json!(id);
        input["EncryptionContext"] = json!({ "a": "b" });
        let made = rig.ok("GenerateDataKey", input.clone()).await;
        assert_eq!(bytes(&made["Plaintext"]).len(), length);
        let wrapped = rig.ok("GenerateDataKeyWithoutPlaintext", input).await;
        assert!(wrapped.get("Plaintext").is_none());
        let open = async |blob: &Value| {
            let input = json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "b" } });
            rig.ok("Decrypt", input).await
        };
        let opened = open(&made["CiphertextBlob"]).await;
        assert_eq!(opened["Plaintext"], made["Plaintext"]);
        assert_eq!(opened["KeyMaterialId"], made["KeyMaterialId"]);
        assert_eq!(made["KeyId"], json!(arn(&id)));
        let opened = open(&wrapped["CiphertextBlob"]).await;
        assert_eq!(bytes(&opened["Plaintext"]).len(), length);
        assert_eq!(opened["KeyMaterialId"], wrapped["KeyMaterialId"]);
    }
}

#[tokio::test]
async fn a_data_key_has_one_size() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for size in [
        json!({}),
        json!({ "KeySpec": "AES_256", "NumberOfBytes": 32 }),
        json!({ "KeySpec": "AES_512" }),
        json!({ "NumberOfBytes": 0 }),
        json!({ "NumberOfBytes": 1025 }),
    ] {
        let mut input = size;
        input["KeyId"] = json!(id);
        for operation in ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"] {
            assert_eq!(rig.refused(operation, input.clone()).await, "ValidationException");
        }
    }
    let attested = json!({ "KeyId": id, "KeySpec": "AES_256", "Recipient": {} });
    assert_eq!(rig.refused("GenerateDataKey", attested).await, "ValidationException");
}

#[tokio::test]
async fn a_dry_run_may_leave_the_ciphertext_out() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let modifiers = json!(["IGNORE_CIPHERTEXT"]);
    let dry = json!({ "KeyId": id, "DryRun": true, "DryRunModifiers": modifiers });
    assert_eq!(rig.refused("Decrypt", dry).await, "DryRunOperationException");
    for input in [
        json!({ "DryRun": true, "DryRunModifiers": modifiers }),
        json!({ "KeyId": id, "DryRun": true }),
        json!({ "KeyId": id, "DryRunModifiers": modifiers }),
        json!({ "KeyId": id, "DryRun": true, "DryRunModifiers": ["OTHER"] }),
    ] {
        assert_eq!(rig.refused("Decrypt", input.clone()).await, "ValidationException", "{input}");
    }
    let dry = json!({ "SourceKeyId": id, "DestinationKeyId": id, "DryRun": true,
                      "DryRunModifiers": modifiers });
    assert_eq!(rig.refused("ReEncrypt", dry).await, "DryRunOperationException");
}
