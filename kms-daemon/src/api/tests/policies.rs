//! Key policies through the API.

use serde_json::{Value, json};

use super::Rig;
use super::rig::{ACCOUNT, arn, b64};

fn policy(statements: Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn allow(actions: Value) -> Value {
    json!({ "Effect": "Allow", "Principal": "*", "Action": actions, "Resource": "*" })
}

#[tokio::test]
async fn a_policy_is_kept_as_it_was_put() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let text = format!("\n {}\t", policy(allow(json!("kms:*"))));
    let input = json!({ "KeyId": id, "Policy": text });
    let (answer, facts) = rig.audited("PutKeyPolicy", input).await;
    assert!(answer.unwrap().is_null());
    assert_eq!(facts.request_parameters.unwrap()["policy"], json!(text));
    let read = rig.ok("GetKeyPolicy", json!({ "KeyId": id, "PolicyName": "default" })).await;
    assert_eq!(read, json!({ "Policy": text, "PolicyName": "default" }));
}

#[tokio::test]
async fn a_key_obeys_its_policy() {
    let rig = Rig::new().await;
    let only = policy(allow(json!(["kms:Put*", "kms:Get*", "kms:Encrypt"])));
    let created = rig.ok("CreateKey", json!({ "Policy": only })).await;
    let id = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let encrypt = json!({ "KeyId": id, "Plaintext": b64("x") });
    let made = rig.ok("Encrypt", encrypt.clone()).await;
    assert_eq!(
        rig.refusal("DisableKey", json!({ "KeyId": id })).await,
        format!(
            "AccessDeniedException: User: arn:aws:iam::{ACCOUNT}:root is not authorized to \
             perform: kms:DisableKey on resource: {} because no resource-based policy allows the \
             kms:DisableKey action",
            arn(&id)
        )
    );
    let decrypt = json!({ "CiphertextBlob": made["CiphertextBlob"] });
    let uniform = "AccessDeniedException: The ciphertext refers to a customer master key that \
                   does not exist, does not exist in this region, or you are not allowed to access.";
    assert_eq!(rig.refusal("Decrypt", decrypt).await, uniform);

    let deny = json!([
        allow(json!("kms:*")),
        { "Effect": "Deny", "Principal": { "AWS": ACCOUNT }, "Action": "kms:Encrypt", "Resource": arn(&id) },
    ]);
    rig.ok("PutKeyPolicy", json!({ "KeyId": id, "Policy": policy(deny) })).await;
    assert_eq!(
        rig.refusal("Encrypt", encrypt).await,
        format!(
            "AccessDeniedException: User: arn:aws:iam::{ACCOUNT}:root is not authorized to \
             perform: kms:Encrypt on resource: {} with an explicit deny in a resource-based policy",
            arn(&id)
        )
    );
}

#[tokio::test]
async fn a_dry_run_is_authorized_too() {
    let rig = Rig::new().await;
    let only = policy(allow(json!(["kms:PutKeyPolicy"])));
    let created = rig.ok("CreateKey", json!({ "Policy": only })).await;
    let id = &created["KeyMetadata"]["KeyId"];
    let input = json!({ "KeyId": id, "Plaintext": b64("x"), "DryRun": true });
    assert_eq!(rig.refused("Encrypt", input).await, "AccessDeniedException");
}

#[tokio::test]
async fn lockout_is_prevented_unless_it_is_wanted() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let locked_out = [
        policy(allow(json!("kms:Encrypt"))),
        policy(json!({ "Effect": "Allow", "Principal": { "AWS": "111122223333" },
                       "Action": "kms:*", "Resource": "*" })),
        policy(json!([allow(json!("kms:*")), { "Effect": "Deny", "Principal": "*",
                       "Action": "kms:PutKeyPolicy", "Resource": "*" }])),
    ];
    for text in locked_out {
        let expected = "MalformedPolicyDocumentException: The new key policy will not allow you \
                        to update the key policy in the future.";
        let put = json!({ "KeyId": id, "Policy": text });
        assert_eq!(rig.refusal("PutKeyPolicy", put).await, expected);
        assert_eq!(rig.refusal("CreateKey", json!({ "Policy": text })).await, expected);
        let bypass = json!({ "Policy": text, "BypassPolicyLockoutSafetyCheck": true });
        let created = rig.ok("CreateKey", bypass).await;
        let put = json!({ "KeyId": created["KeyMetadata"]["KeyId"], "Policy": text });
        assert_eq!(rig.refused("PutKeyPolicy", put).await, "AccessDeniedException");
    }
}

