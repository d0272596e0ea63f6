//! Grants.

use serde_json::{Value, json};

use super::Rig;
use crate::api::tests::grants::{grant, with};

#[tokio::test]
async fn no_pairs_are_no_constraint() {
    let rig = Rig::new().await;
    let (aes, signer) = (rig.create("SYMMETRIC_DEFAULT").await, rig.create("ECC_NIST_P256").await);
    let empty = json!({});
    for (key, operation) in [(&aes, "Encrypt"), (&signer, "Sign")] {
        for constraints in [
            json!({ "EncryptionContextEquals": empty }),
            json!({ "EncryptionContextSubset": empty }),
            json!({ "EncryptionContextEquals": empty, "EncryptionContextSubset": empty }),
        ] {
            let input = with(grant(key, &[operation]), "Constraints", constraints);
            rig.ok("CreateGrant", input).await;
        }
        for listed in rig.grants(key).await {
            assert_eq!(listed.get("Constraints"), None, "{listed}");
        }
    }
    let half = json!({ "EncryptionContextEquals": {}, "EncryptionContextSubset": { "a": "1" } });
    let made = rig.ok("CreateGrant", with(grant(&aes, &["Encrypt"]), "Constraints", half)).await;
    let input = json!({ "KeyId": aes, "GrantId": made["GrantId"] });
    let listed = rig.ok("ListGrants", input).await;
    let kept = json!({ "EncryptionContextSubset": { "a": "1" } });
    assert_eq!(listed["Grants"][0]["Constraints"], kept);
}

#[tokio::test]
async fn operations_fit_the_key() {
    let rig = Rig::new().await;
    let aes = rig.create("SYMMETRIC_DEFAULT").await;
    rig.says(
        "CreateGrant",
        grant(&aes, &["CreateGrant"]),
        "ValidationException: Grants must not contain only the CreateGrant operation.",
    )
    .await;
    rig.ok("CreateGrant", grant(&aes, &["CreateGrant", "DescribeKey"])).await;
    let hmac = rig.create("HMAC_256").await;
    rig.says(
        "CreateGrant",
        grant(&hmac, &["Encrypt", "GenerateMac"]),
        "ValidationException: Operations [Encrypt] are not supported when creating a grant for a \
         symmetric KMS key with key usage GENERATE_VERIFY_MAC. Valid operations are [CreateGrant, \
         RetireGrant, DescribeKey, GenerateMac, VerifyMac]",
    )
    .await;
    let signer = rig.create("ECC_NIST_P256").await;
    rig.says(
        "CreateGrant",
        grant(&signer, &["Encrypt", "Decrypt"]),
        "ValidationException: Operations [Encrypt, Decrypt] are not supported when creating a \
         grant for an asymmetric KMS key with key usage SIGN_VERIFY. Valid operations are [Sign, \
         Verify, GetPublicKey, CreateGrant, RetireGrant, DescribeKey]",
    )
    .await;
    let pairs: Value = json!({ "EncryptionContextEquals": { "a": "1" } });
    rig.says(
        "CreateGrant",
        with(grant(&signer, &["Sign"]), "Constraints", pairs),
        "ValidationException: EncryptionContext is supported only when creating a grant for a \
         symmetric encryption KMS key.",
    )
    .await;
}

#[tokio::test]
async fn who_is_nobody() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for (name, text) in [
        ("AIDA0123456789ABCDEF", "Input does not refer to a valid principal"),
        (
            "arn:aws:iam::000000000000:group/a",
            "ARN is not valid: arn:aws:iam::000000000000:group/a",
        ),
        (
            "arn:aws:iam::000000000000:user/a",
            "ARN does not refer to a valid principal: arn:aws:iam::000000000000:user/a",
        ),
    ] {
        let input = json!({ "KeyId": id, "GranteePrincipal": name });
        rig.says("ListGrants", input, &format!("InvalidArnException: {text}")).await;
    }
    rig.says(
        "ListRetirableGrants",
        json!({ "RetiringPrincipal": "AIDA0123456789ABCDEF" }),
        "NotFoundException: Retiring principal AIDA0123456789ABCDEF could not be found",
    )
    .await;
}
