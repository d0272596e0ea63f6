//! Every operation in every key state: the published table, cell by cell.

use serde_json::{Value, json};

use super::Rig;
use super::device::REGIONS;
use super::import::wrapped;
use super::rig::{arn, b64};
use kms_model::state::KeyState;
use kms_model::state::KeyState::*;

/// What a cell of the table expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// Allowed.
    Ok,
    /// `DisabledException`.
    D,
    /// `KMSInvalidStateException`.
    S,
}
use Cell::{D, Ok as O, S};

/// The columns of the table.
const STATES: [KeyState; 8] = [
    Enabled,
    Disabled,
    PendingDeletion,
    PendingReplicaDeletion,
    PendingImport,
    Unavailable,
    Creating,
    Updating,
];

const USABLE: [Cell; 8] = [O, D, S, S, S, S, S, O];
const ANY: [Cell; 8] = [O; 8];
const NOT_PENDING_DELETION: [Cell; 8] = [O, O, S, S, O, O, O, O];
const SWITCH: [Cell; 8] = [O, O, S, S, S, O, S, S];

/// Key spec, operation, cells.
const TABLE: &[(&str, &str, [Cell; 8])] = &[
    ("SYMMETRIC_DEFAULT", "Encrypt", USABLE),
    ("SYMMETRIC_DEFAULT", "Decrypt", USABLE),
    ("SYMMETRIC_DEFAULT", "ReEncrypt", USABLE),
    ("SYMMETRIC_DEFAULT", "GenerateDataKey", USABLE),
    ("SYMMETRIC_DEFAULT", "GenerateDataKeyWithoutPlaintext", USABLE),
    ("SYMMETRIC_DEFAULT", "GenerateDataKeyPair", USABLE),
    ("SYMMETRIC_DEFAULT", "GenerateDataKeyPairWithoutPlaintext", USABLE),
    ("ECC_NIST_P384", "DeriveSharedSecret", USABLE),
    ("ML_KEM_768", "Encapsulate", USABLE),
    ("ML_KEM_768", "Decapsulate", USABLE),
    ("ECC_NIST_P256", "Sign", USABLE),
    ("ECC_NIST_P256", "Verify", USABLE),
    ("ECC_NIST_P256", "GetPublicKey", [O, O, S, S, S, S, S, O]),
    ("HMAC_256", "GenerateMac", USABLE),
    ("HMAC_256", "VerifyMac", USABLE),
    ("SYMMETRIC_DEFAULT", "CancelKeyDeletion", [S, S, O, O, S, S, S, S]),
    ("SYMMETRIC_DEFAULT", "CreateAlias", NOT_PENDING_DELETION),
    ("SYMMETRIC_DEFAULT", "UpdateAlias", NOT_PENDING_DELETION),
    ("SYMMETRIC_DEFAULT", "CreateGrant", [O, D, S, S, S, O, S, O]),
    ("SYMMETRIC_DEFAULT", "ListGrants", ANY),
    ("SYMMETRIC_DEFAULT", "RetireGrant", ANY),
    ("SYMMETRIC_DEFAULT", "RevokeGrant", ANY),
    ("SYMMETRIC_DEFAULT", "DeleteAlias", ANY),
    ("SYMMETRIC_DEFAULT", "DescribeKey", ANY),
    ("SYMMETRIC_DEFAULT", "GetKeyLastUsage", ANY),
    ("SYMMETRIC_DEFAULT", "GetKeyPolicy", ANY),
    ("SYMMETRIC_DEFAULT", "ListKeyPolicies", ANY),
    ("SYMMETRIC_DEFAULT", "EnableKeyRotation", USABLE),
    ("SYMMETRIC_DEFAULT", "DisableKeyRotation", USABLE),
    ("SYMMETRIC_DEFAULT", "GetKeyRotationStatus", ANY),
    ("SYMMETRIC_DEFAULT", "ListKeyRotations", ANY),
    ("SYMMETRIC_DEFAULT", "RotateKeyOnDemand", [O, D, S, S, S, S, S, S]),
    ("SYMMETRIC_DEFAULT", "PutKeyPolicy", ANY),
    ("SYMMETRIC_DEFAULT", "ListAliases", ANY),
    ("SYMMETRIC_DEFAULT", "ListResourceTags", ANY),
    ("SYMMETRIC_DEFAULT", "DisableKey", SWITCH),
    ("SYMMETRIC_DEFAULT", "EnableKey", SWITCH),
    ("SYMMETRIC_DEFAULT", "ScheduleKeyDeletion", [O, O, S, S, O, O, O, S]),
    ("SYMMETRIC_DEFAULT", "TagResource", NOT_PENDING_DELETION),
    ("SYMMETRIC_DEFAULT", "UntagResource", NOT_PENDING_DELETION),
    ("SYMMETRIC_DEFAULT", "UpdateKeyDescription", NOT_PENDING_DELETION),
    ("SYMMETRIC_DEFAULT", "ReplicateKey", [O, D, S, S, S, S, S, S]),
    ("SYMMETRIC_DEFAULT", "UpdatePrimaryRegion", USABLE),
    ("SYMMETRIC_DEFAULT", "GetParametersForImport", [O, O, S, S, O, S, S, S]),
    ("SYMMETRIC_DEFAULT", "ImportKeyMaterial", [O, O, S, S, O, S, S, O]),
    ("SYMMETRIC_DEFAULT", "DeleteImportedKeyMaterial", [O, O, O, O, O, O, S, S]),
];

