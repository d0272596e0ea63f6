//! Grants through the API.

use serde_json::{Value, json};

use super::Rig;
use super::rig::{ACCOUNT, arn, b64, join};
use crate::policy::decisions;
use kms_base::identifier::KeyId;

const ROOT: &str = "arn:aws:iam::000000000000:root";
pub(super) const ALICE: &str = "arn:aws:iam::111111111111:root";
const NOBODY: &str = "arn:aws:iam::000000000000:user/nobody";
pub(super) const BOB: &str = "arn:aws:iam::000000000000:root";

pub(super) fn grant(key: &str, operations: &[&str]) -> Value {
    json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": operations })
}

pub(super) fn with(mut input: Value, member: &str, value: impl Into<Value>) -> Value {
    input[member] = value.into();
    input
}

impl Rig {
    pub(super) async fn grants(&self, key: &str) -> Vec<Value> {
        let answer = self.ok("ListGrants", json!({ "KeyId": key, "Limit": 100 })).await;
        answer["Grants"].as_array().unwrap().clone()
    }

    /// A key whose policy lets the account change the policy and make grants, and nothing else.
    async fn closed_key(&self) -> String {
        let allowed = ["kms:PutKeyPolicy", "kms:*Grant*"];
        let statement = json!([
            { "Effect": "Allow", "Principal": "*", "Action": allowed, "Resource": "*" }
        ]);
        let policy = json!({ "Version": "2012-10-17", "Statement": statement }).to_string();
        let answer = self.ok("CreateKey", json!({ "Policy": policy })).await;
        answer["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_grant_is_listed_as_it_was_made() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let input = json!({
        "KeyId": id,
        "GranteePrincipal": ALICE,
        "RetiringPrincipal": BOB,
        "Operations": ["Decrypt", "Encrypt", "Decrypt"],
        "Constraints": { "EncryptionContextSubset": { "a": "1" } },
        "Name": "first",
    });
    let (made, facts) = rig.audited("CreateGrant", input).await;
    let made = made.unwrap();
    assert_eq!(made["GrantId"].as_str().unwrap().len(), 64);
    let parameters = facts.request_parameters.unwrap();
    assert_eq!(
        Value::Object(parameters),
        json!({
            "keyId": id,
            "granteePrincipal": ALICE,
            "retiringPrincipal": BOB,
            "operations": ["Decrypt", "Encrypt", "Decrypt"],
            "constraints": { "encryptionContextSubset": { "a": "1" } },
            "name": "first",
        })
    );
    assert_eq!(
        Value::Object(facts.response_elements.unwrap()),
        json!({ "grantId": made["GrantId"], "keyId": arn(&id) })
    );

    let plain = rig.ok("CreateGrant", grant(&id, &["DescribeKey"])).await;
    let mut listed = rig.grants(&id).await;
    listed.sort_by_key(|grant| grant["Name"] == "");
    let common = json!({
        "KeyId": arn(&id),
        "GranteePrincipal": ALICE,
        "IssuingAccount": ROOT,
        "CreationDate": 1_800_000_000.0,
    });
    let expected = |rest: Value| {
        let mut entry = common.clone();
        entry.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        entry
    };
    assert_eq!(
        listed,
        [
            expected(json!({
                "GrantId": made["GrantId"],
                "Name": "first",
                "RetiringPrincipal": BOB,
                "Operations": ["Decrypt", "Encrypt"],
                "Constraints": { "EncryptionContextSubset": { "a": "1" } },
            })),
            expected(json!({
                "GrantId": plain["GrantId"],
                "Name": "",
                "Operations": ["DescribeKey"],
            })),
        ]
    );
    let one = rig.ok("ListGrants", json!({ "KeyId": arn(&id), "GrantId": plain["GrantId"] })).await;
    assert_eq!(one, json!({ "Grants": [listed[1]], "Truncated": false }));
}

