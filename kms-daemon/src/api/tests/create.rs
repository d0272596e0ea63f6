//! CreateKey and DescribeKey.

use hsm_protocol::key_spec::{KEY_SPECS, KeySpec, KeySpecRow, KeyUsage};
use serde_json::{Value, json};

use super::Rig;
use super::rig::{ACCOUNT, arn, bytes};

/// The metadata member that lists the algorithms of a row's usage, and their names.
fn listed(row: &KeySpecRow, usage: KeyUsage) -> (&'static str, Vec<&'static str>) {
    let rsa = |row: &KeySpecRow| row.slow;
    match usage {
        KeyUsage::ENCRYPT_DECRYPT if rsa(row) => {
            ("EncryptionAlgorithms", vec!["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
        }
        KeyUsage::ENCRYPT_DECRYPT => ("EncryptionAlgorithms", vec!["SYMMETRIC_DEFAULT"]),
        KeyUsage::SIGN_VERIFY => {
            let names = row.signing_algorithms.iter().map(|name| name.aws_name().unwrap());
            ("SigningAlgorithms", names.collect())
        }
        KeyUsage::GENERATE_VERIFY_MAC => {
            ("MacAlgorithms", vec![row.mac_algorithms[0].aws_name().unwrap()])
        }
        KeyUsage::KEY_AGREEMENT => ("KeyAgreementAlgorithms", vec!["ECDH"]),
        _ => ("EncapsulationAlgorithms", vec!["ML_KEM"]),
    }
}

#[tokio::test]
async fn metadata_has_exactly_the_members_of_its_kind() {
    let rig = Rig::new().await;
    // RSA_3072 and RSA_4096 differ from RSA_2048 by their names only, and take long.
    let rows = KEY_SPECS.iter().filter(|row| !row.slow || row.spec == KeySpec::RSA_2048);
    for (row, usage) in rows.flat_map(|row| row.usages.iter().map(move |usage| (row, *usage))) {
        let spec = row.spec.aws_name().unwrap();
        let input = json!({ "KeySpec": spec, "KeyUsage": usage.aws_name(), "Description": "d" });
        let created = rig.ok("CreateKey", input).await;
        let id = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let (list, algorithms) = listed(row, usage);
        let mut expected = json!({
            "AWSAccountId": ACCOUNT,
            "KeyId": id,
            "Arn": arn(&id),
            "CreationDate": 1_800_000_000.0,
            "Enabled": true,
            "Description": "d",
            "KeyUsage": usage.aws_name(),
            "KeyState": "Enabled",
            "Origin": "AWS_KMS",
            "KeyManager": "CUSTOMER",
            "KeySpec": spec,
            "CustomerMasterKeySpec": spec,
            "MultiRegion": false,
            list: algorithms,
        });
        if spec == "SYMMETRIC_DEFAULT" {
            let material = created["KeyMetadata"]["CurrentKeyMaterialId"].as_str().unwrap();
            assert!(material.len() == 64 && material.bytes().all(|b| b.is_ascii_hexdigit()));
            expected["CurrentKeyMaterialId"] = json!(material);
        }
        assert_eq!(created, json!({ "KeyMetadata": expected }));
        assert_eq!(rig.ok("DescribeKey", json!({ "KeyId": id })).await, created);

        let public = rig.call("GetPublicKey", json!({ "KeyId": id })).await;
        if row.public_size == 0 {
            assert_eq!(public.unwrap_err().code(), "UnsupportedOperationException");
            continue;
        }
        let public = public.unwrap();
        assert_eq!(bytes(&public["PublicKey"]).len(), row.public_size);
        for member in ["KeySpec", "KeyUsage", "CustomerMasterKeySpec", list] {
            assert_eq!(public.get(member), expected.get(member), "{spec} {member}");
        }
    }
}

#[tokio::test]
async fn the_default_is_a_symmetric_key_of_the_account() {
    let rig = Rig::new().await;
    let (created, facts) = rig.audited("CreateKey", json!({})).await;
    let metadata = created.unwrap()["KeyMetadata"].clone();
    assert_eq!(metadata["KeySpec"], json!("SYMMETRIC_DEFAULT"));
    let policy = rig.ok("GetKeyPolicy", json!({ "KeyId": metadata["KeyId"] })).await;
    assert_eq!(policy["PolicyName"], json!("default"));
    let policy: Value = serde_json::from_str(policy["Policy"].as_str().unwrap()).unwrap();
    assert_eq!(policy["Id"], json!("key-default-1"));
    assert_eq!(
        policy["Statement"][0]["Principal"],
        json!({ "AWS": format!("arn:aws:iam::{ACCOUNT}:root") })
    );
    let parameters = Value::Object(facts.request_parameters.unwrap());
    assert_eq!(
        parameters,
        json!({
            "description": "",
            "origin": "AWS_KMS",
            "keySpec": "SYMMETRIC_DEFAULT",
            "customerMasterKeySpec": "SYMMETRIC_DEFAULT",
            "keyUsage": "ENCRYPT_DECRYPT",
            "bypassPolicyLockoutSafetyCheck": false,
            "multiRegion": false,
        })
    );
    let elements = facts.response_elements.unwrap();
    assert_eq!(elements["keyMetadata"]["keyId"], metadata["KeyId"]);
    assert_eq!(facts.resources[0].arn, metadata["Arn"].as_str().unwrap());
    assert_eq!(facts.receipts.len(), 1);
}

#[tokio::test]
async fn the_deprecated_spec_still_works_but_not_with_its_twin() {
    let rig = Rig::new().await;
    let old = json!({ "CustomerMasterKeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC" });
    assert_eq!(rig.ok("CreateKey", old).await["KeyMetadata"]["KeySpec"], json!("HMAC_256"));
    let both =
        json!({ "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeySpec": "SYMMETRIC_DEFAULT" });
    assert_eq!(rig.refused("CreateKey", both).await, "ValidationException");
}

#[tokio::test]
async fn usage_must_be_given_and_fit() {
    let rig = Rig::new().await;
    for spec in ["HMAC_256", "ECC_NIST_P256", "RSA_2048"] {
        let refusal = rig.refusal("CreateKey", json!({ "KeySpec": spec })).await;
        assert!(
            refusal.starts_with("ValidationException: You must specify a KeyUsage"),
            "{refusal}"
        );
    }
    let misfit = json!({ "KeySpec": "HMAC_256", "KeyUsage": "SIGN_VERIFY" });
    assert_eq!(
        rig.refusal("CreateKey", misfit).await,
        "ValidationException: KeyUsage SIGN_VERIFY is not compatible with KeySpec HMAC_256"
    );
}

#[tokio::test]
async fn what_the_api_has_and_this_service_has_not() {
    let rig = Rig::new().await;
    let input = json!({ "KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY" });
    let refusal = rig.refusal("CreateKey", input).await;
    assert!(refusal.starts_with("UnsupportedOperationException: "), "{refusal}");
    assert!(refusal.ends_with(" is not supported by this service."), "{refusal}");
    let unknown = json!({ "KeySpec": "AES_512" });
    let refusal = rig.refusal("CreateKey", unknown).await;
    assert!(refusal.starts_with(
        "ValidationException: 1 validation error detected: Value 'AES_512' at 'keySpec' failed \
         to satisfy constraint: Member must satisfy enum value set: [RSA_2048, "
    ));
}

#[tokio::test]
async fn descriptions_have_a_length() {
    let rig = Rig::new().await;
    rig.ok("CreateKey", json!({ "Description": "x".repeat(8192) })).await;
    let long = json!({ "Description": "x".repeat(8193) });
    assert_eq!(rig.refused("CreateKey", long).await, "ValidationException");
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("UpdateKeyDescription", json!({ "KeyId": id, "Description": "new" })).await;
    let described = rig.ok("DescribeKey", json!({ "KeyId": id })).await;
    assert_eq!(described["KeyMetadata"]["Description"], json!("new"));
    rig.ok("UpdateKeyDescription", json!({ "KeyId": id, "Description": "" })).await;
    let absent = json!({ "KeyId": id });
    assert_eq!(rig.refused("UpdateKeyDescription", absent).await, "ValidationException");
}
