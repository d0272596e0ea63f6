use serde_json::{Value, json};

use super::rig::Rig;

const DOCUMENT: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#;
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn inline_policies_of_users_and_roles() {
    let rig = Rig::new().await;
    rig.ok("CreateUser", &[("UserName", "x")]).await;
    rig.ok("CreateRole", &[("RoleName", "x"), ("AssumeRolePolicyDocument", TRUST)]).await;
    for (kind, name) in [("User", ("UserName", "x")), ("Role", ("RoleName", "x"))] {
        let operation = |verb: &str, noun: &str| format!("{verb}{kind}{noun}");
        for policy in ["b", "a"] {
            let parameters = [name, ("PolicyName", policy), ("PolicyDocument", DOCUMENT)];
            rig.ok(&operation("Put", "Policy"), &parameters).await;
        }
        let listed = rig.ok(&operation("List", "Policies"), &[name, ("MaxItems", "1")]).await;
        assert_eq!((&listed["PolicyNames"], &listed["IsTruncated"]), (&json!(["a"]), &json!(true)));
        let marker = listed["Marker"].as_str().unwrap();
        let listed = rig.ok(&operation("List", "Policies"), &[name, ("Marker", marker)]).await;
        assert_eq!(
            (&listed["PolicyNames"], &listed["IsTruncated"]),
            (&json!(["b"]), &json!(false))
        );
        let found = rig.ok(&operation("Get", "Policy"), &[name, ("PolicyName", "a")]).await;
        assert_eq!(found[name.0], name.1);
        assert!(found["PolicyDocument"].as_str().unwrap().starts_with("%7B%22Version%22%3A"));

        let bad = [name, ("PolicyName", "c"), ("PolicyDocument", "{}")];
        let refusal = rig.refused(&operation("Put", "Policy"), &bad).await;
        assert!(refusal.starts_with("MalformedPolicyDocument"), "{refusal}");
        let conflict = rig.refused(&operation("Delete", ""), &[name]).await;
        assert_eq!(conflict, "DeleteConflict: Cannot delete entity, must delete policies first.");
        for policy in ["a", "b"] {
            rig.ok(&operation("Delete", "Policy"), &[name, ("PolicyName", policy)]).await;
        }
        let gone = [name, ("PolicyName", "a")];
        for verb in ["Get", "Delete"] {
            let refusal = rig.refused(&operation(verb, "Policy"), &gone).await;
            assert_eq!(refusal, "NoSuchEntity: The policy with name a cannot be found.");
        }
        rig.ok(&operation("Delete", ""), &[name]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_policies_have_a_quota_together() {
    let rig = Rig::new().await;
    rig.ok("CreateUser", &[("UserName", "x")]).await;
    let long = DOCUMENT.replace("\"*\"", &format!("\"arn:aws:kms:*:*:key/{}\"", "k".repeat(1000)));
    let put =
        |name: &'static str| [("UserName", "x"), ("PolicyName", name), ("PolicyDocument", &*long)];
    rig.ok("PutUserPolicy", &put("a")).await;
    rig.ok("PutUserPolicy", &put("a")).await;
    let refusal = rig.refused("PutUserPolicy", &put("b")).await;
    assert!(refusal.starts_with("LimitExceeded: Maximum policy size of 2048"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn boundaries_are_managed_policies_in_use() {
    let rig = Rig::new().await;
    let bounds = async |arn: &str| {
        let policy = rig.ok("GetPolicy", &[("PolicyArn", arn)]).await;
        policy["Policy"]["PermissionsBoundaryUsageCount"].as_u64().unwrap()
    };
    let create = async |name: &str| {
        let parameters = [("PolicyName", name), ("Path", "/b/"), ("PolicyDocument", DOCUMENT)];
        let made = rig.ok("CreatePolicy", &parameters).await;
        made["Policy"]["Arn"].as_str().unwrap().to_owned()
    };
    let (one, two) = (create("one").await, create("two").await);
    assert_eq!(one, "arn:aws:iam::000000000000:policy/b/one");
    let version = rig.ok("GetPolicyVersion", &[("PolicyArn", &one), ("VersionId", "v1")]).await;
    assert_eq!(version["PolicyVersion"]["IsDefaultVersion"], true);

    rig.ok("CreateUser", &[("UserName", "x"), ("PermissionsBoundary", &one)]).await;
    let role =
        [("RoleName", "r"), ("AssumeRolePolicyDocument", TRUST), ("PermissionsBoundary", &one)];
    rig.ok("CreateRole", &role).await;
    assert_eq!(bounds(&one).await, 2);
    let in_use = rig.refused("DeletePolicy", &[("PolicyArn", &one)]).await;
    assert!(in_use.starts_with("DeleteConflict"), "{in_use}");
    let set = [("UserName", "x"), ("PermissionsBoundary", two.as_str())];
    rig.ok("PutUserPermissionsBoundary", &set).await;
    rig.ok("PutUserPermissionsBoundary", &set).await;
    assert_eq!((bounds(&one).await, bounds(&two).await), (1, 1));
    let user = rig.ok("GetUser", &[("UserName", "x")]).await;
    let expected: Value =
        json!({ "PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": two });
    assert_eq!(user["User"]["PermissionsBoundary"], expected);

    rig.ok("DeleteRolePermissionsBoundary", &[("RoleName", "r")]).await;
    let none = rig.refused("DeleteRolePermissionsBoundary", &[("RoleName", "r")]).await;
    assert!(none.starts_with("NoSuchEntity"), "{none}");
    rig.ok("DeleteUser", &[("UserName", "x")]).await;
    assert_eq!((bounds(&one).await, bounds(&two).await), (0, 0));
    rig.ok("DeletePolicy", &[("PolicyArn", &one)]).await;
    let listed = rig.ok("ListPolicies", &[]).await;
    assert_eq!(listed["Policies"].as_array().unwrap().len(), 1);
    let aws = rig.ok("ListPolicies", &[("Scope", "AWS")]).await;
    assert_eq!(aws["Policies"], json!([]));
}
