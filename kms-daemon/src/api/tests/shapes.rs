//! Shapes of requests: what is read, what is refused, and in which order.

use serde_json::{Value, json};

use super::Rig;
use super::rig::b64;
use kms_model::Operation;

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let rig = Rig::new().await;
    for body in [
        &b"{"[..],
        b"{} {}",
        b"[]",
        b"null",
        b"\"x\"",
        b"\xff",
        br#"{"KeyId": 7}"#,
        br#"{"KeyId": ["x"]}"#,
        br#"{"KeyId": "a", "KeyId": "b"}"#,
        br#"{"KeyId": "x", "Plaintext": "secret, not Base64"}"#,
        br#"{"KeyId": "x", "EncryptionContext": {"a": 1}}"#,
        br#"{"KeyId": "x", "EncryptionContext": {"a": "1", "a": "1"}}"#,
        br#"{"KeyId": "x", "DryRun": "true"}"#,
    ] {
        let refusal = rig.raw("Encrypt", body).await.0.unwrap_err();
        assert_eq!(refusal.code(), "SerializationException", "{}", body.escape_ascii());
        assert!(!refusal.message().unwrap().contains("secret"));
    }
    let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    assert!(rig.raw("Encrypt", deep.as_bytes()).await.0.is_err());
}

#[tokio::test]
async fn null_is_absent_and_unknown_members_are_ignored() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let input = json!({
        "KeyId": id,
        "Plaintext": b64("x"),
        "EncryptionContext": null,
        "GrantTokens": null,
        "EncryptionAlgorithm": null,
        "DryRun": null,
        "FromTheFuture": { "a": [1, 2, null] },
    });
    rig.ok("Encrypt", input).await;
    assert!(rig.raw("ListKeys", b"").await.0.is_ok());
    let refusal = rig.refusal("Encrypt", json!({ "KeyId": null, "Plaintext": b64("x") })).await;
    assert_eq!(
        refusal,
        "ValidationException: 1 validation error detected: Value null at 'keyId' failed to \
         satisfy constraint: Member must not be null"
    );
}

#[tokio::test]
async fn all_failed_constraints_are_reported_together() {
    let rig = Rig::new().await;
    let refusal = rig.refusal("Sign", json!({ "MessageType": "X", "SigningAlgorithm": "Y" })).await;
    assert!(
        refusal.starts_with("ValidationException: 4 validation errors detected: "),
        "{refusal}"
    );
    for member in ["keyId", "message", "messageType", "signingAlgorithm"] {
        assert!(refusal.contains(&format!(" at '{member}' failed")), "{refusal}");
    }
}

#[tokio::test]
async fn shape_comes_before_existence_and_existence_before_use() {
    let rig = Rig::new().await;
    let absent = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let sign = |key: &str, message: &str, kind: &str| {
        json!({ "KeyId": key, "Message": b64(message), "MessageType": kind,
                "SigningAlgorithm": "RSASSA_PSS_SHA_256" })
    };
    assert_eq!(rig.refused("Sign", sign(absent, "", "RAW")).await, "ValidationException");
    assert_eq!(rig.refused("Sign", sign(absent, "x", "DIGEST")).await, "NotFoundException");
    assert_eq!(rig.refused("Sign", sign(absent, "x", "RAW")).await, "NotFoundException");
    let id = rig.create("ECC_NIST_P256").await;
    assert_eq!(
        rig.refusal("Sign", sign(&id, "x", "RAW")).await,
        "InvalidKeyUsageException: Algorithm RSASSA_PSS_SHA_256 is incompatible with key spec \
         ECC_NIST_P256."
    );
}

