//! Sign, Verify, GetPublicKey, GenerateMac, VerifyMac.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Rig;
use super::rig::{arn, b64, bytes};

#[tokio::test]
async fn a_signature_verifies_as_message_and_as_digest() {
    let rig = Rig::new().await;
    let id = rig.create("ECC_NIST_P256").await;
    let message = b"message".as_slice();
    let digest = Sha256::digest(message);
    let forms = [("RAW", b64(message)), ("DIGEST", b64(digest))];
    for (signed_as, content) in &forms {
        let input = json!({ "KeyId": id, "Message": content, "MessageType": signed_as,
                            "SigningAlgorithm": "ECDSA_SHA_256" });
        let signed = rig.ok("Sign", input).await;
        assert_eq!(
            signed,
            json!({ "KeyId": arn(&id), "Signature": signed["Signature"],
                    "SigningAlgorithm": "ECDSA_SHA_256" })
        );
        for (verified_as, content) in &forms {
            let input = json!({ "KeyId": id, "Message": content, "MessageType": verified_as,
                                "SigningAlgorithm": "ECDSA_SHA_256", "Signature": signed["Signature"] });
            assert_eq!(
                rig.ok("Verify", input).await,
                json!({ "KeyId": arn(&id), "SignatureValid": true,
                        "SigningAlgorithm": "ECDSA_SHA_256" })
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_signature_is_an_exception() {
    let rig = Rig::new().await;
    let (id, other) = (rig.create("ECC_NIST_P256").await, rig.create("ECC_NIST_P256").await);
    let sign = json!({ "KeyId": id, "Message": b64("x"), "SigningAlgorithm": "ECDSA_SHA_256" });
    let signature = rig.ok("Sign", sign).await["Signature"].clone();
    let verify = |key: &str, message: &str, signature: Value| {
        json!({ "KeyId": key, "Message": b64(message), "SigningAlgorithm": "ECDSA_SHA_256",
                "Signature": signature })
    };
    let mut flipped = bytes(&signature);
    *flipped.last_mut().unwrap() ^= 1;
    for input in [
        verify(&other, "x", signature.clone()),
        verify(&id, "y", signature.clone()),
        verify(&id, "x", json!(b64(flipped))),
        verify(&id, "x", json!(b64([0; 64]))),
        verify(&id, "x", json!(b64([1]))),
        verify(&id, "x", json!(b64(vec![0x30; 6144]))),
    ] {
        assert_eq!(rig.refusal("Verify", input).await, "KMSInvalidSignatureException");
    }
    for (message, expected) in
        [("x", "DryRunOperationException"), ("y", "KMSInvalidSignatureException")]
    {
        let mut dry = verify(&id, message, signature.clone());
        dry["DryRun"] = json!(true);
        assert_eq!(rig.refused("Verify", dry).await, expected);
    }
}

#[tokio::test]
async fn digests_have_their_length() {
    let rig = Rig::new().await;
    let id = rig.create("ECC_NIST_P256").await;
    for (kind, length) in [("DIGEST", 31), ("DIGEST", 33), ("EXTERNAL_MU", 64)] {
        let input = json!({ "KeyId": id, "Message": b64(vec![0; length]), "MessageType": kind,
                            "SigningAlgorithm": "ECDSA_SHA_256" });
        assert_eq!(rig.refused("Sign", input).await, "ValidationException");
    }
}

#[tokio::test]
async fn the_public_key_is_spki() {
    let rig = Rig::new().await;
    let id = rig.create("ECC_NIST_P256").await;
    let answer = rig.ok("GetPublicKey", json!({ "KeyId": id })).await;
    assert_eq!(
        answer,
        json!({
            "KeyId": arn(&id),
            "PublicKey": answer["PublicKey"],
            "KeySpec": "ECC_NIST_P256",
            "CustomerMasterKeySpec": "ECC_NIST_P256",
            "KeyUsage": "SIGN_VERIFY",
            "SigningAlgorithms": ["ECDSA_SHA_256"],
        })
    );
    // RFC 5480: id-ecPublicKey, prime256v1, uncompressed point.
    let spki = bytes(&answer["PublicKey"]);
    assert_eq!(spki.len(), 91);
    assert_eq!(spki[..4], [0x30, 0x59, 0x30, 0x13]);
    assert_eq!(spki[26], 0x04);
}

#[tokio::test]
async fn a_mac_verifies_only_in_full() {
    let rig = Rig::new().await;
    let (id, other) = (rig.create("HMAC_256").await, rig.create("HMAC_256").await);
    let generate = json!({ "KeyId": id, "Message": b64("x"), "MacAlgorithm": "HMAC_SHA_256" });
    let made = rig.ok("GenerateMac", generate).await;
    let mac = bytes(&made["Mac"]);
    assert_eq!(mac.len(), 32);
    assert_eq!(made["KeyId"], json!(arn(&id)));
    let verify = |key: &str, message: &str, mac: &[u8]| {
        json!({ "KeyId": key, "Message": b64(message), "MacAlgorithm": "HMAC_SHA_256",
                "Mac": b64(mac) })
    };
    assert_eq!(
        rig.ok("VerifyMac", verify(&id, "x", &mac)).await,
        json!({ "KeyId": arn(&id), "MacValid": true, "MacAlgorithm": "HMAC_SHA_256" })
    );
    let mut flipped = mac.clone();
    flipped[31] ^= 1;
    for input in [
        verify(&other, "x", &mac),
        verify(&id, "y", &mac),
        verify(&id, "x", &flipped),
        verify(&id, "x", &mac[..31]),
        verify(&id, "x", &[mac.as_slice(), &[0]].concat()),
    ] {
        assert_eq!(rig.refusal("VerifyMac", input).await, "KMSInvalidMacException");
    }
}

/// Every cryptographic operation with every wrong kind of key.
#[tokio::test]
async fn keys_are_not_confused() {
    let rig = Rig::new().await;
    let specs = ["SYMMETRIC_DEFAULT", "ECC_NIST_P256", "HMAC_256"];
    let x = b64("x");
    for spec in specs {
        let id = rig.create(spec).await;
        for (right, operation, rest) in [
            (specs[0], "Encrypt", json!({ "Plaintext": x })),
            (specs[0], "GenerateDataKey", json!({ "KeySpec": "AES_256" })),
            (specs[0], "GenerateDataKeyWithoutPlaintext", json!({ "KeySpec": "AES_256" })),
            (specs[1], "Sign", json!({ "Message": x, "SigningAlgorithm": "ECDSA_SHA_256" })),
            (
                specs[1],
                "Verify",
                json!({ "Message": x, "Signature": x, "SigningAlgorithm": "ECDSA_SHA_256" }),
            ),
            (specs[2], "GenerateMac", json!({ "Message": x, "MacAlgorithm": "HMAC_SHA_256" })),
            (
                specs[2],
                "VerifyMac",
                json!({ "Message": x, "Mac": x, "MacAlgorithm": "HMAC_SHA_256" }),
            ),
        ] {
            let mut input = rest;
            input["KeyId"] = json!(id);
            let code = rig.call(operation, input).await.err().map(|error| error.code());
            let confused = code == Some("InvalidKeyUsageException");
            assert_eq!(confused, right != spec, "{operation} with {spec}: {code:?}");
        }
    }
}
