//! Managed policies, their versions, and what they are attached to.

use serde_json::{Value, json};

use super::rig::{ACCOUNT, Rig};

fn document(action: &str) -> String {
    json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": action, "Resource": "*" } })
    .to_string()
}

fn arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:policy/{name}")
}

impl Rig {
    async fn managed(&self, name: &str, action: &str) -> String {
        let text = document(action);
        self.ok("CreatePolicy", &[("PolicyName", name), ("PolicyDocument", &text)]).await;
        arn(name)
    }

    async fn attachments(&self, arn: &str) -> Value {
        self.ok("GetPolicy", &[("PolicyArn", arn)]).await["Policy"]["AttachmentCount"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_attached_to_users_groups_and_roles() {
    let rig = Rig::new().await;
    let (one, two) = (rig.managed("one", "kms:*").await, rig.managed("two", "kms:*").await);
    let trust = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
        "Principal": { "AWS": ACCOUNT }, "Action": "sts:AssumeRole" } })
    .to_string();
    rig.ok("CreateUser", &[("UserName", "x")]).await;
    rig.ok("CreateGroup", &[("GroupName", "x")]).await;
    rig.ok("CreateRole", &[("RoleName", "x"), ("AssumeRolePolicyDocument", &trust)]).await;
    for kind in ["User", "Group", "Role"] {
        let parameter = format!("{kind}Name");
        let name = (parameter.as_str(), "x");
        let operation = |verb: &str| format!("{verb}{kind}Policy");
        for arn in [&two, &one, &one] {
            rig.ok(&operation("Attach"), &[name, ("PolicyArn", arn)]).await;
        }
        assert_eq!(
            (rig.attachments(&one).await, rig.attachments(&two).await),
            (json!(1), json!(1))
        );
        let listed = rig.ok(&format!("ListAttached{kind}Policies"), &[name]).await;
        let expected = json!([{ "PolicyName": "one", "PolicyArn": one },
                              { "PolicyName": "two", "PolicyArn": two }]);
        assert_eq!(listed["AttachedPolicies"], expected);
        let elsewhere = [name, ("PathPrefix", "/else/")];
        let listed = rig.ok(&format!("ListAttached{kind}Policies"), &elsewhere).await;
        assert_eq!(listed["AttachedPolicies"], json!([]));
        for (operation, parameters, text) in [
            (
                "DeletePolicy".to_owned(),
                ("PolicyArn", one.as_str()),
                "a policy attached to entities.",
            ),
            (format!("Delete{kind}"), name, "entity, must detach all policies first."),
        ] {
            let conflict = rig.refused(&operation, &[parameters]).await;
            assert_eq!(conflict, format!("DeleteConflict: Cannot delete {text}"));
        }
        for arn in [&one, &two] {
            rig.ok(&operation("Detach"), &[name, ("PolicyArn", arn)]).await;
        }
        let again = rig.refused(&operation("Detach"), &[name, ("PolicyArn", &one)]).await;
        assert_eq!(again, format!("NoSuchEntity: Policy {one} was not found."));
        let none = rig.refused(&operation("Attach"), &[name, ("PolicyArn", &arn("none"))]).await;
        assert!(none.starts_with("NoSuchEntity"), "{none}");
        rig.ok(&format!("Delete{kind}"), &[name]).await;
    }
    assert_eq!(rig.attachments(&one).await, 0);
    rig.ok("DeletePolicy", &[("PolicyArn", &one)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_policies_are_attached_at_most() {
    let rig = Rig::new().await;
    rig.ok("CreateUser", &[("UserName", "x")]).await;
    for n in 0..=10 {
        let arn = rig.managed(&format!("p{n}"), "kms:*").await;
        let parameters = [("UserName", "x"), ("PolicyArn", arn.as_str())];
        if n < 10 {
            rig.ok("AttachUserPolicy", &parameters).await;
        } else {
            let quota = rig.refused("AttachUserPolicy", &parameters).await;
            assert_eq!(quota, "LimitExceeded: Cannot exceed quota for PoliciesPerUser: 10");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_policies_count_in_their_default_version() {
    let rig = Rig::new().await;
    let (key, _) = rig.user("ana").await;
    let ana = rig.principal(&key).await;
    let lists = async || rig.kms(&ana, "ListKeys", json!({})).await.is_ok();
    let arn = rig.managed("p", "kms:ListKeys").await;
    let policy = ("PolicyArn", arn.as_str());
    assert!(!lists().await);
    rig.ok("AttachUserPolicy", &[("UserName", "ana"), policy]).await;
    assert!(lists().await);
    rig.ok("DetachUserPolicy", &[("UserName", "ana"), policy]).await;
    rig.ok("CreateGroup", &[("GroupName", "team")]).await;
    rig.ok("AttachGroupPolicy", &[("GroupName", "team"), policy]).await;
    assert!(!lists().await);
    rig.ok("AddUserToGroup", &[("GroupName", "team"), ("UserName", "ana")]).await;
    assert!(lists().await);

    let text = document("kms:ListAliases");
    let version = [policy, ("PolicyDocument", text.as_str())];
    let made = rig.ok("CreatePolicyVersion", &version).await;
    assert_eq!(made["PolicyVersion"]["VersionId"], "v2");
    assert_eq!(made["PolicyVersion"]["IsDefaultVersion"], false);
    assert!(lists().await, "it is not the default");
    rig.ok("SetDefaultPolicyVersion", &[policy, ("VersionId", "v2")]).await;
    assert!(!lists().await);
    rig.ok("SetDefaultPolicyVersion", &[policy, ("VersionId", "v1")]).await;
    assert!(lists().await);
    rig.ok("CreatePolicyVersion", &[version[0], version[1], ("SetAsDefault", "true")]).await;
    assert!(!lists().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_versions_of_a_policy() {
    let rig = Rig::new().await;
    let arn = rig.managed("p", "kms:*").await;
    let policy = ("PolicyArn", arn.as_str());
    let text = document("kms:Get*");
    let create = [policy, ("PolicyDocument", text.as_str()), ("SetAsDefault", "true")];
    for _ in 0..4 {
        rig.ok("CreatePolicyVersion", &create).await;
    }
    let quota = rig.refused("CreatePolicyVersion", &create).await;
    assert!(quota.starts_with("LimitExceeded: A managed policy can have up to 5"), "{quota}");
    let bad = rig.refused("CreatePolicyVersion", &[policy, ("PolicyDocument", "{}")]).await;
    assert!(bad.starts_with("MalformedPolicyDocument"), "{bad}");
    let found = rig.ok("GetPolicy", &[policy]).await;
    assert_eq!(found["Policy"]["DefaultVersionId"], "v5");
    let conflict = rig.refused("DeletePolicyVersion", &[policy, ("VersionId", "v5")]).await;
    assert_eq!(conflict, "DeleteConflict: Cannot delete the default version of a policy.");
    let conflict = rig.refused("DeletePolicy", &[policy]).await;
    assert!(conflict.starts_with("DeleteConflict: This policy has more than one"), "{conflict}");
    for version in ["v1", "v2", "v3"] {
        rig.ok("DeletePolicyVersion", &[policy, ("VersionId", version)]).await;
    }
    for wrong in ["v1", "5", "v05"] {
        let missing = rig.refused("GetPolicyVersion", &[policy, ("VersionId", wrong)]).await;
        assert!(missing.starts_with("NoSuchEntity"), "{missing}");
    }
    let made = rig.ok("CreatePolicyVersion", &create[..2]).await;
    assert_eq!(made["PolicyVersion"]["VersionId"], "v6", "no number is given twice");
    let listed = rig.ok("ListPolicyVersions", &[policy]).await;
    let ids: Vec<_> =
        listed["Versions"].as_array().unwrap().iter().map(|one| &one["VersionId"]).collect();
    assert_eq!(ids, ["v4", "v5", "v6"]);
    for version in ["v4", "v6"] {
        rig.ok("DeletePolicyVersion", &[policy, ("VersionId", version)]).await;
    }
    rig.ok("DeletePolicy", &[policy]).await;
}
