//! Grants to users and roles, and whom they mean.

use serde_json::{Value, json};

use super::rig::{ACCOUNT, Rig, credentials, root};
use kms_base::principal::Principal;

impl Rig {
    /// A user, and its principal.
    async fn grantee(&self, name: &str) -> Principal {
        let (id, _) = self.user(name).await;
        self.principal(&id).await
    }

    async fn grant(&self, key: &str, names: Value) -> Result<Value, String> {
        let mut input = json!({ "KeyId": key, "Operations": ["Encrypt", "RetireGrant"] });
        for (name, value) in names.as_object().unwrap() {
            input[name] = value.clone();
        }
        let made = self.kms(&root(), "CreateGrant", input).await;
        made.map_err(|error| error.to_string())
    }

    async fn can_encrypt(&self, who: &Principal, key: &str) -> bool {
        let input = json!({ "KeyId": key, "Plaintext": "AAAA" });
        self.kms(who, "Encrypt", input).await.is_ok()
    }

    async fn a_key(&self) -> String {
        let made = self.kms(&root(), "CreateKey", json!({})).await.unwrap();
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    /// The same user by name, and another by id.
    async fn made_again(&self, who: &Principal) -> Principal {
        let name = who.username().unwrap();
        let key = [("UserName", name), ("AccessKeyId", who.access_key_id.as_str())];
        self.ok("DeleteAccessKey", &key).await;
        self.ok("DeleteUser", &key[..1]).await;
        self.grantee(name).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_mean_the_users_of_their_time() {
    let rig = Rig::new().await;
    let (ana, bob, key) = (rig.grantee("ana").await, rig.grantee("bob").await, rig.a_key().await);
    let names = json!({ "GranteePrincipal": ana.arn(), "RetiringPrincipal": bob.arn() });
    let made = rig.grant(&key, names.clone()).await.unwrap();
    assert!(rig.can_encrypt(&ana, &key).await);
    assert!(rig.restarted().await.can_encrypt(&ana, &key).await);
    let (ana, bob) = (rig.made_again(&ana).await, rig.made_again(&bob).await);
    assert!(!rig.can_encrypt(&ana, &key).await, "this is another ana");
    let retire = json!({ "GrantToken": made["GrantToken"] });
    for who in [&ana, &bob] {
        let error = rig.kms(who, "RetireGrant", retire.clone()).await.unwrap_err();
        assert_eq!(error.code(), "AccessDeniedException");
    }
    rig.grant(&key, names).await.unwrap();
    assert!(rig.can_encrypt(&ana, &key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_grant_to_another_user_is_another_grant() {
    let rig = Rig::new().await;
    let (ana, key) = (rig.grantee("ana").await, rig.a_key().await);
    let names = json!({ "GranteePrincipal": ana.arn(), "Name": "n" });
    let ids = [
        rig.grant(&key, names.clone()).await.unwrap()["GrantId"].clone(),
        rig.grant(&key, names.clone()).await.unwrap()["GrantId"].clone(),
    ];
    assert_eq!(ids[0], ids[1]);
    let ana = rig.made_again(&ana).await;
    assert_ne!(rig.grant(&key, names).await.unwrap()["GrantId"], ids[0]);
    assert!(rig.can_encrypt(&ana, &key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_to_roles_and_to_sessions() {
    let rig = Rig::new().await;
    let (ana, key) = (rig.grantee("ana").await, rig.a_key().await);
    let trust = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
        "Principal": { "AWS": ana.arn() }, "Action": "sts:AssumeRole" } })
    .to_string();
    let role = [("RoleName", "ops"), ("Path", "/x/"), ("AssumeRolePolicyDocument", trust.as_str())];
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/x/ops");
    let session = async |name: &str| {
        let parameters = [("RoleArn", arn.as_str()), ("RoleSessionName", name)];
        let answer = rig.call(&ana, "AssumeRole", &parameters).await.unwrap();
        let [id, _, token] = credentials(&answer);
        rig.lookup(&id, Some(&token)).await.unwrap().unwrap().principal().clone()
    };
    for named in ["role", "session"] {
        rig.ok("CreateRole", &role).await;
        let (one, two) = (session("one").await, session("two").await);
        let grantee = if named == "role" { one.arn() } else { one.caller_arn() };
        rig.grant(&key, json!({ "GranteePrincipal": grantee })).await.unwrap();
        assert!(rig.can_encrypt(&one, &key).await, "{named}");
        assert_eq!(rig.can_encrypt(&two, &key).await, named == "role");
        rig.ok("DeleteRole", &role[..1]).await;
        rig.ok("CreateRole", &role).await;
        assert!(!rig.can_encrypt(&session("one").await, &key).await, "this is another role");
        rig.ok("DeleteRole", &role[..1]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_exist_is_granted_nothing() {
    let rig = Rig::new().await;
    let (ana, key) = (rig.grantee("ana").await, rig.a_key().await);
    for nobody in ["user/nobody", "user/team/ana", "user/ANA", "role/ana"] {
        let arn = format!("arn:aws:iam::{ACCOUNT}:{nobody}");
        let text = format!("InvalidArnException: ARN does not refer to a valid principal: {arn}");
        for names in [
            json!({ "GranteePrincipal": arn }),
            json!({ "GranteePrincipal": ana.arn(), "RetiringPrincipal": arn }),
        ] {
            assert_eq!(rig.grant(&key, names).await.unwrap_err(), text);
        }
    }
    let sessions = format!("arn:aws:sts::{ACCOUNT}:");
    for session in ["assumed-role/ana/s", "federated-user/ana"] {
        let names = json!({ "GranteePrincipal": format!("{sessions}{session}") });
        assert!(rig.grant(&key, names).await.is_err(), "{session}");
    }
    for (partition, found) in [("aws", true), ("aws-cn", true), ("aws:iam", false)] {
        let arn = ana.arn().replace("arn:aws:", &format!("arn:{partition}:"));
        assert_eq!(rig.iam.unique_id(&arn).await.unwrap().is_some(), found, "{arn}");
    }
    // Whether somebody exists is told to those only who may grant.
    let create = json!({ "KeyId": key, "Operations": ["Encrypt"],
        "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:user/nobody") });
    let error = rig.kms(&ana, "CreateGrant", create).await.unwrap_err();
    assert_eq!(error.code(), "AccessDeniedException");
}

/// A principal whose ARN starts as another one's is somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn listings_are_of_whole_names() {
    let rig = Rig::new().await;
    let (bob, bobby, key) =
        (rig.grantee("bob").await, rig.grantee("bobby").await, rig.a_key().await);
    for who in [&bob, &bobby, &bobby] {
        let names = json!({ "GranteePrincipal": who.arn(), "RetiringPrincipal": who.arn() });
        rig.grant(&key, names).await.unwrap();
    }
    for (who, count) in [(bob, 1), (bobby, 2)] {
        for (operation, input) in [
            ("ListGrants", json!({ "KeyId": key, "GranteePrincipal": who.arn() })),
            ("ListRetirableGrants", json!({ "RetiringPrincipal": who.arn() })),
        ] {
            let listed = rig.kms(&root(), operation, input).await.unwrap();
            assert_eq!(listed["Grants"].as_array().unwrap().len(), count, "{operation}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_policy_can_name_a_session() {
    let rig = Rig::new().await;
    let ana = rig.grantee("ana").await;
    let trust = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
        "Principal": { "AWS": ana.arn() }, "Action": "sts:AssumeRole" } })
    .to_string();
    let role = [("RoleName", "ops"), ("AssumeRolePolicyDocument", trust.as_str())];
    let session = async || {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/ops");
        let parameters = [("RoleArn", arn.as_str()), ("RoleSessionName", "one")];
        let answer = rig.call(&ana, "AssumeRole", &parameters).await.unwrap();
        let [id, _, token] = credentials(&answer);
        rig.lookup(&id, Some(&token)).await.unwrap().unwrap().principal().clone()
    };
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": ACCOUNT }, "Action": "kms:*", "Resource": "*" },
        { "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*", "Principal": {
            "AWS": format!("arn:aws:sts::{ACCOUNT}:assumed-role/ops/one") } },
    ] });
    let create = json!({ "Policy": policy.to_string() });
    let error = rig.kms(&root(), "CreateKey", create.clone()).await.unwrap_err();
    assert_eq!(error.code(), "MalformedPolicyDocumentException", "there is no such role");
    rig.ok("CreateRole", &role).await;
    let made = rig.kms(&root(), "CreateKey", create).await.unwrap();
    let key = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    assert!(rig.can_encrypt(&session().await, key).await);
    rig.ok("DeleteRole", &role[..1]).await;
    rig.ok("CreateRole", &role).await;
    assert!(!rig.can_encrypt(&session().await, key).await, "this is another role");
}
