//! Users and roles that no longer exist, or were created again under their name: they are shown by their
//! unique ids, and explanations say that another one is meant.

use serde_json::{Value, json};

use super::keys::{key_policy, of_root};
use super::rig::{ACCOUNT, Rig, credentials, root};

use kms_base::principal::Principal;
use kms_query::Form;

const ROLE: &str = "arn:aws:iam::000000000000:role/x/app";
const SESSION: &str = "arn:aws:sts::000000000000:assumed-role/app/one";
const USER: &str = "arn:aws:iam::000000000000:user/ana";

impl Rig {
    /// Makes the role, which everybody trusts who is trusted by the account; its unique id.
    async fn app(&self) -> String {
        let trust = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
            "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole" } })
        .to_string();
        let parameters =
            [("RoleName", "app"), ("Path", "/x/"), ("AssumeRolePolicyDocument", &*trust)];
        let made = self.ok("CreateRole", &parameters).await;
        made["Role"]["RoleId"].as_str().unwrap().to_owned()
    }

    /// Makes the user; its unique id.
    async fn ana(&self) -> String {
        let made = self.ok("CreateUser", &[("UserName", "ana")]).await;
        made["User"]["UserId"].as_str().unwrap().to_owned()
    }

    async fn forget_both(&self) {
        self.ok("DeleteRole", &[("RoleName", "app")]).await;
        self.ok("DeleteUser", &[("UserName", "ana")]).await;
    }

    /// A session `one` of the role.
    async fn session(&self, caller: &Principal) -> Principal {
        let parameters = [("RoleArn", ROLE), ("RoleSessionName", "one")];
        let answer = self.call(caller, "AssumeRole", &parameters).await.unwrap();
        let [id, _, token] = credentials(&answer);
        self.lookup(&id, Some(&token)).await.unwrap().unwrap().principal().clone()
    }

    async fn policy_of(&self, key: &str) -> Value {
        let answer = self.kms(&root(), "GetKeyPolicy", json!({ "KeyId": key })).await.unwrap();
        serde_json::from_str(answer["Policy"].as_str().unwrap()).unwrap()
    }

    /// The trust policy of a role, as each of the operations shows it that do.
    pub(super) async fn trust(&self, role: &str) -> Value {
        let found = self.ok("GetRole", &[("RoleName", role)]).await;
        let listed = self.ok("ListRoles", &[]).await;
        let details = [("Filter.member.1", "Role")];
        let details = self.ok("GetAccountAuthorizationDetails", &details).await;
        let policies = [&listed["Roles"], &details["RoleDetailList"]].map(|roles| {
            let roles = roles.as_array().unwrap();
            let named = roles.iter().find(|found| found["RoleName"] == role).unwrap();
            named["AssumeRolePolicyDocument"].clone()
        });
        let shown = &found["Role"]["AssumeRolePolicyDocument"];
        assert_eq!(policies, [shown.clone(), shown.clone()]);
        let form = format!("Document={}", shown.as_str().unwrap());
        let form = Form::parse(form.as_bytes()).unwrap();
        serde_json::from_str(form.required("Document").unwrap()).unwrap()
    }

    async fn listed(&self, operation: &str, input: Value) -> Vec<Value> {
        let answer = self.kms(&root(), operation, input).await.unwrap();
        answer["Grants"].as_array().unwrap().clone()
    }
}

