//! Users and roles that use keys.

use serde_json::{Value, json};

use super::rig::{ACCOUNT, Rig, credentials, root};
use kms_base::principal::Principal;
use kms_model::Operation;

const ANY: &str = "*";

pub(super) fn document(effect: &str, action: &str, condition: Option<Value>) -> String {
    let mut statement = json!({ "Effect": effect, "Action": action, "Resource": ANY });
    if let Some(condition) = condition {
        statement["Condition"] = condition;
    }
    json!({ "Version": "2012-10-17", "Statement": statement }).to_string()
}

pub(super) fn key_policy(statements: &[Value]) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

pub(super) fn of_root() -> Value {
    json!({ "Effect": "Allow", "Principal": { "AWS": ACCOUNT }, "Action": "kms:*", "Resource": ANY })
}

impl Rig {
    /// A user, and its principal.
    async fn caller(&self, name: &str) -> Principal {
        let (id, _) = self.user(name).await;
        self.principal(&id).await
    }

    pub(super) async fn put(&self, user: &str, name: &str, document: &str) {
        let parameters = [("UserName", user), ("PolicyName", name), ("PolicyDocument", document)];
        self.ok("PutUserPolicy", &parameters).await;
    }

    pub(super) async fn key(&self, input: Value) -> String {
        let made = self.kms(&root(), "CreateKey", input).await.unwrap();
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    pub(super) async fn encrypts(
        &self,
        caller: &Principal,
        key: &str,
        context: Value,
    ) -> Result<(), String> {
        let input = json!({ "KeyId": key, "Plaintext": "AAAA", "EncryptionContext": context });
        let outcome = self.kms(caller, "Encrypt", input).await;
        outcome.map(drop).map_err(|error| error.to_string())
    }

    /// A session of a role that `caller` assumes.
    async fn assume(&self, caller: &Principal, role: &str, policy: Option<&str>) -> Principal {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/{role}");
        let mut parameters = vec![("RoleArn", arn.as_str()), ("RoleSessionName", "work")];
        parameters.extend(policy.map(|policy| ("Policy", policy)));
        let session = self.call(caller, "AssumeRole", &parameters).await.unwrap();
        let [id, _, token] = credentials(&session);
        self.lookup(&id, Some(&token)).await.unwrap().unwrap().principal().clone()
    }
}

/// Nothing at all, whatever is asked: not one operation forgets to check the caller.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_what_nothing_allows() {
    let rig = Rig::new().await;
    let ana = rig.caller("ana").await;
    let key = rig.key(json!({})).await;
    let sign = rig.key(json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" })).await;
    let alias = json!({ "AliasName": "alias/a", "TargetKeyId": key });
    rig.kms(&root(), "CreateAlias", alias).await.unwrap();
    let grant = json!({ "KeyId": key, "GranteePrincipal": ACCOUNT, "Operations": ["Decrypt"] });
    let grant = rig.kms(&root(), "CreateGrant", grant).await.unwrap()["GrantId"].clone();
    let blob = json!({ "KeyId": key, "Plaintext": "AAAA" });
    let blob = rig.kms(&root(), "Encrypt", blob).await.unwrap()["CiphertextBlob"].clone();
    let all = json!({
        "AliasName": "alias/a", "TargetKeyId": key, "KeyId": key, "GrantId": grant,
        "GranteePrincipal": ACCOUNT, "RetiringPrincipal": ACCOUNT, "Operations": ["Decrypt"],
        "Plaintext": "AAAA", "CiphertextBlob": blob, "DestinationKeyId": key,
        "SourceKeyId": key, "NumberOfBytes": 32, "KeySpec": "AES_256",
        "KeyPairSpec": "ECC_NIST_P256", "Message": "AAAA", "Mac": "AAAA", "Signature": "AAAA",
        "SigningAlgorithm": "ECDSA_SHA_256", "MacAlgorithm": "HMAC_SHA_256",
        "KeyAgreementAlgorithm": "ECDH", "PublicKey": "AAAA", "PolicyName": "default",
        "Policy": key_policy(&[of_root()]), "Tags": [{ "TagKey": "a", "TagValue": "b" }],
        "TagKeys": ["a"], "Description": "x", "PrimaryRegion": "us-east-1",
        "ReplicaRegion": "eu-west-1", "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
        "WrappingKeySpec": "RSA_2048", "ImportToken": "AAAA", "EncryptedKeyMaterial": "AAAA",
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE", "CustomKeyStoreName": "x",
        "CustomKeyStoreId": "cks-1234567890abcdef0", "EncapsulationAlgorithm": "ML_KEM_768",
        "Ciphertext": "AAAA",
    });
    let mut denied = 0;
    for operation in Operation::ALL {
        let mut input = all.clone();
        match operation.name() {
            "CreateKey" => drop(input.as_object_mut().unwrap().remove("KeySpec")),
            "Sign" | "Verify" | "GetPublicKey" => input["KeyId"] = json!(sign),
            "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" => {
                input.as_object_mut().unwrap().remove("NumberOfBytes");
            }
            "RetireGrant" => drop(input.as_object_mut().unwrap().remove("GrantToken")),
            _ => {}
        }
        let error = rig.kms(&ana, operation.name(), input).await.unwrap_err();
        let text = error.to_string();
        assert!(
            ["AccessDeniedException", "ValidationException"].contains(&error.code()),
            "{}: {text}",
            operation.name()
        );
        denied += usize::from(error.code() == "AccessDeniedException");
    }
    assert!(denied > 45, "only {denied} of the inputs were good enough to be denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_policies_count_where_the_key_lets_the_account_decide() {
    let rig = Rig::new().await;
    let ana = rig.caller("ana").await;
    let key = rig.key(json!({})).await;
    let arn = format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{key}");
    let none = json!({});
    let denied = format!(
        "AccessDeniedException: User: arn:aws:iam::{ACCOUNT}:user/ana is not authorized to \
         perform: kms:Encrypt on resource: {arn} "
    );
    let refusal = rig.encrypts(&ana, &key, none.clone()).await.unwrap_err();
    assert_eq!(
        refusal,
        format!("{denied}because no identity-based policy allows the kms:Encrypt action")
    );
    let team = json!({ "StringEquals": { "kms:EncryptionContext:team": "red" } });
    rig.put("ana", "p", &document("Allow", "kms:Encrypt", Some(team))).await;
    rig.encrypts(&ana, &key, json!({ "team": "red" })).await.unwrap();
    rig.encrypts(&ana, &key, json!({ "team": "blue" })).await.unwrap_err();
    rig.encrypts(&ana, &key, none.clone()).await.unwrap_err();
    rig.kms(&ana, "DescribeKey", json!({ "KeyId": key })).await.unwrap_err();

    rig.put("ana", "p", &document("Allow", "kms:*", None)).await;
    rig.encrypts(&ana, &key, none.clone()).await.unwrap();
    rig.kms(&ana, "CreateKey", json!({})).await.unwrap();
    rig.put("ana", "q", &document("Deny", "kms:Enc*", None)).await;
    let refusal = rig.encrypts(&ana, &key, none.clone()).await.unwrap_err();
    assert_eq!(refusal, format!("{denied}with an explicit deny in an identity-based policy"));
    rig.ok("DeleteUserPolicy", &[("UserName", "ana"), ("PolicyName", "q")]).await;
    rig.encrypts(&ana, &key, none.clone()).await.unwrap();

    // A key whose policy does not name the account is none of its identity policies' business.
    let closed = json!({ "Effect": "Allow", "Principal": { "AWS": "111122223333" },
                         "Action": "kms:*", "Resource": ANY });
    let closed = json!({ "Policy": key_policy(&[closed]), "BypassPolicyLockoutSafetyCheck": true });
    let closed = rig.key(closed).await;
    let refusal = rig.encrypts(&ana, &closed, none).await.unwrap_err();
    assert!(refusal.ends_with("because no resource-based policy allows the kms:Encrypt action"));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_boundaries() {
    let rig = Rig::new().await;
    let ana = rig.caller("ana").await;
    let (key, none) = (rig.key(json!({})).await, json!({}));
    let all = document("Allow", "kms:*", None);
    rig.ok("CreateGroup", &[("GroupName", "team")]).await;
    let policy = [("GroupName", "team"), ("PolicyName", "p"), ("PolicyDocument", all.as_str())];
    rig.ok("PutGroupPolicy", &policy).await;
    rig.encrypts(&ana, &key, none.clone()).await.unwrap_err();
    rig.ok("AddUserToGroup", &[("GroupName", "team"), ("UserName", "ana")]).await;
    rig.encrypts(&ana, &key, none.clone()).await.unwrap();

    let narrow = document("Allow", "kms:Decrypt", None);
    let made = rig.ok("CreatePolicy", &[("PolicyName", "b"), ("PolicyDocument", &narrow)]).await;
    let boundary = made["Policy"]["Arn"].as_str().unwrap();
    let bounded = [("UserName", "ana"), ("PermissionsBoundary", boundary)];
    rig.ok("PutUserPermissionsBoundary", &bounded).await;
    let refusal = rig.encrypts(&ana, &key, none.clone()).await.unwrap_err();
    assert!(refusal.ends_with("because no permissions boundary allows the kms:Encrypt action"));
    rig.ok("DeleteUserPermissionsBoundary", &[("UserName", "ana")]).await;
    rig.encrypts(&ana, &key, none).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_policy_names_users_and_means_those_of_its_time() {
    let rig = Rig::new().await;
    let ana = rig.caller("ana").await;
    let named = json!({ "Effect": "Allow", "Principal": { "AWS": ana.arn() },
                        "Action": "kms:Encrypt", "Resource": ANY });
    let policy = json!({ "Policy": key_policy(&[of_root(), named.clone()]) });
    let (key, none) = (rig.key(policy.clone()).await, json!({}));
    rig.encrypts(&ana, &key, none.clone()).await.unwrap();
    let restarted = rig.restarted().await;
    let described = restarted.kms(&root(), "DescribeKey", json!({ "KeyId": key })).await;
    described.expect("the policy is read again");

    for (operation, key_id) in [("DeleteAccessKey", Some(&ana.access_key_id)), ("DeleteUser", None)]
    {
        let mut parameters = vec![("UserName", "ana")];
        parameters.extend(key_id.map(|id| ("AccessKeyId", id.as_str())));
        rig.ok(operation, &parameters).await;
    }
    let error = rig.kms(&root(), "CreateKey", policy.clone()).await.unwrap_err();
    assert_eq!(error.code(), "MalformedPolicyDocumentException");
    let again = rig.caller("ana").await;
    rig.encrypts(&again, &key, none.clone()).await.unwrap_err();
    rig.encrypts(&ana, &key, none.clone()).await.unwrap_err();
    rig.kms(&root(), "PutKeyPolicy", json!({ "KeyId": key, "Policy": policy["Policy"] }))
        .await
        .unwrap();
    rig.encrypts(&again, &key, none).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_roles() {
    let rig = Rig::new().await;
    let ana = rig.caller("ana").await;
    let (key, none) = (rig.key(json!({})).await, json!({}));
    let trust = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
        "Principal": { "AWS": ana.arn() }, "Action": "sts:AssumeRole" } })
    .to_string();
    let role = [("RoleName", "ops"), ("AssumeRolePolicyDocument", trust.as_str())];
    rig.ok("CreateRole", &role).await;
    let session = rig.assume(&ana, "ops", None).await;
    rig.encrypts(&session, &key, none.clone()).await.unwrap_err();
    let all = document("Allow", "kms:*", None);
    let policy = [("RoleName", "ops"), ("PolicyName", "p"), ("PolicyDocument", all.as_str())];
    rig.ok("PutRolePolicy", &policy).await;
    rig.encrypts(&session, &key, none.clone()).await.unwrap();

    let narrow = rig.assume(&ana, "ops", Some(&document("Allow", "kms:Describe*", None))).await;
    let refusal = rig.encrypts(&narrow, &key, none.clone()).await.unwrap_err();
    assert!(refusal.ends_with("because no session policy allows the kms:Encrypt action"));
    rig.kms(&narrow, "DescribeKey", json!({ "KeyId": key })).await.unwrap();

    // A grant to the role is one to its sessions, within their limits.
    rig.ok("DeleteRolePolicy", &[("RoleName", "ops"), ("PolicyName", "p")]).await;
    rig.encrypts(&session, &key, none.clone()).await.unwrap_err();
    let grant = json!({ "KeyId": key, "GranteePrincipal": session.arn(),
                        "Operations": ["Encrypt"] });
    rig.kms(&root(), "CreateGrant", grant).await.unwrap();
    rig.encrypts(&session, &key, none.clone()).await.unwrap();
    rig.encrypts(&narrow, &key, none).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_to_users_and_who_retires_them() {
    let rig = Rig::new().await;
    let (ana, bob) = (rig.caller("ana").await, rig.caller("bob").await);
    let (key, none) = (rig.key(json!({})).await, json!({}));
    let grant = json!({ "KeyId": key, "GranteePrincipal": ana.arn(),
        "RetiringPrincipal": bob.arn(), "Operations": ["Encrypt"],
        "Constraints": { "EncryptionContextSubset": { "a": "b" } } });
    let made = rig.kms(&root(), "CreateGrant", grant).await.unwrap();
    rig.encrypts(&ana, &key, json!({ "a": "b", "c": "d" })).await.unwrap();
    rig.encrypts(&ana, &key, none.clone()).await.unwrap_err();
    rig.encrypts(&bob, &key, json!({ "a": "b" })).await.unwrap_err();

    // One that is denied it by its own policy may not, whatever the grant says.
    rig.put("ana", "p", &document("Deny", "kms:Encrypt", None)).await;
    rig.encrypts(&ana, &key, json!({ "a": "b" })).await.unwrap_err();

    let retire = json!({ "KeyId": format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{key}"),
                         "GrantId": made["GrantId"] });
    let error = rig.kms(&ana, "RetireGrant", retire.clone()).await.unwrap_err();
    assert_eq!(error.code(), "AccessDeniedException");
    rig.put("bob", "p", &document("Deny", "kms:RetireGrant", None)).await;
    rig.kms(&bob, "RetireGrant", retire.clone()).await.unwrap_err();
    rig.ok("DeleteUserPolicy", &[("UserName", "bob"), ("PolicyName", "p")]).await;
    rig.kms(&bob, "RetireGrant", retire).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn users_do_not_lock_themselves_out() {
    let rig = Rig::new().await;
    let ana = rig.caller("ana").await;
    rig.put("ana", "p", &document("Allow", "kms:CreateKey", None)).await;
    let (default, own) = (
        json!({ "Policy": key_policy(&[of_root()]) }),
        json!({ "Policy": key_policy(&[json!({ "Effect": "Allow", "Resource": ANY,
            "Principal": { "AWS": ana.arn() }, "Action": "kms:PutKeyPolicy" })]) }),
    );
    let error = rig.kms(&ana, "CreateKey", default.clone()).await.unwrap_err();
    assert_eq!(error.code(), "MalformedPolicyDocumentException");
    rig.kms(&ana, "CreateKey", own.clone()).await.unwrap();
    let error = rig.kms(&root(), "CreateKey", own).await.unwrap_err();
    assert_eq!(error.code(), "MalformedPolicyDocumentException");
    rig.put("ana", "p", &document("Allow", "kms:*KeyPolicy", None)).await;
    rig.put("ana", "q", &document("Allow", "kms:CreateKey", None)).await;
    rig.kms(&ana, "CreateKey", default).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_need_permission_on_name_and_key() {
    let rig = Rig::new().await;
    let ana = rig.caller("ana").await;
    let key = rig.key(json!({})).await;
    let alias = format!("arn:aws:kms:us-east-1:{ACCOUNT}:alias/ana/*");
    let both = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
        "Action": "kms:CreateAlias",
        "Resource": [alias, format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{key}")] } });
    rig.put("ana", "p", &both.to_string()).await;
    let create = |name: &str| json!({ "AliasName": name, "TargetKeyId": key });
    rig.kms(&ana, "CreateAlias", create("alias/ana/one")).await.unwrap();
    rig.kms(&ana, "CreateAlias", create("alias/bob/one")).await.unwrap_err();
    let other = rig.key(json!({})).await;
    let create = json!({ "AliasName": "alias/ana/two", "TargetKeyId": other });
    rig.kms(&ana, "CreateAlias", create).await.unwrap_err();
}
