//! What condition keys say about the use of keys.

use hsm_protocol::command::attest::Measured;
use serde_json::{Value, json};

use super::super::rig::{ACCOUNT, REGION, arn, b64};
use super::requests::{DOCUMENT, PCR0, recipient, rig, with};
use super::{absent, allows, any, check, decide, flag, identity, is, user};
use kms_base::hex;

const RED: &str = "alias/red";

#[tokio::test]
async fn cryptography_tells_its_parameters() {
    let rig = rig().await;
    let key = rig.create("SYMMETRIC_DEFAULT").await;
    let blob = rig.ok("Encrypt", json!({ "KeyId": key, "Plaintext": b64("x") })).await;
    let dry = |more: Value| with(&json!({ "KeyId": key, "DryRun": true }), more);
    for (operation, input) in [
        ("Encrypt", json!({ "Plaintext": b64("x") })),
        ("Decrypt", json!({ "CiphertextBlob": blob["CiphertextBlob"] })),
        ("GenerateDataKey", json!({ "KeySpec": "AES_256" })),
        ("GenerateDataKeyWithoutPlaintext", json!({ "KeySpec": "AES_256" })),
        ("GenerateDataKeyPair", json!({ "KeyPairSpec": "ECC_NIST_P256" })),
        ("GenerateDataKeyPairWithoutPlaintext", json!({ "KeyPairSpec": "ECC_NIST_P256" })),
    ] {
        let mut conditions = vec![
            is("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_256"),
            absent("kms:EncryptionContextKeys"),
            absent("kms:RecipientAttestation:ImageSha384"),
        ];
        if operation.contains("Pair") {
            conditions.push(is("kms:DataKeyPairSpec", "ECC_NIST_P256", "RSA_2048"));
        }
        check(&rig, operation, &dry(input), conditions).await;
    }
    let signer = rig.create("ECC_NIST_P256").await;
    let sign = json!({ "KeyId": signer, "DryRun": true, "Message": b64([0; 32]),
        "SigningAlgorithm": "ECDSA_SHA_256" });
    let mut conditions = vec![is("kms:SigningAlgorithm", "ECDSA_SHA_256", "ECDSA_SHA_512")];
    conditions.push(is("kms:MessageType", "RAW", "DIGEST"));
    check(&rig, "Sign", &sign, conditions.clone()).await;
    check(&rig, "Verify", &with(&sign, json!({ "Signature": b64("x") })), conditions).await;
    let digest = with(&sign, json!({ "MessageType": "DIGEST" }));
    check(&rig, "Sign", &digest, vec![is("kms:MessageType", "DIGEST", "RAW")]).await;
}

#[tokio::test]
async fn keys_are_known_by_their_aliases() {
    let rig = rig().await;
    let key = rig.create("SYMMETRIC_DEFAULT").await;
    let alias = |name: &str| json!({ "AliasName": name, "TargetKeyId": key });
    rig.ok("CreateAlias", alias(RED)).await;
    rig.ok("CreateAlias", alias("alias/second")).await;
    let encrypt = |name: &str| json!({ "KeyId": name, "Plaintext": b64("x"), "DryRun": true });
    let named = vec![is("kms:RequestAlias", RED, "alias/second")];
    check(&rig, "Encrypt", &encrypt(RED), named.clone()).await;
    let full = format!("arn:aws:kms:{REGION}:{ACCOUNT}:{RED}");
    check(&rig, "Encrypt", &encrypt(&full), named.clone()).await;
    check(&rig, "DescribeKey", &json!({ "KeyId": RED }), named).await;
    check(&rig, "Encrypt", &encrypt(&arn(&key)), vec![absent("kms:RequestAlias")]).await;

    let has = || vec![any("kms:ResourceAliases", RED, "alias/third")];
    check(&rig, "Encrypt", &encrypt(&key), has()).await;
    check(&rig, "GetKeyPolicy", &json!({ "KeyId": key }), has()).await;
    // What has changed counts at once.
    rig.ok("DeleteAlias", json!({ "AliasName": RED })).await;
    let request = rig.request(user());
    let (input, condition) = (encrypt(&key), json!([RED]));
    let condition = ("ForAnyValue:StringEquals", "kms:ResourceAliases", &condition);
    assert!(!allows(&rig, &request, ("Encrypt", "Encrypt", &input), condition).await);
    let put = json!({ "KeyId": key, "Policy":
        rig.ok("GetKeyPolicy", json!({ "KeyId": key })).await["Policy"] });
    let other = vec![any("kms:ResourceAliases", "alias/second", RED)];
    check(&rig, "PutKeyPolicy", &put, other).await;
}

