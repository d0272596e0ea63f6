//! Imported key material.

use serde_json::{Value, json};

use super::Rig;
use crate::api::tests::device::REGIONS;
use crate::api::tests::import::{external, wrapped};
use crate::api::tests::rig::arn;

const START: f64 = 1_800_000_000.0;
const DAY: f64 = 86_400.0;
const UNEXPECTED: &str = "IncorrectKeyMaterialException: Imported key material does not have the \
                          expected identifier (ID).";

fn with(mut input: Value, members: &[(&str, Value)]) -> Value {
    for (name, value) in members {
        input[*name] = value.clone();
    }
    input
}

#[tokio::test]
async fn dates_and_models() {
    let rig = Rig::new().await;
    let id = external(&rig, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let import = wrapped(&rig, &id, &[1; 32]).await;
    let (expires, never) = (json!("KEY_MATERIAL_EXPIRES"), json!("KEY_MATERIAL_DOES_NOT_EXPIRE"));
    for (model, valid_to, expected) in [
        (
            &expires,
            Value::Null,
            "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES",
        ),
        (
            &never,
            json!(START + DAY),
            "A validTo date cannot be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE",
        ),
        (&expires, json!(START - 1.0), "ValidTo must be in the future"),
        (&expires, json!(START + 366.0 * DAY), "ValidTo must be less than 365 days in the future"),
    ] {
        let members = [("ExpirationModel", model.clone()), ("ValidTo", valid_to)];
        let input = with(import.clone(), &members);
        rig.says("ImportKeyMaterial", input, &format!("ValidationException: {expected}")).await;
    }
}

#[tokio::test]
async fn only_symmetric_keys_have_several() {
    let rig = Rig::new().await;
    let id = external(&rig, "HMAC_224", "GENERATE_VERIFY_MAC").await;
    let import = wrapped(&rig, &id, &[1; 28]).await;
    for (member, value, name) in [
        ("ImportType", json!("NEW_KEY_MATERIAL"), "importType"),
        ("KeyMaterialId", json!("0".repeat(64)), "keyMaterialId"),
        ("KeyMaterialDescription", json!("d"), "keyMaterialDescription"),
    ] {
        let expected = format!(
            "ValidationException: Input parameter {name} cannot be used with HMAC_224 imported \
             keys."
        );
        let input = with(import.clone(), &[(member, value)]);
        rig.says("ImportKeyMaterial", input, &expected).await;
    }
    let answer = rig.ok("ImportKeyMaterial", import).await;
    assert_eq!(answer, json!({ "KeyId": arn(&id) }), "its material has no name");
    let answer = rig.ok("DeleteImportedKeyMaterial", json!({ "KeyId": id })).await;
    assert_eq!(answer, json!({ "KeyId": arn(&id) }));
}

#[tokio::test]
async fn which_material_it_is() {
    let rig = Rig::new().await;
    let id = external(&rig, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let new = ("ImportType", json!("NEW_KEY_MATERIAL"));
    let first = rig.ok("ImportKeyMaterial", wrapped(&rig, &id, &[1; 32]).await).await;
    let none = format!(
        "KMSInvalidStateException: No available key material pending rotation for the key: {}.",
        arn(&id)
    );
    rig.says("RotateKeyOnDemand", json!({ "KeyId": id }), &none).await;

    let other = wrapped(&rig, &id, &[2; 32]).await;
    rig.says("ImportKeyMaterial", other.clone(), UNEXPECTED).await;
    let named = ("KeyMaterialId", first["KeyMaterialId"].clone());
    rig.says("ImportKeyMaterial", with(other.clone(), std::slice::from_ref(&named)), UNEXPECTED)
        .await;
    rig.says(
        "ImportKeyMaterial",
        with(other.clone(), &[new.clone(), named]),
        "ValidationException: Input parameter keyMaterialId cannot be used with NEW_KEY_MATERIAL \
         importType.",
    )
    .await;
    let known = |id_of: &Value| {
        let id_of = id_of.as_str().unwrap();
        format!(
            "IncorrectKeyMaterialException: Key material (id: {id_of}) being imported as \
             NEW_KEY_MATERIAL is already associated with KMS key {}.",
            arn(&id)
        )
    };
    let again = with(wrapped(&rig, &id, &[1; 32]).await, std::slice::from_ref(&new));
    rig.says("ImportKeyMaterial", again, &known(&first["KeyMaterialId"])).await;
    let second = rig.ok("ImportKeyMaterial", with(other.clone(), std::slice::from_ref(&new))).await;
    let again = with(other, std::slice::from_ref(&new));
    rig.says("ImportKeyMaterial", again, &known(&second["KeyMaterialId"])).await;

    // The id of the third is known once it can be imported.
    let third = with(wrapped(&rig, &id, &[3; 32]).await, &[new]);
    let refusal = rig.refusal("ImportKeyMaterial", third.clone()).await;
    rig.ok("RotateKeyOnDemand", json!({ "KeyId": id })).await;
    let third = rig.ok("ImportKeyMaterial", third).await;
    assert_eq!(
        refusal,
        format!(
            "KMSInvalidStateException: New key material (id: {}) cannot be imported into KMS key \
             {}, because another key material (id: {}) is pending rotation.",
            third["KeyMaterialId"].as_str().unwrap(),
            arn(&id),
            second["KeyMaterialId"].as_str().unwrap()
        )
    );

    let never = "0".repeat(64);
    let expected = format!(
        "ValidationException: Key material (id: {never}) has never been imported into KMS key {}.",
        arn(&id)
    );
    let input = json!({ "KeyId": id, "KeyMaterialId": never });
    rig.says("DeleteImportedKeyMaterial", input, &expected).await;
    rig.says("ImportKeyMaterial", wrapped(&rig, &id, &[1; 31]).await, "InvalidCiphertextException")
        .await;
}

#[tokio::test]
async fn replicas_take_what_their_primary_has() {
    let east = Rig::with_regions(2).await;
    let west = east.in_region(REGIONS[1]);
    let input = json!({ "MultiRegion": true, "Origin": "EXTERNAL" });
    let made = east.ok("CreateKey", input).await;
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    east.ok("ImportKeyMaterial", wrapped(&east, id, &[1; 32]).await).await;
    east.ok("ReplicateKey", json!({ "KeyId": id, "ReplicaRegion": REGIONS[1] })).await;
    let import = wrapped(&west, id, &[1; 32]).await;
    west.says(
        "ImportKeyMaterial",
        with(import.clone(), &[("ImportType", json!("NEW_KEY_MATERIAL"))]),
        "ValidationException: Input parameter ImportType NEW_KEY_MATERIAL cannot be used on \
         replica Multi-Region keys",
    )
    .await;
    west.says(
        "ImportKeyMaterial",
        with(import.clone(), &[("KeyMaterialDescription", json!("d"))]),
        "ValidationException: Key material description can only be specified on primary \
         Multi-Region keys",
    )
    .await;
    west.ok("ImportKeyMaterial", import).await;
    let second = wrapped(&east, id, &[2; 32]).await;
    east.ok("ImportKeyMaterial", with(second, &[("ImportType", json!("NEW_KEY_MATERIAL"))])).await;
    east.says(
        "RotateKeyOnDemand",
        json!({ "KeyId": id }),
        "KMSInvalidStateException: Cannot perform key material rotation: Key material has not \
         been imported for replicas of the Multi-Region key.",
    )
    .await;
}

#[tokio::test]
async fn what_can_wrap_what() {
    let rig = Rig::new().await;
    for (key, usage, algorithm, wrapping, fits) in [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "RSAES_OAEP_SHA_256", "RSA_2048", true),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "RSAES_PKCS1_V1_5", "RSA_2048", false),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048", false),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "RSA_AES_KEY_WRAP_SHA_1", "RSA_2048", false),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "RSAES_OAEP_SHA_1", "RSA_2048", true),
        ("RSA_2048", "SIGN_VERIFY", "RSAES_OAEP_SHA_256", "RSA_2048", false),
        ("RSA_2048", "SIGN_VERIFY", "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048", true),
        ("ECC_NIST_P521", "SIGN_VERIFY", "RSAES_OAEP_SHA_256", "RSA_2048", false),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "RSAES_OAEP_SHA_256", "RSA_2048", false),
        ("ECC_NIST_P256", "SIGN_VERIFY", "RSAES_OAEP_SHA_256", "RSA_2048", true),
        ("ECC_NIST_P384", "SIGN_VERIFY", "RSAES_OAEP_SHA_256", "RSA_2048", true),
    ] {
        let id = external(&rig, key, usage).await;
        let input =
            json!({ "KeyId": id, "WrappingAlgorithm": algorithm, "WrappingKeySpec": wrapping });
        let outcome = rig.call("GetParametersForImport", input).await;
        let expected = format!(
            "ValidationException: Wrapping algorithm {algorithm} and wrapping key spec {wrapping} \
             cannot be used to import a {key} key."
        );
        match outcome {
            Ok(answer) => assert!(fits, "{key} {algorithm}: {answer}"),
            Err(error) => assert_eq!((fits, error.to_string()), (false, expected)),
        }
    }
}