#[tokio::test]
async fn every_operation_in_every_state() {
    let rig = Rig::with_regions(3).await;
    let other = rig.create("SYMMETRIC_DEFAULT").await;
    for (spec, operation, cells) in TABLE {
        let mut id = create(&rig, spec, operation).await;
        let mut input = input(&rig, operation, &id, &other).await;
        for (state, cell) in STATES.into_iter().zip(*cells) {
            if *operation == "UpdatePrimaryRegion" {
                id = create(&rig, spec, operation).await; // the former one may have moved
                input["KeyId"] = json!(id);
            }
            prepare_aliases(&rig, operation, &id, &other).await;
            let input = with_grant(&rig, operation, &id, input.clone()).await;
            rig.force_state(&id, state).await;
            let outcome = rig.call(operation, input).await;
            let place = format!("{operation} in {state}: {outcome:?}");
            let expected = match cell {
                O => {
                    assert!(outcome.is_ok(), "{place}");
                    rig.force_state(&id, Enabled).await;
                    continue;
                }
                D => ("DisabledException", "is disabled"),
                S => ("KMSInvalidStateException", complaint(operation, state)),
            };
            let error = outcome.expect_err(&place);
            assert_eq!(error.code(), expected.0, "{place}");
            assert_eq!(error.message(), Some(&*format!("{} {}.", arn(&id), expected.1)), "{place}");
            rig.force_state(&id, Enabled).await;
        }
    }
}

#[tokio::test]
async fn a_dry_run_reports_the_state() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let input = json!({ "KeyId": id, "Plaintext": b64("x"), "DryRun": true });
    assert_eq!(rig.refused("Encrypt", input.clone()).await, "DryRunOperationException");
    rig.force_state(&id, Disabled).await;
    assert_eq!(rig.refused("Encrypt", input).await, "DisabledException");
}

#[tokio::test]
async fn state_is_checked_before_usage_and_spec() {
    let rig = Rig::new().await;
    let id = rig.create("HMAC_256").await;
    let wrong = [
        ("Encrypt", json!({ "KeyId": id, "Plaintext": b64("x") })),
        (
            "GenerateMac",
            json!({ "KeyId": id, "Message": b64("x"), "MacAlgorithm": "HMAC_SHA_512" }),
        ),
        ("EnableKeyRotation", json!({ "KeyId": id })),
        ("RotateKeyOnDemand", json!({ "KeyId": id })),
    ];
    for (state, expected) in
        [(Disabled, "DisabledException"), (PendingDeletion, "KMSInvalidStateException")]
    {
        rig.force_state(&id, state).await;
        for (operation, input) in &wrong {
            assert_eq!(rig.refused(operation, input.clone()).await, expected, "{operation}");
        }
    }
    // A disabled key has its public half, if it has one.
    rig.force_state(&id, Disabled).await;
    assert_eq!(
        rig.refused("GetPublicKey", json!({ "KeyId": id })).await,
        "UnsupportedOperationException"
    );
}

/// A key that the operation is possible with.
async fn create(rig: &Rig, spec: &str, operation: &str) -> String {
    let special = match operation {
        "DeriveSharedSecret" => return rig.create_for(spec, "KEY_AGREEMENT").await,
        "ReplicateKey" | "UpdatePrimaryRegion" => json!({ "MultiRegion": true }),
        "GetParametersForImport" | "ImportKeyMaterial" | "DeleteImportedKeyMaterial" => {
            json!({ "Origin": "EXTERNAL" })
        }
        _ => return rig.create(spec).await,
    };
    let made = rig.ok("CreateKey", special).await;
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    match operation {
        "UpdatePrimaryRegion" => {
            let input = json!({ "KeyId": id, "ReplicaRegion": REGIONS[1] });
            rig.ok("ReplicateKey", input).await;
        }
        "GetParametersForImport" | "DeleteImportedKeyMaterial" => {
            let import = wrapped(rig, &id, &[7; 32]).await;
            rig.ok("ImportKeyMaterial", import).await;
        }
        _ => {}
    }
    id
}