#[tokio::test]
async fn a_name_makes_creation_idempotent() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let named = with(grant(&id, &["Encrypt", "Decrypt"]), "Name", "n");
    let first = rig.ok("CreateGrant", named.clone()).await;
    let again = rig
        .ok("CreateGrant", with(named.clone(), "Operations", json!(["Decrypt", "Encrypt"])))
        .await;
    assert_eq!(first["GrantId"], again["GrantId"]);
    assert_ne!(first["GrantToken"], again["GrantToken"]);

    let other = rig.ok("CreateGrant", with(named.clone(), "RetiringPrincipal", BOB)).await;
    assert_ne!(first["GrantId"], other["GrantId"]);
    rig.ok("CreateGrant", grant(&id, &["Encrypt", "Decrypt"])).await;
    rig.ok("CreateGrant", grant(&id, &["Encrypt", "Decrypt"])).await;
    assert_eq!(rig.grants(&id).await.len(), 4);

    let revoke = json!({ "KeyId": id, "GrantId": first["GrantId"] });
    rig.ok("RevokeGrant", revoke).await;
    let fresh = rig.ok("CreateGrant", named).await;
    assert_ne!(first["GrantId"], fresh["GrantId"]);
}

#[tokio::test]
async fn simultaneous_creations_are_all_counted_and_names_stay_unique() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let input = grant(&id, &["Encrypt"]);
    let made = join((0..20).map(|_| rig.ok("CreateGrant", input.clone()))).await;
    assert_eq!(made.len(), 20);
    let named = with(input, "Name", "n");
    let made = join((0..20).map(|_| rig.ok("CreateGrant", named.clone()))).await;
    assert!(made.iter().all(|one| one["GrantId"] == made[0]["GrantId"]));
    assert_eq!(rig.grants(&id).await.len(), 21);
    let key = KeyId::parse(&id).unwrap();
    let scope = rig.scope();
    let count = || rig.service.catalog().grants().count(&scope, key);
    assert_eq!(count().await.unwrap().count, 21);

    let revoke = json!({ "KeyId": id, "GrantId": made[0]["GrantId"] });
    let outcomes = join((0..8).map(|_| rig.call("RevokeGrant", revoke.clone()))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(count().await.unwrap().count, 20);
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let signer = rig.create("ECC_NIST_P256").await;
    let good = grant(&id, &["Encrypt"]);
    let service = "logs.us-east-1.amazonaws.com";
    let nine: serde_json::Map<_, _> = (0..9).map(|n| (n.to_string(), json!("x"))).collect();
    let context = |pairs: Value| json!({ "EncryptionContextEquals": pairs });
    for input in [
        json!({}),
        with(good.clone(), "Operations", Value::Null),
        with(good.clone(), "Operations", json!([])),
        with(good.clone(), "Operations", json!(["PutKeyPolicy"])),
        with(good.clone(), "Operations", json!(["Sign"])),
        with(good.clone(), "Operations", json!(["Encrypt", "GetPublicKey"])),
        with(good.clone(), "GranteePrincipal", Value::Null),
        with(good.clone(), "GranteePrincipal", "a b"),
        with(good.clone(), "GranteeServicePrincipal", service),
        with(good.clone(), "RetiringServicePrincipal", "logs"),
        with(good.clone(), "Name", "a b"),
        with(good.clone(), "Constraints", context(json!({ "a": "x".repeat(384) }))),
        with(good.clone(), "Constraints", context(json!(nine))),
        with(good.clone(), "Constraints", json!({ "SourceArn": "x" })),
        with(grant(&signer, &["Sign"]), "Constraints", context(json!({ "a": "1" }))),
        json!({ "KeyId": id, "GranteeServicePrincipal": service, "Operations": ["Encrypt"] }),
    ] {
        assert_eq!(
            rig.refused("CreateGrant", input.clone()).await,
            "ValidationException",
            "{input}"
        );
    }
    for member in ["GranteePrincipal", "RetiringPrincipal"] {
        for (principal, text) in [
            ("alice", format!("{member} does not refer to a valid principal.")),
            ("AIDA0123456789ABCDEF", format!("{member} does not refer to a valid principal.")),
            (
                "arn:aws:iam::000000000000:group/a",
                "ARN is not valid: arn:aws:iam::000000000000:group/a".to_owned(),
            ),
            ("arn:aws:s3:::bucket", "ARN is not valid: arn:aws:s3:::bucket".to_owned()),
            (NOBODY, format!("ARN does not refer to a valid principal: {NOBODY}")),
        ] {
            let refusal = rig.refusal("CreateGrant", with(good.clone(), member, principal)).await;
            assert_eq!(refusal, format!("InvalidArnException: {text}"));
        }
    }
    assert_eq!(
        rig.refusal("CreateGrant", with(good.clone(), "KeyId", "alias/a")).await,
        "InvalidArnException: Key Aliases are not supported for this operation."
    );
    let dry = with(good, "DryRun", true);
    assert_eq!(rig.refused("CreateGrant", dry).await, "DryRunOperationException");
    assert!(rig.grants(&id).await.is_empty());

    let to_service = json!({
        "KeyId": signer,
        "GranteeServicePrincipal": service,
        "RetiringServicePrincipal": service,
        "Operations": ["Sign"],
        "Constraints": { "SourceArn": "arn:aws:logs:us-east-1:000000000000:x" },
    });
    rig.ok("CreateGrant", to_service).await;
    let listed =
        rig.ok("ListGrants", json!({ "KeyId": signer, "GranteeServicePrincipal": service })).await;
    assert_eq!(listed["Grants"][0]["RetiringServicePrincipal"], service);
    let listed =
        rig.ok("ListRetirableGrants", json!({ "RetiringServicePrincipal": service })).await;
    assert_eq!(listed["Grants"].as_array().unwrap().len(), 1);

    for (operation, input, exception) in [
        ("ListGrants", json!({ "KeyId": id, "GrantId": "x" }), "InvalidGrantIdException"),
        ("ListGrants", json!({ "KeyId": id, "GrantId": "0".repeat(64) }), "NotFoundException"),
        ("RevokeGrant", json!({ "KeyId": id }), "ValidationException"),
        ("RevokeGrant", json!({ "KeyId": id, "GrantId": "x" }), "InvalidGrantIdException"),
        ("RevokeGrant", json!({ "KeyId": id, "GrantId": "0".repeat(64) }), "NotFoundException"),
        ("RetireGrant", json!({}), "ValidationException"),
        ("RetireGrant", json!({ "KeyId": id }), "ValidationException"),
        ("RetireGrant", json!({ "GrantToken": "x" }), "InvalidGrantTokenException"),
        ("RetireGrant", json!({ "GrantToken": "x", "KeyId": id }), "ValidationException"),
        ("RetireGrant", json!({ "KeyId": id, "GrantId": "0".repeat(64) }), "NotFoundException"),
        ("ListRetirableGrants", json!({}), "ValidationException"),
        ("ListRetirableGrants", json!({ "RetiringPrincipal": "x" }), "NotFoundException"),
        (
            "ListRetirableGrants",
            json!({ "RetiringPrincipal": "arn:aws:iam::111122223333:user/a" }),
            "AccessDeniedException",
        ),
    ] {
        assert_eq!(rig.refused(operation, input.clone()).await, exception, "{operation} {input}");
    }
    let foreign = arn(&id).replace(ACCOUNT, "111122223333");
    let input = json!({ "KeyId": foreign, "GrantId": "0".repeat(64) });
    assert_eq!(rig.refused("RetireGrant", input).await, "AccessDeniedException");
}