#[tokio::test]
async fn blobs_have_lengths() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let blob = |length: usize| b64(vec![0; length]);
    for (operation, member, max, rest) in [
        ("Encrypt", "Plaintext", 4096, json!({ "KeyId": id })),
        ("Decrypt", "CiphertextBlob", 6144, json!({})),
        ("ReEncrypt", "CiphertextBlob", 6144, json!({ "DestinationKeyId": id })),
        ("Sign", "Message", 4096, json!({ "KeyId": id, "SigningAlgorithm": "ECDSA_SHA_256" })),
        (
            "Verify",
            "Signature",
            6144,
            json!({ "KeyId": id, "SigningAlgorithm": "ECDSA_SHA_256", "Message": blob(1) }),
        ),
        ("GenerateMac", "Message", 4096, json!({ "KeyId": id, "MacAlgorithm": "HMAC_SHA_256" })),
        (
            "VerifyMac",
            "Mac",
            6144,
            json!({ "KeyId": id, "MacAlgorithm": "HMAC_SHA_256", "Message": blob(1) }),
        ),
    ] {
        for length in [0, max + 1] {
            let mut input = rest.clone();
            input[member] = json!(blob(length));
            let refusal = rig.refusal(operation, input).await;
            assert!(refusal.starts_with("ValidationException: 1 validation error"), "{refusal}");
        }
        let mut input = rest;
        input[member] = json!(blob(max));
        if let Err(error) = rig.call(operation, input).await {
            assert_ne!(error.code(), "ValidationException", "{operation}");
        }
    }
}

#[tokio::test]
async fn random_bytes_come_in_the_length_asked_for() {
    let rig = Rig::new().await;
    for length in [1, 32, 1024] {
        let answer = rig.ok("GenerateRandom", json!({ "NumberOfBytes": length })).await;
        assert_eq!(super::rig::bytes(&answer["Plaintext"]).len(), length);
    }
    assert_eq!(
        rig.refusal("GenerateRandom", json!({})).await,
        "ValidationException: NumberOfBytes is required."
    );
    for input in [json!({ "NumberOfBytes": 0 }), json!({ "NumberOfBytes": 1025 })] {
        assert_eq!(rig.refused("GenerateRandom", input).await, "ValidationException");
    }
    let input = json!({ "NumberOfBytes": 1, "CustomKeyStoreId": "cks-1" });
    assert_eq!(rig.refused("GenerateRandom", input).await, "CustomKeyStoreNotFoundException");
    let (_, facts) = rig.audited("GenerateRandom", json!({ "NumberOfBytes": 1 })).await;
    assert_eq!(facts.request_parameters, None);
    assert!(facts.resources.is_empty());
}

#[tokio::test]
async fn operations_are_known_by_name() {
    assert_eq!(Operation::ALL.len(), 56);
    for operation in Operation::ALL {
        assert_eq!(Operation::from_name(operation.name()), Some(*operation));
    }
    assert_eq!(Operation::from_name("encrypt"), None);
    assert_eq!(Operation::from_name(""), None);
}

#[tokio::test]
async fn nothing_secret_reaches_the_audit_record() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let secret = b64("a secret that must not be logged");
    let input = json!({ "KeyId": id, "Plaintext": secret, "EncryptionContext": { "a": "b" } });
    let (made, facts) = rig.audited("Encrypt", input).await;
    let expected = json!({
        "keyId": id,
        "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "encryptionContext": { "a": "b" },
    });
    assert_eq!(Value::Object(facts.request_parameters.unwrap()), expected);
    assert_eq!(facts.response_elements, None);
    assert_eq!(facts.receipts.len(), 1);

    let blob = made.unwrap()["CiphertextBlob"].clone();
    let input = json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "b" } });
    let (_, facts) = rig.audited("Decrypt", input).await;
    let expected = json!({
        "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "encryptionContext": { "a": "b" },
    });
    assert_eq!(Value::Object(facts.request_parameters.unwrap()), expected);
    assert_eq!(facts.resources.len(), 1);
}

#[tokio::test]
async fn calls_can_move_between_threads() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    let rig = Rig::new().await;
    let future = assert_send(rig.call("ListKeys", json!({})));
    assert!(future.await.is_ok());
}