#[tokio::test]
async fn documents_that_are_not_acceptable() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let mut conditional = allow(json!("kms:*"));
    conditional["Condition"] = json!({ "Bool": { "kms:NoSuchKey": "true" } });
    let long = |length: usize| {
        let mut document = json!({ "Id": "", "Statement": allow(json!("kms:*")) });
        document["Id"] = json!("x".repeat(length - document.to_string().len()));
        document.to_string()
    };
    for (text, expected) in [
        ("{".to_owned(), "MalformedPolicyDocumentException"),
        (policy(conditional), "MalformedPolicyDocumentException"),
        (long(32_769), "LimitExceededException"),
        (long(131_073), "ValidationException"),
        (String::new(), "ValidationException"),
        ("\u{100}".to_owned(), "ValidationException"),
    ] {
        let put = json!({ "KeyId": id, "Policy": text });
        assert_eq!(rig.refused("PutKeyPolicy", put).await, expected);
        assert_eq!(rig.refused("CreateKey", json!({ "Policy": text })).await, expected);
    }
    rig.ok("PutKeyPolicy", json!({ "KeyId": id, "Policy": long(32_768) })).await;
}

#[tokio::test]
async fn a_key_has_one_policy() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let get = |name: &str| json!({ "KeyId": id, "PolicyName": name });
    for name in ["AWS_RAM", "other"] {
        assert_eq!(rig.refused("GetKeyPolicy", get(name)).await, "NotFoundException");
        let text = policy(allow(json!("kms:*")));
        let put = json!({ "KeyId": id, "PolicyName": name, "Policy": text });
        assert_eq!(rig.refused("PutKeyPolicy", put).await, "ValidationException");
    }
    assert_eq!(rig.refused("GetKeyPolicy", get("not a name")).await, "ValidationException");
}

#[tokio::test]
async fn no_grant_token_is_known() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let input = json!({ "KeyId": id, "Plaintext": b64("x"), "GrantTokens": ["token"] });
    assert_eq!(rig.refused("Encrypt", input).await, "InvalidGrantTokenException");
    let describe = |tokens: Value| json!({ "KeyId": id, "GrantTokens": tokens });
    rig.ok("DescribeKey", describe(json!([]))).await;
    rig.ok("DescribeKey", describe(Value::Null)).await;
    let eleven: Vec<_> = (0..11).map(|n| n.to_string()).collect();
    assert_eq!(rig.refused("DescribeKey", describe(json!(eleven))).await, "ValidationException");
    assert_eq!(rig.refused("DescribeKey", describe(json!([""]))).await, "ValidationException");
}

#[tokio::test]
async fn conditions_of_a_key_policy_are_evaluated() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let mut conditional = allow(json!(["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"]));
    let mut put = async |condition: Value| {
        conditional["Condition"] = condition;
        let others = json!({ "Effect": "Allow", "Principal": "*", "Action": "kms:Put*",
                             "Resource": "*" });
        let text = policy(json!([others, conditional]));
        rig.ok("PutKeyPolicy", json!({ "KeyId": id, "Policy": text })).await;
    };
    let encrypt = |context: Value| json!({ "KeyId": id, "Plaintext": b64("x"), "EncryptionContext": context });
    let allowed = async |input: Value| rig.call("Encrypt", input).await.is_ok();
    for (condition, applies) in [
        (json!({ "StringEquals": { "kms:EncryptionContext:a": "b" } }), true),
        (json!({ "StringEquals": { "kms:EncryptionContext:a": "c" } }), false),
        (json!({ "StringEquals": { "kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT" } }), true),
        (json!({ "StringEquals": { "kms:CallerAccount": ACCOUNT } }), true),
        (json!({ "StringEquals": { "kms:ViaService": "s3.us-east-1.amazonaws.com" } }), false),
        (json!({ "StringEquals": { "kms:KeySpec": "SYMMETRIC_DEFAULT" } }), true),
        (json!({ "Bool": { "kms:MultiRegion": "false" } }), true),
        (json!({ "Bool": { "aws:SecureTransport": "true" } }), false),
        (json!({ "IpAddress": { "aws:SourceIp": "127.0.0.0/8" } }), true),
        (json!({ "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } }), false),
        (json!({ "StringEquals": { "aws:RequestedRegion": "us-east-1" } }), true),
        (json!({ "DateGreaterThan": { "aws:CurrentTime": "2020-01-01T00:00:00Z" } }), true),
        (json!({ "DateLessThan": { "aws:CurrentTime": "2020-01-01T00:00:00Z" } }), false),
        (json!({ "StringLike": { "kms:RequestAlias": "*" } }), false),
        (json!({ "ForAllValues:StringEquals": { "kms:EncryptionContextKeys": ["a"] } }), true),
    ] {
        put(condition.clone()).await;
        assert_eq!(allowed(encrypt(json!({ "a": "b" }))).await, applies, "{condition}");
    }
}
