//! DeriveSharedSecret, Encapsulate, Decapsulate.

use serde_json::{Value, json};

use super::Rig;
use super::rig::{arn, b64, bytes};

async fn public(rig: &Rig, id: &str) -> Value {
    rig.ok("GetPublicKey", json!({ "KeyId": id })).await["PublicKey"].clone()
}

#[tokio::test]
async fn both_sides_derive_the_same_secret() {
    let rig = Rig::new().await;
    for (spec, length) in [("ECC_NIST_P256", 32), ("ECC_NIST_P384", 48), ("ECC_NIST_P521", 66)] {
        let ids = [
            rig.create_for(spec, "KEY_AGREEMENT").await,
            rig.create_for(spec, "KEY_AGREEMENT").await,
        ];
        let derive = |own: usize, peer: Value| json!({ "KeyId": ids[own], "KeyAgreementAlgorithm": "ECDH", "PublicKey": peer });
        let one = rig.ok("DeriveSharedSecret", derive(0, public(&rig, &ids[1]).await)).await;
        let other = rig.ok("DeriveSharedSecret", derive(1, public(&rig, &ids[0]).await)).await;
        assert_eq!(
            one,
            json!({ "KeyId": arn(&ids[0]), "SharedSecret": other["SharedSecret"],
                    "KeyAgreementAlgorithm": "ECDH", "KeyOrigin": "AWS_KMS" })
        );
        assert_eq!(bytes(&one["SharedSecret"]).len(), length);
    }
}

#[tokio::test]
async fn peers_are_checked() {
    let rig = Rig::new().await;
    let id = rig.create_for("ECC_NIST_P256", "KEY_AGREEMENT").await;
    let foreign = rig.create_for("ECC_NIST_P384", "KEY_AGREEMENT").await;
    let mut off_curve = bytes(&public(&rig, &id).await);
    *off_curve.last_mut().unwrap() ^= 1;
    let derive = |id: &str, peer: Value| json!({ "KeyId": id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": peer });
    for peer in [
        public(&rig, &foreign).await,
        json!(b64(off_curve)),
        json!(b64([0x30])),
        json!(b64([0; 1025])),
        json!(b64([0; 8193])),
        json!(""),
    ] {
        assert_eq!(
            rig.refused("DeriveSharedSecret", derive(&id, peer.clone())).await,
            "ValidationException",
            "{peer}"
        );
    }
    let signing = rig.create("ECC_NIST_P256").await;
    let peer = public(&rig, &id).await;
    let misuse = derive(&signing, peer.clone());
    assert_eq!(rig.refused("DeriveSharedSecret", misuse).await, "InvalidKeyUsageException");
    let mut attested = derive(&id, peer.clone());
    attested["Recipient"] = json!({});
    assert_eq!(rig.refused("DeriveSharedSecret", attested).await, "ValidationException");
    let mut dry = derive(&id, peer);
    dry["DryRun"] = json!(true);
    assert_eq!(rig.refused("DeriveSharedSecret", dry).await, "DryRunOperationException");
    let input = json!({ "KeyId": id, "Message": b64("x"), "SigningAlgorithm": "ECDSA_SHA_256" });
    assert_eq!(rig.refused("Sign", input).await, "InvalidKeyUsageException");
}

#[tokio::test]
async fn encapsulated_secrets_are_decapsulated() {
    let rig = Rig::new().await;
    for (spec, length) in [("ML_KEM_512", 768), ("ML_KEM_768", 1088), ("ML_KEM_1024", 1568)] {
        let id = rig.create(spec).await;
        let named = json!({ "KeyId": id, "EncapsulationAlgorithm": "ML_KEM" });
        let made = rig.ok("Encapsulate", named.clone()).await;
        let (secret, blob) = (&made["SharedSecret"], &made["SharedSecretCiphertextBlob"]);
        assert_eq!(
            made,
            json!({ "KeyId": arn(&id), "SharedSecret": secret, "SharedSecretCiphertextBlob": blob,
                    "EncapsulationAlgorithm": "ML_KEM" })
        );
        assert_eq!((bytes(secret).len(), bytes(blob).len()), (32, length));
        let decapsulate = |blob: Vec<u8>| {
            let mut input = named.clone();
            input["SharedSecretCiphertextBlob"] = json!(b64(blob));
            input
        };
        let opened = rig.ok("Decapsulate", decapsulate(bytes(blob))).await;
        assert_eq!(
            opened,
            json!({ "KeyId": arn(&id), "SharedSecret": secret, "EncapsulationAlgorithm": "ML_KEM" })
        );
        // Implicit rejection: another secret, and the same one each time.
        let mut flipped = bytes(blob);
        flipped[0] ^= 1;
        let rejected = rig.ok("Decapsulate", decapsulate(flipped.clone())).await;
        assert_ne!(&rejected["SharedSecret"], secret);
        assert_eq!(rig.ok("Decapsulate", decapsulate(flipped.clone())).await, rejected);
        flipped.pop();
        let short = decapsulate(flipped);
        assert_eq!(rig.refused("Decapsulate", short).await, "InvalidCiphertextException");
    }
}
