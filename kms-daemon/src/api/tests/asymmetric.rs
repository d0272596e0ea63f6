//! Encrypt, Decrypt and ReEncrypt with RSA keys, and signatures of every algorithm.

use hsm_protocol::key_spec::KEY_SPECS;
use serde_json::{Value, json};

use super::Rig;
use super::rig::{arn, b64, bytes};

const SHA_1: &str = "RSAES_OAEP_SHA_1";
const SHA_256: &str = "RSAES_OAEP_SHA_256";

fn encrypt(id: &str, algorithm: &str, plaintext: &[u8]) -> Value {
    json!({ "KeyId": id, "EncryptionAlgorithm": algorithm, "Plaintext": b64(plaintext) })
}

fn decrypt(id: &str, algorithm: &str, blob: &Value) -> Value {
    json!({ "KeyId": id, "EncryptionAlgorithm": algorithm, "CiphertextBlob": blob })
}

#[tokio::test]
async fn rsa_keys_encrypt() {
    let rig = Rig::new().await;
    let id = rig.create("RSA_2048").await;
    for (algorithm, max) in [(SHA_1, 214), (SHA_256, 190)] {
        let plaintext = vec![7; max];
        let made = rig.ok("Encrypt", encrypt(&id, algorithm, &plaintext)).await;
        let blob = &made["CiphertextBlob"];
        assert_eq!(
            made,
            json!({ "CiphertextBlob": blob, "KeyId": arn(&id), "EncryptionAlgorithm": algorithm })
        );
        assert_eq!(bytes(blob).len(), 256);
        assert_eq!(
            rig.ok("Decrypt", decrypt(&id, algorithm, blob)).await,
            json!({ "Plaintext": b64(&plaintext), "KeyId": arn(&id),
                    "EncryptionAlgorithm": algorithm })
        );
        assert_eq!(
            rig.refusal("Encrypt", encrypt(&id, algorithm, &vec![7; max + 1])).await,
            format!(
                "ValidationException: Algorithm {algorithm} and key spec RSA_2048 cannot encrypt \
                 data larger than {max} bytes."
            )
        );

        let other = if algorithm == SHA_1 { SHA_256 } else { SHA_1 };
        let mut flipped = bytes(blob);
        flipped[255] ^= 1;
        for input in [
            decrypt(&id, other, blob),
            decrypt(&id, algorithm, &json!(b64(flipped))),
            decrypt(&id, algorithm, &json!(b64([1]))),
            decrypt(&id, algorithm, &json!(b64(vec![0xff; 256]))),
            decrypt(&id, algorithm, &json!(b64(vec![1; 257]))),
        ] {
            assert_eq!(rig.refusal("Decrypt", input).await, "InvalidCiphertextException");
        }
    }
    let input = json!({ "KeyId": id, "Plaintext": b64("x") });
    assert_eq!(rig.refused("Encrypt", input).await, "InvalidKeyUsageException");
    let mut context = encrypt(&id, SHA_256, b"x");
    context["EncryptionContext"] = json!({ "a": "b" });
    assert_eq!(rig.refused("Encrypt", context).await, "ValidationException");
    let unnamed = json!({ "EncryptionAlgorithm": SHA_256, "CiphertextBlob": b64([1; 256]) });
    assert_eq!(rig.refused("Decrypt", unnamed).await, "ValidationException");
    let data_key = json!({ "KeyId": id, "KeySpec": "AES_256" });
    assert_eq!(rig.refused("GenerateDataKey", data_key).await, "InvalidKeyUsageException");
}

