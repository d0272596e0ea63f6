//! A request for every action, once with every parameter and once with only the required ones.

use hsm_protocol::command::attest::Measured;
use serde_json::{Value, json};

use super::super::Rig;
use super::super::rig::{ACCOUNT, REGION, arn, b64};
use crate::api::tests::device::REGIONS;

/// A document that the rig's service accepts, of an enclave whose register 0 is [`PCR0`].
pub(super) const DOCUMENT: &[u8] = b"an attestation document";
pub(super) const PCR0: [u8; 48] = [0xa5; 48];

/// The requests that need an action.
pub(super) struct Asked {
    pub(super) rig: Rig,
    pub(super) operation: &'static str,
    /// With every parameter that condition keys read.
    pub(super) full: Value,
    /// With the required parameters only.
    pub(super) bare: Value,
}

pub(super) fn recipient() -> Value {
    json!({ "AttestationDocument": b64(DOCUMENT), "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256" })
}

/// Makes a rig that accepts [`DOCUMENT`].
pub(super) async fn rig() -> Rig {
    let rig = Rig::with_regions(2).await;
    let pcrs = vec![(0, PCR0.to_vec()), (4, vec![0x0f; 48])];
    let engine = rig.service.regions().engine(REGION).unwrap();
    engine.believe(DOCUMENT, Measured::Enclave, pcrs);
    rig
}