#[tokio::test]
async fn re_encryption_tells_whether_it_stays_with_the_key() {
    let rig = rig().await;
    let (key, other) =
        (rig.create("SYMMETRIC_DEFAULT").await, rig.create("SYMMETRIC_DEFAULT").await);
    rig.ok("CreateAlias", json!({ "AliasName": RED, "TargetKeyId": key })).await;
    let blob = rig.ok("Encrypt", json!({ "KeyId": key, "Plaintext": b64("x") })).await;
    let to = |destination: &str| {
        json!({ "CiphertextBlob": blob["CiphertextBlob"],
        "DestinationKeyId": destination, "DryRun": true })
    };
    for (destination, same) in [(key.as_str(), true), (RED, true), (other.as_str(), false)] {
        for action in ["ReEncryptFrom", "ReEncryptTo"] {
            let condition = flag("kms:ReEncryptOnSameKey", same);
            decide(&rig, action, "ReEncrypt", to(destination), condition).await;
        }
    }
    // What is wrong with the destination is told to whoever may use the source.
    let policies = identity(&json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*",
        "Condition": { "Bool": { "kms:ReEncryptOnSameKey": "true" } } }));
    let request = rig.request(user());
    let refused = rig.limited(&policies, &request, "ReEncrypt", &to("alias/none")).await;
    assert!(refused.unwrap_err().starts_with("AccessDenied"));
    assert_eq!(rig.refused("ReEncrypt", to("alias/none")).await, "NotFoundException");
}

#[tokio::test]
async fn only_measurements_that_were_verified_count() {
    let rig = rig().await;
    let key = rig.create("SYMMETRIC_DEFAULT").await;
    let own = hex::encode(&PCR0);
    let (own, wrong) = (own.as_str(), "00");
    let base = json!({ "KeyId": key, "KeySpec": "AES_256", "DryRun": true });
    let attested = with(&base, json!({ "Recipient": recipient() }));
    let of_enclave = vec![
        is("kms:RecipientAttestation:ImageSha384", own, wrong),
        is("kms:RecipientAttestation:PCR0", own, wrong),
        ("StringEquals", "kms:RecipientAttestation:pcr4", json!("0f".repeat(48)), json!(own)),
        absent("kms:RecipientAttestation:PCR1"),
        absent("kms:RecipientAttestation:PCR00"),
        absent("kms:RecipientAttestation:PCR256"),
        absent("kms:RecipientAttestation:NitroTPMPCR0"),
    ];
    check(&rig, "GenerateDataKey", &attested, of_enclave).await;
    let random =
        json!({ "NumberOfBytes": 1, "Recipient": recipient(), "CustomKeyStoreId": "cks-1" });
    let condition = is("kms:RecipientAttestation:PCR0", own, wrong);
    check(&rig, "GenerateRandom", &random, vec![condition]).await;

    let engine = rig.service.regions().engine(REGION).unwrap();
    engine.believe(b"of a TPM", Measured::NitroTpm, vec![(7, PCR0.to_vec())]);
    let mut of_tpm = attested.clone();
    of_tpm["Recipient"]["AttestationDocument"] = json!(b64("of a TPM"));
    let conditions = vec![
        is("kms:RecipientAttestation:NitroTPMPCR7", own, wrong),
        absent("kms:RecipientAttestation:PCR7"),
        absent("kms:RecipientAttestation:ImageSha384"),
    ];
    check(&rig, "GenerateDataKey", &of_tpm, conditions).await;

    // One that no device believes ends the request, whatever it says.
    let mut forged = attested;
    forged["Recipient"]["AttestationDocument"] = json!(b64([DOCUMENT, b"x"].concat()));
    for (operation, input) in [
        ("GenerateDataKey", forged.clone()),
        ("GenerateRandom", json!({ "NumberOfBytes": 1, "Recipient": forged["Recipient"] })),
    ] {
        assert_eq!(rig.refused(operation, input).await, "ValidationException");
    }
}