#[tokio::test]
async fn a_grant_opens_what_the_key_policy_leaves_closed() {
    let rig = Rig::new().await;
    let id = rig.closed_key().await;
    let encrypt = |context: Value| json!({ "KeyId": id, "Plaintext": b64("x"), "EncryptionContext": context });
    assert_eq!(rig.refused("Encrypt", encrypt(json!({}))).await, "AccessDeniedException");
    let to_root = with(grant(&id, &["Encrypt", "Decrypt"]), "GranteePrincipal", ACCOUNT);
    let constraints = json!({ "EncryptionContextSubset": { "tenant": "7" } });
    let to_root = with(to_root, "Constraints", constraints);
    let made = rig.ok("CreateGrant", to_root).await;

    let ours = json!({ "tenant": "7", "more": "x" });
    let before = decisions::so_far();
    let blob = rig.ok("Encrypt", encrypt(ours.clone())).await["CiphertextBlob"].clone();
    assert_eq!(decisions::so_far() - before, 1, "policies are asked once, grant or not");
    rig.ok("Decrypt", json!({ "CiphertextBlob": blob, "EncryptionContext": ours })).await;
    for context in [json!({}), json!({ "tenant": "8" }), json!({ "Tenant": "7" })] {
        assert_eq!(rig.refused("Encrypt", encrypt(context)).await, "AccessDeniedException");
    }
    let data_key = json!({ "KeyId": id, "KeySpec": "AES_256", "EncryptionContext": ours });
    assert_eq!(rig.refused("GenerateDataKey", data_key).await, "AccessDeniedException");
    // It opens an operation, not a state.
    rig.force_state(&id, kms_model::state::KeyState::Disabled).await;
    assert_eq!(rig.refused("Encrypt", encrypt(ours.clone())).await, "DisabledException");
    rig.force_state(&id, kms_model::state::KeyState::Enabled).await;

    let denied = json!([
        { "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*" },
        { "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*" },
    ]);
    let closed = rig.ok("ListGrants", json!({ "KeyId": id })).await;
    assert_eq!(closed["Grants"].as_array().unwrap().len(), 1);
    let policy = json!({ "Version": "2012-10-17", "Statement": denied }).to_string();
    rig.ok("PutKeyPolicy", json!({ "KeyId": id, "Policy": policy })).await;
    let refusal = rig.refusal("Encrypt", encrypt(ours.clone())).await;
    assert!(refusal.contains("explicit deny"), "{refusal}");

    rig.ok("RevokeGrant", json!({ "KeyId": id, "GrantId": made["GrantId"] })).await;
    assert_eq!(rig.refused("Encrypt", encrypt(ours)).await, "AccessDeniedException");
}