/// Makes a multi-Region key with a tag and an alias.
async fn make(rig: &Rig, input: Value) -> String {
    let tags = json!([{ "TagKey": "team", "TagValue": "red" }]);
    let made = rig.ok("CreateKey", with(&input, json!({ "MultiRegion": true, "Tags": tags })));
    let id = made.await["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    rig.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })).await;
    id
}

/// Returns `base` with the members of `more`.
pub(super) fn with(base: &Value, more: Value) -> Value {
    let mut all = base.clone();
    let Value::Object(more) = more else { panic!("{more}") };
    all.as_object_mut().unwrap().extend(more);
    all
}

fn kind(action: &str) -> (&'static str, &'static str) {
    match action {
        "Sign" | "Verify" | "GetPublicKey" => ("ECC_NIST_P256", "SIGN_VERIFY"),
        "GenerateMac" | "VerifyMac" => ("HMAC_256", "GENERATE_VERIFY_MAC"),
        "DeriveSharedSecret" => ("ECC_NIST_P256", "KEY_AGREEMENT"),
        "Encapsulate" | "Decapsulate" => ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE"),
        _ => ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
    }
}

/// Returns requests that need `action`.
pub(super) async fn asking(action: &'static str) -> Asked {
    let rig = rig().await;
    let (operation, full, bare) = match action {
        "CreateKey" | "TagResourceOfNew" => {
            let tags = json!([{ "TagKey": "team", "TagValue": "red" }]);
            let bare = match action {
                "CreateKey" => json!({}),
                _ => json!({ "Tags": tags }),
            };
            let full = json!({ "Tags": tags, "MultiRegion": true,
                "BypassPolicyLockoutSafetyCheck": false });
            ("CreateKey", full, bare)
        }
        "ListKeys" | "ListAliases" | "DescribeCustomKeyStores" => (action, json!({}), json!({})),
        "GenerateRandom" => {
            let bare = json!({ "NumberOfBytes": 1 });
            // Detected before a device is asked to seal anything.
            let nowhere = json!({ "Recipient": recipient(), "CustomKeyStoreId": "cks-1234" });
            (action, with(&bare, nowhere), bare)
        }
        "ListRetirableGrants" => {
            let input = json!({ "RetiringPrincipal": format!("arn:aws:iam::{ACCOUNT}:root") });
            (action, input.clone(), input)
        }
        "ConnectCustomKeyStore"
        | "DeleteCustomKeyStore"
        | "DisconnectCustomKeyStore"
        | "UpdateCustomKeyStore" => {
            let input = json!({ "CustomKeyStoreId": "cks-1234" });
            (action, input.clone(), input)
        }
        "CreateCustomKeyStore" => {
            let input = json!({ "CustomKeyStoreName": "x", "CloudHsmClusterId":
                "cluster-1234567890a", "KeyStorePassword": "password1", "TrustAnchorCertificate":
                "x" });
            (action, input.clone(), input)
        }
        "GetParametersForImport" | "ImportKeyMaterial" | "DeleteImportedKeyMaterial" => {
            imported(&rig, action).await
        }
        _ => {
            let (spec, usage) = kind(action);
            let id = make(&rig, json!({ "KeySpec": spec, "KeyUsage": usage })).await;
            match is_cryptographic(action) {
                true => cryptographic(&rig, action, &id).await,
                false => managing(&rig, action, &id).await,
            }
        }
    };
    Asked { rig, operation, full, bare }
}

async fn imported(rig: &Rig, action: &'static str) -> (&'static str, Value, Value) {
    let id = make(rig, json!({ "Origin": "EXTERNAL" })).await;
    // Steps after the decision need not succeed, and generating wrapping keys takes long.
    let bare = match action {
        "GetParametersForImport" => json!({ "WrappingKeySpec": "SM2",
            "WrappingAlgorithm": "SM2PKE" }),
        "ImportKeyMaterial" => json!({ "ImportToken": b64("x"), "EncryptedKeyMaterial": b64("x"),
            "ValidTo": 1_800_086_400.0 }),
        _ => json!({}),
    };
    let bare = with(&bare, json!({ "KeyId": id }));
    let full = match action {
        "ImportKeyMaterial" => with(&bare, json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES" })),
        _ => bare.clone(),
    };
    (action, full, bare)
}

/// Whether `GetKeyLastUsage` counts the operation, or it is `DescribeKey` or `GetPublicKey`: these
/// operations take aliases.
pub(super) fn is_cryptographic(action: &str) -> bool {
    let operation = if action.starts_with("ReEncrypt") { "ReEncrypt" } else { action };
    ["DescribeKey", "GetPublicKey"].contains(&action)
        || kms_model::Operation::from_name(operation).is_some_and(|found| found.is_tracked())
}

async fn cryptographic(rig: &Rig, action: &'static str, id: &str) -> (&'static str, Value, Value) {
    let context = json!({ "Purpose": "test" });
    let blob = async |context: &Value| {
        let input = json!({ "KeyId": id, "Plaintext": b64("x"), "EncryptionContext": context });
        rig.ok("Encrypt", input).await["CiphertextBlob"].clone()
    };
    let given = match action {
        "Encrypt" => json!({ "Plaintext": b64("x") }),
        "Decrypt" => json!({ "CiphertextBlob": blob(&json!({})).await }),
        "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" => json!({ "KeySpec": "AES_256" }),
        "GenerateDataKeyPair" | "GenerateDataKeyPairWithoutPlaintext" => {
            json!({ "KeyPairSpec": "ECC_NIST_P256" })
        }
        "Sign" => json!({ "Message": b64("x"), "SigningAlgorithm": "ECDSA_SHA_256" }),
        "Verify" => json!({ "Message": b64("x"), "SigningAlgorithm": "ECDSA_SHA_256",
            "Signature": b64("x") }),
        "GenerateMac" => json!({ "Message": b64("x"), "MacAlgorithm": "HMAC_SHA_256" }),
        "VerifyMac" => json!({ "Message": b64("x"), "MacAlgorithm": "HMAC_SHA_256",
            "Mac": b64("x") }),
        "DeriveSharedSecret" => {
            // Detected before a device is asked to seal anything.
            json!({ "KeyAgreementAlgorithm": "ECDH", "PublicKey": b64([0; 1025]) })
        }
        "Encapsulate" => json!({ "EncapsulationAlgorithm": "ML_KEM" }),
        "Decapsulate" => json!({ "EncapsulationAlgorithm": "ML_KEM",
            "SharedSecretCiphertextBlob": b64("x") }),
        "ReEncryptFrom" | "ReEncryptTo" => {
            let bare = json!({ "CiphertextBlob": blob(&json!({})).await, "DestinationKeyId": id,
                "DryRun": true });
            let full = json!({ "CiphertextBlob": blob(&context).await, "DryRun": true,
                "SourceKeyId": "alias/a", "DestinationKeyId": "alias/a",
                "SourceEncryptionContext": context, "DestinationEncryptionContext": context });
            return ("ReEncrypt", full, bare);
        }
        _ => json!({}),
    };
    let dry = !["DescribeKey", "GetPublicKey"].contains(&action);
    let given = if dry { with(&given, json!({ "DryRun": true })) } else { given };
    let bare = with(&given, json!({ "KeyId": id }));
    let mut full =
        with(&given, json!({ "KeyId": format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/a") }));
    let symmetric = kind(action).0 == "SYMMETRIC_DEFAULT" && action != "DescribeKey";
    if symmetric {
        full = with(&full, json!({ "EncryptionContext": context }));
    }
    if ["Decrypt", "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair"].contains(&action)
    {
        full = with(&full, json!({ "Recipient": recipient() }));
    }
    if action == "Decrypt" {
        // With this no device is asked to seal anything.
        full = with(&full, json!({ "DryRunModifiers": ["IGNORE_CIPHERTEXT"] }));
    }
    (action, full, bare)
}

async fn managing(rig: &Rig, action: &'static str, id: &str) -> (&'static str, Value, Value) {
    let same = |input: Value| (action, input.clone(), input);
    let named = json!({ "KeyId": id });
    let tag = |name: &str| json!([{ "TagKey": name, "TagValue": "x" }]);
    match action {
        "CreateAlias" => same(json!({ "AliasName": "alias/b", "TargetKeyId": id })),
        "UpdateAlias" => same(json!({ "AliasName": "alias/a", "TargetKeyId": id })),
        "DeleteAlias" => {
            rig.ok("CreateAlias", json!({ "AliasName": "alias/b", "TargetKeyId": id })).await;
            (action, json!({ "AliasName": "alias/a" }), json!({ "AliasName": "alias/b" }))
        }
        "CancelKeyDeletion" => {
            rig.ok("ScheduleKeyDeletion", named.clone()).await;
            same(named)
        }
        "TagResource" => same(with(&named, json!({ "Tags": tag("team") }))),
        "UntagResource" => same(with(&named, json!({ "TagKeys": ["x"] }))),
        "UpdateKeyDescription" => same(with(&named, json!({ "Description": "" }))),
        "PutKeyPolicy" => {
            let policy = rig.ok("GetKeyPolicy", named.clone()).await["Policy"].clone();
            let bare = with(&named, json!({ "Policy": policy }));
            let full = json!({ "PolicyName": "default", "BypassPolicyLockoutSafetyCheck": true });
            (action, with(&bare, full), bare)
        }
        "CreateGrant" => {
            let bare = with(
                &named,
                json!({ "GranteePrincipal": ACCOUNT, "Operations":
                ["Encrypt"], "DryRun": true }),
            );
            let more = json!({ "RetiringPrincipal": ACCOUNT, "Constraints": {
                "EncryptionContextEquals": { "Purpose": "test" }, "SourceArn": arn(id) } });
            (action, with(&bare, more), bare)
        }
        "RetireGrant" | "RevokeGrant" => {
            let grant = async |constraints: Value| {
                let input = json!({ "KeyId": id, "GranteePrincipal": ACCOUNT, "Operations":
                    ["Encrypt"], "Constraints": constraints });
                let made = rig.ok("CreateGrant", input).await;
                json!({ "KeyId": arn(id), "GrantId": made["GrantId"], "DryRun": true })
            };
            let context = json!({ "EncryptionContextSubset": { "Purpose": "test" } });
            (action, grant(context).await, grant(Value::Null).await)
        }
        "ReplicateKey" | "CreateKeyOfReplica" => {
            let bare = with(&named, json!({ "ReplicaRegion": REGIONS[1] }));
            let full = json!({ "BypassPolicyLockoutSafetyCheck": false, "Tags": tag("team") });
            ("ReplicateKey", with(&bare, full), bare)
        }
        "UpdatePrimaryRegion" => {
            rig.ok(
                "ReplicateKey",
                with(
                    &named,
                    json!({ "ReplicaRegion": REGIONS[1], "Tags":
                tag("team") }),
                ),
            )
            .await;
            let there = rig.in_region(REGIONS[1]);
            there.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })).await;
            same(with(&named, json!({ "PrimaryRegion": REGIONS[1] })))
        }
        _ => same(named),
    }
}
