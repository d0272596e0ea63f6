//! Imported key material, from its first import to its last expiry.

use std::sync::Mutex;
use std::time::Duration;

use hsm_protocol::MaterialId;
use rsa::pkcs8::DecodePublicKey;
use rsa::{Oaep, PublicKey};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Rig;
use super::rig::{arn, b64, bytes};
use crate::job::expiry::{ExpiryObserver, expire_due};
use kms_base::clock::Clock as _;
use kms_keys::KeyRecord;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const START: f64 = 1_800_000_000.0;
const ALGORITHM: &str = "RSAES_OAEP_SHA_256";

/// Notes what expires, or refuses it.
#[derive(Default)]
struct Witness {
    expired: Mutex<Vec<(String, usize)>>,
    refuses: bool,
}

impl ExpiryObserver for Witness {
    async fn expiring(&self, key: &KeyRecord, materials: &[MaterialId]) -> Result<(), String> {
        if self.refuses {
            return Err("the audit log is full".to_owned());
        }
        self.expired.lock().unwrap().push((key.id.to_string(), materials.len()));
        Ok(())
    }
}

async fn run_job(rig: &Rig, witness: &Witness) -> usize {
    expire_due(rig.service.catalog(), rig.clock.now(), witness).await.unwrap()
}

pub(super) async fn external(rig: &Rig, spec: &str, usage: &str) -> String {
    let input = json!({ "KeySpec": spec, "KeyUsage": usage, "Origin": "EXTERNAL" });
    let made = rig.ok("CreateKey", input).await;
    let metadata = &made["KeyMetadata"];
    assert_eq!(
        (&metadata["KeyState"], &metadata["Origin"]),
        (&json!("PendingImport"), &json!("EXTERNAL"))
    );
    assert!(metadata.get("ExpirationModel").is_none() && metadata["Enabled"] == json!(false));
    metadata["KeyId"].as_str().unwrap().to_owned()
}

/// An import of `material`, to be changed before it is sent.
pub(super) async fn wrapped(rig: &Rig, id: &str, material: &[u8]) -> Value {
    let parameters = rig.ok("GetParametersForImport", parameters(id)).await;
    wrap(&parameters, id, material)
}

/// The input of `GetParametersForImport`.
pub(crate) fn parameters(id: &str) -> Value {
    json!({ "KeyId": id, "WrappingAlgorithm": ALGORITHM, "WrappingKeySpec": "RSA_2048" })
}

/// The input of `ImportKeyMaterial` for what [`parameters`] was answered.
pub(crate) fn wrap(parameters: &Value, id: &str, material: &[u8]) -> Value {
    let public = PublicKey::from_public_key_der(&bytes(&parameters["PublicKey"])).unwrap();
    let sealed = public.encrypt(&mut getrandom::SysRng, Oaep::<Sha256>::new(), material).unwrap();
    json!({
        "KeyId": id,
        "ImportToken": parameters["ImportToken"],
        "EncryptedKeyMaterial": b64(sealed),
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    })
}

pub(super) async fn metadata(rig: &Rig, id: &str) -> Value {
    rig.ok("DescribeKey", json!({ "KeyId": id })).await["KeyMetadata"].clone()
}