/// A valid input of the operation for key `id` in state Enabled.
async fn input(rig: &Rig, operation: &str, id: &str, other: &str) -> Value {
    let message = b64("message");
    match operation {
        "Encrypt" => json!({ "KeyId": id, "Plaintext": message }),
        "Decrypt" | "ReEncrypt" => {
            let made = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": message })).await;
            let blob = &made["CiphertextBlob"];
            match operation {
                "Decrypt" => json!({ "CiphertextBlob": blob }),
                _ => json!({ "CiphertextBlob": blob, "DestinationKeyId": other }),
            }
        }
        "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" => {
            json!({ "KeyId": id, "KeySpec": "AES_256" })
        }
        "GenerateDataKeyPair" | "GenerateDataKeyPairWithoutPlaintext" => {
            json!({ "KeyId": id, "KeyPairSpec": "ECC_NIST_P256" })
        }
        "DeriveSharedSecret" => {
            let peer = rig.ok("GetPublicKey", json!({ "KeyId": id })).await;
            json!({ "KeyId": id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": peer["PublicKey"] })
        }
        "Encapsulate" => json!({ "KeyId": id, "EncapsulationAlgorithm": "ML_KEM" }),
        "Decapsulate" => {
            let algorithm = "ML_KEM";
            json!({ "KeyId": id, "EncapsulationAlgorithm": algorithm,
                    "SharedSecretCiphertextBlob": b64([7; 1088]) })
        }
        "Sign" | "Verify" => {
            let algorithm = "ECDSA_SHA_256";
            let sign = json!({ "KeyId": id, "Message": message, "SigningAlgorithm": algorithm });
            match operation {
                "Sign" => sign,
                _ => {
                    let signed = rig.ok("Sign", sign).await;
                    json!({ "KeyId": id, "Message": message, "SigningAlgorithm": algorithm,
                            "Signature": signed["Signature"] })
                }
            }
        }
        "GenerateMac" | "VerifyMac" => {
            let algorithm = "HMAC_SHA_256";
            let generate = json!({ "KeyId": id, "Message": message, "MacAlgorithm": algorithm });
            match operation {
                "GenerateMac" => generate,
                _ => {
                    let made = rig.ok("GenerateMac", generate).await;
                    json!({ "KeyId": id, "Message": message, "MacAlgorithm": algorithm,
                            "Mac": made["Mac"] })
                }
            }
        }
        "CreateAlias" | "UpdateAlias" => json!({ "AliasName": "alias/cell", "TargetKeyId": id }),
        "DeleteAlias" => json!({ "AliasName": "alias/cell" }),
        "CreateGrant" => {
            let grantee = "arn:aws:iam::111111111111:root";
            json!({ "KeyId": id, "GranteePrincipal": grantee, "Operations": ["Encrypt"] })
        }
        "PutKeyPolicy" => {
            let policy = json!({ "Statement": { "Effect": "Allow", "Principal": "*",
                                                "Action": "kms:*", "Resource": "*" } });
            json!({ "KeyId": id, "PolicyName": "default", "Policy": policy.to_string() })
        }
        "TagResource" => {
            json!({ "KeyId": id, "Tags": [{ "TagKey": "a", "TagValue": "b" }] })
        }
        "ReplicateKey" => json!({ "KeyId": id, "ReplicaRegion": REGIONS[1] }),
        "UpdatePrimaryRegion" => json!({ "KeyId": id, "PrimaryRegion": REGIONS[1] }),
        "GetParametersForImport" => {
            let algorithm = "RSAES_OAEP_SHA_256";
            json!({ "KeyId": id, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048" })
        }
        "ImportKeyMaterial" => wrapped(rig, id, &[7; 32]).await,
        "UntagResource" => json!({ "KeyId": id, "TagKeys": ["a"] }),
        "UpdateKeyDescription" => json!({ "KeyId": id, "Description": "new" }),
        _ => json!({ "KeyId": id }),
    }
}

/// Adds a new grant to the input of the operations that end one.
async fn with_grant(rig: &Rig, operation: &str, id: &str, mut input: Value) -> Value {
    if let "RetireGrant" | "RevokeGrant" = operation {
        let grant = self::input(rig, "CreateGrant", id, "").await;
        input["GrantId"] = rig.ok("CreateGrant", grant).await["GrantId"].clone();
    }
    input
}

/// Brings the alias of the alias operations where they expect it.
async fn prepare_aliases(rig: &Rig, operation: &str, id: &str, other: &str) {
    let target = match operation {
        "CreateAlias" => None,
        "UpdateAlias" => Some(other),
        "DeleteAlias" => Some(id),
        _ => return,
    };
    let alias = json!({ "AliasName": "alias/cell" });
    // Left over from the cell before, or not.
    let _ = rig.call("DeleteAlias", alias).await;
    if let Some(target) = target {
        rig.ok("CreateAlias", json!({ "AliasName": "alias/cell", "TargetKeyId": target })).await;
    }
}

fn complaint(operation: &str, state: KeyState) -> &'static str {
    if operation == "CancelKeyDeletion" {
        return "is not pending deletion";
    }
    match state {
        PendingDeletion => "is pending deletion",
        PendingReplicaDeletion => "is pending replica deletion",
        PendingImport => "is pending import",
        Unavailable => "is unavailable",
        Creating => "is creating",
        Updating => "is updating",
        Enabled | Disabled => unreachable!("no operation refuses {state} with this exception"),
    }
}