fn statements() -> [Value; 3] {
    let condition = json!({ "ArnEquals": { "aws:PrincipalArn": ROLE } });
    [
        of_root(),
        json!({ "Sid": "use", "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*",
            "Principal": { "AWS": [ROLE, USER, SESSION, ACCOUNT] } }),
        json!({ "Sid": "if", "Effect": "Deny", "Action": "kms:PutKeyPolicy", "Resource": "*",
            "Principal": { "AWS": ROLE }, "Condition": condition }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn key_policies_show_unique_ids() {
    let rig = Rig::new().await;
    let (role, user) = (rig.app().await, rig.ana().await);
    assert!(role.starts_with("AROA") && user.starts_with("AIDA"), "{role} {user}");
    let put = key_policy(&statements());
    let key = rig.key(json!({ "Policy": put })).await;
    let shown = rig.kms(&root(), "GetKeyPolicy", json!({ "KeyId": key })).await.unwrap();
    assert_eq!(shown["Policy"], json!(put), "all of them are there");

    rig.forget_both().await;
    let mut expected: Value = serde_json::from_str(&put).unwrap();
    let session = format!("{role}:one");
    expected["Statement"][1]["Principal"]["AWS"] = json!([role, user, session, ACCOUNT]);
    expected["Statement"][2]["Principal"]["AWS"] = json!(role);
    assert_eq!(rig.policy_of(&key).await, expected);
    // Others of the same names are not those that are meant.
    let (again, _) = (rig.app().await, rig.ana().await);
    assert_ne!(again, role);
    assert_eq!(rig.policy_of(&key).await, expected);
    let restarted = rig.restarted().await;
    assert_eq!(restarted.policy_of(&key).await, expected);
    // What is shown cannot be put, as the principals that it names no longer exist.
    let input = json!({ "KeyId": key, "Policy": expected.to_string() });
    let error = rig.kms(&root(), "PutKeyPolicy", input).await.unwrap_err();
    assert_eq!(error.code(), "MalformedPolicyDocumentException");
    rig.kms(&root(), "PutKeyPolicy", json!({ "KeyId": key, "Policy": put })).await.unwrap();
    let put: Value = serde_json::from_str(&put).unwrap();
    assert_eq!(rig.policy_of(&key).await, put);
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_policies_show_unique_ids() {
    let rig = Rig::new().await;
    let (role, user) = (rig.app().await, rig.ana().await);
    let named = |names: Value| {
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
            "Principal": { "AWS": names }, "Action": "sts:AssumeRole" }] })
    };
    let put = named(json!([ROLE, USER, SESSION, ACCOUNT]));
    let text = put.to_string();
    rig.ok("CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", &text)]).await;
    assert_eq!(rig.trust("r").await, put);
    rig.forget_both().await;
    let shown = named(json!([role, user, format!("{role}:one"), ACCOUNT]));
    assert_eq!(rig.trust("r").await, shown);
    // Others of the same names are not those that are meant.
    rig.app().await;
    rig.ana().await;
    assert_eq!(rig.restarted().await.trust("r").await, shown);
    rig.ok("UpdateAssumeRolePolicy", &[("RoleName", "r"), ("PolicyDocument", &text)]).await;
    assert_eq!(rig.trust("r").await, put);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_show_unique_ids() {
    let rig = Rig::new().await;
    let (role, user) = (rig.app().await, rig.ana().await);
    let key = rig.key(json!({})).await;
    let grant = async |grantee: &str, retiring: &str| {
        let input = json!({ "KeyId": key, "Operations": ["Encrypt"], "GranteePrincipal": grantee,
            "RetiringPrincipal": retiring });
        rig.kms(&root(), "CreateGrant", input).await.unwrap()["GrantId"].clone()
    };
    let old = [grant(ROLE, USER).await, grant(SESSION, ROLE).await];
    let parties = |grants: &[Value], id: &Value| {
        let entry = grants.iter().find(|entry| entry["GrantId"] == *id).unwrap();
        ["GranteePrincipal", "RetiringPrincipal"]
            .map(|member| entry[member].as_str().unwrap().to_owned())
    };
    let all = json!({ "KeyId": key });
    let listed = rig.listed("ListGrants", all.clone()).await;
    assert_eq!(parties(&listed, &old[0]), [ROLE, USER]);
    assert_eq!(parties(&listed, &old[1]), [SESSION, ROLE]);

    rig.forget_both().await;
    let shown = [[role.clone(), user.clone()], [format!("{role}:one"), role.clone()]];
    let listed = rig.listed("ListGrants", all.clone()).await;
    for (id, shown) in old.iter().zip(&shown) {
        assert_eq!(parties(&listed, id), *shown);
        let one = rig.listed("ListGrants", json!({ "KeyId": key, "GrantId": id })).await;
        assert_eq!(parties(&one, id), *shown);
    }
    // A name that nobody has finds nothing, and says so.
    let nobody = |arn: &str| format!("ARN does not refer to a valid principal: {arn}");
    for (operation, input, arn) in [
        ("ListGrants", json!({ "KeyId": key, "GranteePrincipal": ROLE }), ROLE),
        ("ListRetirableGrants", json!({ "RetiringPrincipal": USER }), USER),
    ] {
        let error = rig.kms(&root(), operation, input).await.unwrap_err();
        assert_eq!(error.code(), "InvalidArnException", "{operation}");
        assert_eq!(error.message(), Some(&*nobody(arn)), "{operation}");
    }

    // The names belong to others then, who have grants of their own.
    rig.app().await;
    rig.ana().await;
    let new = [grant(ROLE, USER).await, grant(SESSION, ROLE).await];
    let listed = rig.listed("ListGrants", all).await;
    assert_eq!(listed.len(), 4);
    for (id, shown) in old.iter().zip(&shown) {
        assert_eq!(parties(&listed, id), *shown);
    }
    assert_eq!(parties(&listed, &new[0]), [ROLE, USER]);
    assert_eq!(parties(&listed, &new[1]), [SESSION, ROLE]);
    for (operation, input, only) in [
        ("ListGrants", json!({ "KeyId": key, "GranteePrincipal": ROLE }), &new[0]),
        ("ListGrants", json!({ "KeyId": key, "GranteePrincipal": SESSION }), &new[1]),
        ("ListRetirableGrants", json!({ "RetiringPrincipal": USER }), &new[0]),
        ("ListRetirableGrants", json!({ "RetiringPrincipal": ROLE }), &new[1]),
    ] {
        let listed = rig.listed(operation, input.clone()).await;
        let ids: Vec<_> = listed.iter().map(|entry| &entry["GrantId"]).collect();
        assert_eq!(ids, [only], "{operation} {input}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explanations_name_the_earlier_one() {
    let rig = Rig::new().await;
    rig.app().await;
    rig.ana().await;
    let statement = |sid: &str, principal: &str| {
        json!({ "Sid": sid, "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*",
            "Principal": { "AWS": principal } })
    };
    let policy = [of_root(), statement("role", ROLE), statement("user", USER)];
    let key = rig.key(json!({ "Policy": key_policy(&policy) })).await;
    for grantee in [ROLE, USER] {
        let input = json!({ "KeyId": key, "Operations": ["Encrypt"], "GranteePrincipal": grantee });
        rig.kms(&root(), "CreateGrant", input).await.unwrap();
    }
    let explain = async |principal: &str| {
        let parameters =
            [("PrincipalArn", principal), ("ActionName", "kms:Encrypt"), ("KeyId", &*key)];
        rig.ok("ExplainAccess", &parameters).await
    };
    assert_eq!(explain(USER).await["Decision"], "allowed");
    assert_eq!(explain(ROLE).await["Decision"], "allowed");

    rig.forget_both().await;
    rig.app().await;
    rig.ana().await;
    for (principal, own, kind) in [(ROLE, "role", "role"), (USER, "user", "user")] {
        let answer = explain(principal).await;
        assert_eq!(answer["Decision"], "denied", "{principal}");
        let mismatches = |sid: &str| {
            let statements = answer["Statements"].as_array().unwrap();
            let statement = statements.iter().find(|report| report["Sid"] == sid).unwrap();
            assert_eq!(statement["Applies"], false);
            statement["Mismatches"].clone()
        };
        let earlier = format!("the principal names an earlier {kind} of this name");
        assert_eq!(mismatches(own), json!([earlier]));
        let other = if own == "role" { "user" } else { "role" };
        assert_eq!(mismatches(other), json!(["the principal does not match"]));
        let grants = answer["Grants"].as_array().unwrap();
        assert_eq!(grants.len(), 1);
        assert_eq!(grants[0]["Allows"], false);
        let earlier = format!("it names an earlier {kind} of this name");
        assert_eq!(grants[0]["Mismatch"], json!(earlier));
    }
    // And so it happens.
    let id = rig.ok("CreateAccessKey", &[("UserName", "ana")]).await;
    let ana = rig.principal(id["AccessKey"]["AccessKeyId"].as_str().unwrap()).await;
    rig.encrypts(&ana, &key, json!({})).await.unwrap_err();
    let assume = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
        "Action": "sts:AssumeRole", "Resource": "*" } });
    rig.put("ana", "assume", &assume.to_string()).await;
    let session = rig.session(&ana).await;
    rig.encrypts(&session, &key, json!({})).await.unwrap_err();
}