#[tokio::test]
async fn the_life_of_imported_material() {
    let rig = Rig::new().await;
    let id = external(&rig, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let encrypt = json!({ "KeyId": id, "Plaintext": b64("x") });
    assert_eq!(rig.refused("Encrypt", encrypt.clone()).await, "KMSInvalidStateException");
    assert_eq!(rig.refused("EnableKey", json!({ "KeyId": id })).await, "KMSInvalidStateException");
    let given = rig.ok("GetParametersForImport", parameters(&id)).await;
    assert_eq!(given["KeyId"], json!(arn(&id)));
    assert_eq!(given["ParametersValidTo"], json!(START + 86_400.0));

    let mut input = wrapped(&rig, &id, &[7; 32]).await;
    input["ExpirationModel"] = Value::Null; // the default, which wants a date
    assert_eq!(rig.refused("ImportKeyMaterial", input.clone()).await, "ValidationException");
    input["ValidTo"] = json!(START + 30.0 * 86_400.0);
    let answer = rig.ok("ImportKeyMaterial", input).await;
    assert_eq!(answer["KeyId"], json!(arn(&id)));
    let described = metadata(&rig, &id).await;
    assert_eq!(described["KeyState"], json!("Enabled"));
    assert_eq!(described["ExpirationModel"], json!("KEY_MATERIAL_EXPIRES"));
    assert_eq!(described["ValidTo"], json!(START + 30.0 * 86_400.0));
    assert_eq!(described["CurrentKeyMaterialId"], answer["KeyMaterialId"]);
    let blob = rig.ok("Encrypt", encrypt.clone()).await["CiphertextBlob"].clone();

    // It expires, and the same material brings the key back.
    let witness = Witness::default();
    rig.clock.advance(30 * DAY - Duration::from_millis(1));
    assert_eq!(run_job(&rig, &witness).await, 0);
    rig.ok("Encrypt", encrypt.clone()).await;
    rig.clock.advance(Duration::from_millis(1));
    assert_eq!(rig.refused("Encrypt", encrypt.clone()).await, "KMSInvalidStateException");
    assert_eq!(run_job(&rig, &Witness { refuses: true, ..Witness::default() }).await, 0);
    assert_eq!(run_job(&rig, &witness).await, 1);
    assert_eq!(*witness.expired.lock().unwrap(), [(id.clone(), 1)]);
    assert_eq!(metadata(&rig, &id).await["KeyState"], json!("PendingImport"));
    assert!(rig.record(&id).await.unwrap().materials[0].token.is_empty(), "destroyed");
    let decrypt = json!({ "CiphertextBlob": blob });
    assert_eq!(rig.refused("Decrypt", decrypt.clone()).await, "KMSInvalidStateException");
    let other = wrapped(&rig, &id, &[8; 32]).await;
    assert_eq!(rig.refused("ImportKeyMaterial", other).await, "IncorrectKeyMaterialException");
    let again = rig.ok("ImportKeyMaterial", wrapped(&rig, &id, &[7; 32]).await).await;
    assert_eq!(again["KeyMaterialId"], answer["KeyMaterialId"]);
    assert_eq!(rig.ok("Decrypt", decrypt.clone()).await["Plaintext"], b64("x"));
    let described = metadata(&rig, &id).await;
    assert_eq!(described["ExpirationModel"], json!("KEY_MATERIAL_DOES_NOT_EXPIRE"));
    assert!(described.get("ValidTo").is_none());

    // By request, of a disabled key; cancelling a deletion does not bring it back.
    rig.ok("DisableKey", json!({ "KeyId": id })).await;
    let deleted = rig.ok("DeleteImportedKeyMaterial", json!({ "KeyId": id })).await;
    assert_eq!(deleted, json!({ "KeyId": arn(&id), "KeyMaterialId": answer["KeyMaterialId"] }));
    assert_eq!(metadata(&rig, &id).await["KeyState"], json!("PendingImport"));
    rig.ok("DeleteImportedKeyMaterial", json!({ "KeyId": id })).await;
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
    rig.ok("CancelKeyDeletion", json!({ "KeyId": id })).await;
    assert_eq!(metadata(&rig, &id).await["KeyState"], json!("PendingImport"));
}

#[tokio::test]
async fn rotation_of_imported_material() {
    let rig = Rig::new().await;
    let id = external(&rig, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let key = json!({ "KeyId": id });
    let first = rig.ok("ImportKeyMaterial", wrapped(&rig, &id, &[1; 32]).await).await;
    assert_eq!(
        rig.refused("EnableKeyRotation", key.clone()).await,
        "UnsupportedOperationException"
    );
    assert_eq!(rig.refused("RotateKeyOnDemand", key.clone()).await, "KMSInvalidStateException");
    let blob = rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64("old") })).await;

    let mut input = wrapped(&rig, &id, &[2; 32]).await;
    assert_eq!(
        rig.refused("ImportKeyMaterial", input.clone()).await,
        "IncorrectKeyMaterialException"
    );
    input["ImportType"] = json!("NEW_KEY_MATERIAL");
    input["KeyMaterialDescription"] = json!("from vault 7");
    let second = rig.ok("ImportKeyMaterial", input).await;
    let mut third = wrapped(&rig, &id, &[3; 32]).await;
    third["ImportType"] = json!("NEW_KEY_MATERIAL");
    assert_eq!(rig.refused("ImportKeyMaterial", third).await, "KMSInvalidStateException");
    assert_eq!(metadata(&rig, &id).await["CurrentKeyMaterialId"], first["KeyMaterialId"]);
    let list = json!({ "KeyId": id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
    let listed = rig.ok("ListKeyRotations", list.clone()).await;
    let pending = json!({
        "KeyId": arn(&id),
        "KeyMaterialId": second["KeyMaterialId"],
        "KeyMaterialState": "PENDING_ROTATION",
        "ImportState": "IMPORTED",
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        "KeyMaterialDescription": "from vault 7",
    });
    assert_eq!(listed["Rotations"][1], pending);

    rig.ok("RotateKeyOnDemand", key).await;
    assert_eq!(metadata(&rig, &id).await["CurrentKeyMaterialId"], second["KeyMaterialId"]);
    let answer = rig.ok("Decrypt", json!({ "CiphertextBlob": blob["CiphertextBlob"] })).await;
    assert_eq!(answer["Plaintext"], b64("old"));
    // Either gone, the whole key waits, for exactly that.
    let gone = json!({ "KeyId": id, "KeyMaterialId": first["KeyMaterialId"] });
    rig.ok("DeleteImportedKeyMaterial", gone).await;
    assert_eq!(metadata(&rig, &id).await["KeyState"], json!("PendingImport"));
    let listed = rig.ok("ListKeyRotations", list).await;
    assert_eq!(listed["Rotations"][0]["ImportState"], json!("PENDING_IMPORT"));
    let mut back = wrapped(&rig, &id, &[2; 32]).await;
    back["KeyMaterialId"] = first["KeyMaterialId"].clone();
    assert_eq!(rig.refused("ImportKeyMaterial", back).await, "IncorrectKeyMaterialException");
    rig.ok("ImportKeyMaterial", wrapped(&rig, &id, &[2; 32]).await).await;
    assert_eq!(metadata(&rig, &id).await["KeyState"], json!("PendingImport"), "not that one");
    rig.ok("ImportKeyMaterial", wrapped(&rig, &id, &[1; 32]).await).await;
    assert_eq!(metadata(&rig, &id).await["KeyState"], json!("Enabled"));
}

#[tokio::test]
async fn tokens_and_material_that_do_not_fit() {
    let rig = Rig::new().await;
    let id = external(&rig, "HMAC_256", "GENERATE_VERIFY_MAC").await;
    let other = external(&rig, "HMAC_256", "GENERATE_VERIFY_MAC").await;
    let good = wrapped(&rig, &id, &[5; 32]).await;
    let with = |member: &str, value: Value| {
        let mut input = good.clone();
        input[member] = value;
        input
    };
    let theirs = rig.ok("GetParametersForImport", parameters(&other)).await;
    let mut damaged = bytes(&good["ImportToken"]);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let mut sealed = bytes(&good["EncryptedKeyMaterial"]);
    sealed[0] ^= 1;
    for (input, code) in [
        (with("ImportToken", theirs["ImportToken"].clone()), "InvalidImportTokenException"),
        (with("ImportToken", json!(b64(damaged))), "InvalidImportTokenException"),
        (with("ImportToken", json!(b64("x"))), "InvalidImportTokenException"),
        (with("EncryptedKeyMaterial", json!(b64(sealed))), "InvalidCiphertextException"),
        (with("ValidTo", json!(START + 1.0)), "ValidationException"),
        (with("KeyMaterialId", json!("0".repeat(63))), "ValidationException"),
        (with("KeyMaterialDescription", json!("a#b")), "ValidationException"),
        (with("ImportType", json!("SOME")), "ValidationException"),
        (with("ImportType", json!("EXISTING_KEY_MATERIAL")), "ValidationException"),
        (wrapped(&rig, &id, &[5; 31]).await, "InvalidCiphertextException"),
    ] {
        assert_eq!(rig.refused("ImportKeyMaterial", input.clone()).await, code, "{input}");
    }
    for valid_to in [START - 1.0, START + 366.0 * 86_400.0, -1.0, 1e300] {
        let mut input = with("ValidTo", json!(valid_to));
        input["ExpirationModel"] = json!("KEY_MATERIAL_EXPIRES");
        assert_eq!(rig.refused("ImportKeyMaterial", input).await, "ValidationException");
    }
    assert_eq!(metadata(&rig, &id).await["KeyState"], json!("PendingImport"));
    rig.ok("ImportKeyMaterial", good.clone()).await;
    let mac = json!({ "KeyId": id, "MacAlgorithm": "HMAC_SHA_256", "Message": b64("m") });
    rig.ok("GenerateMac", mac).await;
    rig.clock.advance(DAY);
    assert_eq!(rig.refused("ImportKeyMaterial", good).await, "ExpiredImportTokenException");

    let own = rig.create("SYMMETRIC_DEFAULT").await;
    for operation in ["GetParametersForImport", "DeleteImportedKeyMaterial"] {
        let input = json!({
            "KeyId": own,
            "WrappingAlgorithm": ALGORITHM,
            "WrappingKeySpec": "RSA_2048",
        });
        assert_eq!(rig.refused(operation, input).await, "UnsupportedOperationException");
    }
    let rsa = external(&rig, "RSA_2048", "SIGN_VERIFY").await;
    let p521 = external(&rig, "ECC_NIST_P521", "SIGN_VERIFY").await;
    for (id, algorithm, code) in [
        (&rsa, ALGORITHM, "ValidationException"),
        (&p521, ALGORITHM, "ValidationException"),
        (&p521, "RSAES_PKCS1_V1_5", "ValidationException"),
        (&p521, "SM2PKE", "UnsupportedOperationException"),
        (&p521, "ROT13", "ValidationException"),
    ] {
        let input =
            json!({ "KeyId": id, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048" });
        assert_eq!(rig.refused("GetParametersForImport", input).await, code, "{algorithm}");
    }
    let input = json!({ "KeySpec": "ML_DSA_44", "KeyUsage": "SIGN_VERIFY", "Origin": "EXTERNAL" });
    assert_eq!(rig.refused("CreateKey", input).await, "ValidationException");
}