#[tokio::test]
async fn ciphertexts_move_between_kinds_of_keys() {
    let rig = Rig::new().await;
    let (rsa, aes) = (rig.create("RSA_2048").await, rig.create("SYMMETRIC_DEFAULT").await);
    let made = rig.ok("Encrypt", encrypt(&rsa, SHA_256, b"secret")).await;
    let to_aes = json!({
        "CiphertextBlob": made["CiphertextBlob"],
        "SourceKeyId": rsa,
        "SourceEncryptionAlgorithm": SHA_256,
        "DestinationKeyId": aes,
        "DestinationEncryptionContext": { "a": "b" },
    });
    let moved = rig.ok("ReEncrypt", to_aes.clone()).await;
    let expected = json!({
        "CiphertextBlob": moved["CiphertextBlob"],
        "SourceKeyId": arn(&rsa),
        "KeyId": arn(&aes),
        "SourceEncryptionAlgorithm": SHA_256,
        "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "DestinationKeyMaterialId": moved["DestinationKeyMaterialId"],
    });
    assert_eq!(moved, expected);
    let input = json!({ "CiphertextBlob": moved["CiphertextBlob"],
                        "EncryptionContext": { "a": "b" } });
    assert_eq!(rig.ok("Decrypt", input).await["Plaintext"], json!(b64("secret")));

    let to_rsa = json!({
        "CiphertextBlob": moved["CiphertextBlob"],
        "SourceEncryptionContext": { "a": "b" },
        "DestinationKeyId": rsa,
        "DestinationEncryptionAlgorithm": SHA_1,
    });
    let back = rig.ok("ReEncrypt", to_rsa).await;
    assert_eq!(back["SourceKeyMaterialId"], moved["DestinationKeyMaterialId"]);
    assert_eq!(back.get("DestinationKeyMaterialId"), None);
    let input = decrypt(&rsa, SHA_1, &back["CiphertextBlob"]);
    assert_eq!(rig.ok("Decrypt", input).await["Plaintext"], json!(b64("secret")));

    let mut unnamed = to_aes;
    unnamed["SourceKeyId"] = Value::Null;
    assert_eq!(rig.refused("ReEncrypt", unnamed).await, "ValidationException");
    let long = rig.ok("Encrypt", json!({ "KeyId": aes, "Plaintext": b64([1; 215]) })).await;
    let too_long = json!({
        "CiphertextBlob": long["CiphertextBlob"],
        "DestinationKeyId": rsa,
        "DestinationEncryptionAlgorithm": SHA_1,
    });
    assert_eq!(rig.refused("ReEncrypt", too_long).await, "ValidationException");
}

#[tokio::test]
async fn every_signing_algorithm_signs_and_verifies() {
    let rig = Rig::new().await;
    let rows = KEY_SPECS.iter().filter(|row| !row.signing_algorithms.is_empty());
    for row in rows.filter(|row| !row.slow || row.spec.aws_name() == Some("RSA_2048")) {
        let spec = row.spec.aws_name().unwrap();
        let id = rig.create_for(spec, "SIGN_VERIFY").await;
        for algorithm in row.signing_algorithms {
            let algorithm = algorithm.aws_name().unwrap();
            let digest = match algorithm.rsplit('_').next() {
                Some("384") => 48,
                Some("512") => 64,
                _ => 32,
            };
            let forms = match algorithm {
                "ED25519_SHA_512" => vec![("RAW", 9)],
                "ED25519_PH_SHA_512" => vec![("DIGEST", 64)],
                "ML_DSA_SHAKE_256" => vec![("RAW", 4096), ("EXTERNAL_MU", 64)],
                _ => vec![("RAW", 4096), ("DIGEST", digest)],
            };
            for (form, length) in forms {
                let mut input = json!({ "KeyId": id, "SigningAlgorithm": algorithm,
                                        "MessageType": form, "Message": b64(vec![5; length]) });
                let signed = rig.ok("Sign", input.clone()).await;
                input["Signature"] = signed["Signature"].clone();
                let verified = rig.ok("Verify", input.clone()).await;
                assert_eq!(verified["SignatureValid"], json!(true), "{spec} {algorithm} {form}");
                input["Message"] = json!(b64(vec![6; length]));
                let refusal = rig.refused("Verify", input).await;
                assert_eq!(refusal, "KMSInvalidSignatureException", "{spec} {algorithm} {form}");
            }
        }
    }
}