#[tokio::test]
async fn a_grantee_passes_on_no_more_than_it_has() {
    let rig = Rig::new().await;
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": ["kms:*"], "Resource": "*" }
    ] });
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let parent = with(grant(&id, &["CreateGrant", "Decrypt"]), "GranteePrincipal", ROOT);
    let subset = json!({ "EncryptionContextSubset": { "a": "1" } });
    rig.ok("CreateGrant", with(parent, "Constraints", subset.clone())).await;
    // From here on the account has nothing but its grant and the policy.
    let closed = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": ["kms:PutKeyPolicy"], "Resource": "*" }
    ] });
    rig.ok("PutKeyPolicy", json!({ "KeyId": id, "Policy": closed.to_string() })).await;

    let child = grant(&id, &["Decrypt"]);
    let stricter = json!({ "EncryptionContextEquals": { "a": "1", "b": "2" } });
    rig.ok("CreateGrant", with(child.clone(), "Constraints", subset.clone())).await;
    rig.ok("CreateGrant", with(child.clone(), "Constraints", stricter)).await;
    for wider in [
        child.clone(),
        with(grant(&id, &["Decrypt", "Encrypt"]), "Constraints", subset.clone()),
        with(child, "Constraints", json!({ "EncryptionContextEquals": { "b": "2" } })),
    ] {
        assert_eq!(rig.refused("CreateGrant", wider).await, "AccessDeniedException");
    }
    rig.ok("PutKeyPolicy", json!({ "KeyId": id, "Policy": policy.to_string() })).await;
    assert_eq!(rig.grants(&id).await.len(), 3);
}
