//! Users and roles that manage identities.

use serde_json::{Value, json};

use super::rig::{ACCOUNT, Rig, credentials};
use kms_base::principal::Principal;

pub(super) fn document(statements: &Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// A user whose inline policy has these statements.
pub(super) async fn caller(rig: &Rig, name: &str, statements: Value) -> Principal {
    let (key, _) = rig.user(name).await;
    let document = document(&statements);
    let put = [("UserName", name), ("PolicyName", "p"), ("PolicyDocument", document.as_str())];
    rig.ok("PutUserPolicy", &put).await;
    rig.principal(&key).await
}

pub(super) async fn denied(
    rig: &Rig,
    who: &Principal,
    operation: &str,
    parameters: &[(&str, &str)],
) {
    let error = rig.call(who, operation, parameters).await.unwrap_err();
    assert_eq!(error.code().name(), "AccessDenied", "{operation} {parameters:?} {error}");
}

pub(super) async fn done(rig: &Rig, who: &Principal, operation: &str, parameters: &[(&str, &str)]) {
    let outcome = rig.call(who, operation, parameters).await;
    outcome.unwrap_or_else(|error| panic!("{operation} {parameters:?} {error}"));
}

/// An administrator makes users, and gives them what their boundary has at most.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_within_a_boundary() {
    let rig = Rig::new().await;
    let kms = document(&json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }));
    let everything = document(&json!({ "Effect": "Allow", "Action": "*", "Resource": "*" }));
    for (name, text) in [("bound", &kms), ("wide", &everything)] {
        rig.ok("CreatePolicy", &[("PolicyName", name), ("PolicyDocument", text)]).await;
    }
    let arn = |name: &str| format!("arn:aws:iam::{ACCOUNT}:policy/{name}");
    let (bound, wide) = (arn("bound"), arn("wide"));
    let dev = format!("arn:aws:iam::{ACCOUNT}:user/dev/*");
    let only = json!({ "StringEquals": { "iam:PermissionsBoundary": bound } });
    let admin = caller(&rig, "admin", json!([
        { "Effect": "Allow", "Resource": dev, "Condition": only, "Action": [
            "iam:CreateUser", "iam:PutUserPolicy", "iam:DeleteUserPolicy", "iam:AttachUserPolicy",
            "iam:DetachUserPolicy", "iam:PutUserPermissionsBoundary" ] },
        { "Effect": "Allow", "Resource": dev, "Action": ["iam:CreateAccessKey", "iam:GetUser"] },
    ]))
    .await;
    let user = ("UserName", "x");
    let bounded = ("PermissionsBoundary", bound.as_str());
    for (path, boundary) in [
        ("/dev/", None),
        ("/dev/", Some(("PermissionsBoundary", wide.as_str()))),
        ("/", Some(bounded)),
        ("/development/", Some(bounded)),
    ] {
        let mut parameters = vec![user, ("Path", path)];
        parameters.extend(boundary);
        denied(&rig, &admin, "CreateUser", &parameters).await;
    }
    done(&rig, &admin, "CreateUser", &[user, ("Path", "/dev/"), bounded]).await;
    let policy = [user, ("PolicyName", "p"), ("PolicyDocument", everything.as_str())];
    done(&rig, &admin, "PutUserPolicy", &policy).await;
    done(&rig, &admin, "AttachUserPolicy", &[user, ("PolicyArn", &wide)]).await;
    denied(&rig, &admin, "DeleteUserPermissionsBoundary", &[user]).await;
    let widened = [user, ("PermissionsBoundary", wide.as_str())];
    denied(&rig, &admin, "PutUserPermissionsBoundary", &widened).await;
    done(&rig, &admin, "PutUserPermissionsBoundary", &[user, bounded]).await;
    let more = [("PolicyArn", bound.as_str()), ("PolicyDocument", everything.as_str())];
    denied(&rig, &admin, "CreatePolicyVersion", &more).await;

    // The new user has what the boundary has, and no more.
    let made = rig.call(&admin, "CreateAccessKey", &[user]).await.unwrap();
    let x = rig.principal(made["AccessKey"]["AccessKeyId"].as_str().unwrap()).await;
    rig.kms(&x, "ListKeys", json!({})).await.unwrap();
    denied(&rig, &x, "ListUsers", &[]).await;

    // One who is not bounded that way is out of reach, itself included.
    rig.ok("CreateUser", &[("UserName", "free"), ("Path", "/dev/")]).await;
    for name in ["free", "admin"] {
        let user = ("UserName", name);
        denied(&rig, &admin, "PutUserPolicy", &[user, policy[1], policy[2]]).await;
        denied(&rig, &admin, "AttachUserPolicy", &[user, ("PolicyArn", &wide)]).await;
    }
    rig.ok("DeleteUserPermissionsBoundary", &[user]).await;
    denied(&rig, &admin, "PutUserPolicy", &policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_look_after_their_own_keys_if_they_may() {
    let rig = Rig::new().await;
    let own = format!("arn:aws:iam::{ACCOUNT}:user/${{aws:username}}");
    let ana = caller(
        &rig,
        "ana",
        json!({ "Effect": "Allow", "Resource": own,
        "Action": ["iam:*AccessKey*", "iam:GetUser"] }),
    )
    .await;
    rig.user("ben").await;
    let found = rig.call(&ana, "GetUser", &[]).await.unwrap();
    assert_eq!(found["User"]["UserName"], "ana");
    let made = rig.call(&ana, "CreateAccessKey", &[]).await.unwrap();
    assert_eq!(made["AccessKey"]["UserName"], "ana");
    let new = made["AccessKey"]["AccessKeyId"].as_str().unwrap();
    let listed = rig.call(&ana, "ListAccessKeys", &[]).await.unwrap();
    assert_eq!(listed["AccessKeyMetadata"].as_array().unwrap().len(), 2);
    let named = [("UserName", "ana"), ("AccessKeyId", new)];
    done(&rig, &ana, "UpdateAccessKey", &[named[1], ("Status", "Inactive")]).await;
    done(&rig, &ana, "DeleteAccessKey", &named).await;
    for operation in ["CreateAccessKey", "ListAccessKeys", "GetUser"] {
        denied(&rig, &ana, operation, &[("UserName", "ben")]).await;
        denied(&rig, &ana, operation, &[("UserName", "nobody")]).await;
    }
    // A session without a second factor manages nothing.
    let session = rig.call(&ana, "GetSessionToken", &[]).await.unwrap();
    let [id, _, token] = credentials(&session);
    let session = rig.lookup(&id, Some(&token)).await.unwrap().unwrap();
    denied(&rig, session.principal(), "GetUser", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_roles_manage_within_their_policies() {
    let rig = Rig::new().await;
    let (key, _) = rig.user("ana").await;
    let ana = rig.principal(&key).await;
    let trust = document(&json!({ "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": { "AWS": ana.arn() } }));
    rig.ok("CreateRole", &[("RoleName", "ops"), ("AssumeRolePolicyDocument", &trust)]).await;
    let users = document(&json!({ "Effect": "Allow", "Action": "iam:*User", "Resource": "*" }));
    let put = [("RoleName", "ops"), ("PolicyName", "p"), ("PolicyDocument", users.as_str())];
    rig.ok("PutRolePolicy", &put).await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/ops");
    let assume = async |more: &[(&str, &str)]| {
        let parameters = [&[("RoleArn", arn.as_str()), ("RoleSessionName", "s1")], more].concat();
        let [id, _, token] = credentials(&rig.call(&ana, "AssumeRole", &parameters).await.unwrap());
        rig.lookup(&id, Some(&token)).await.unwrap().unwrap().principal().clone()
    };
    let session = assume(&[]).await;
    done(&rig, &session, "CreateUser", &[("UserName", "x")]).await;
    denied(&rig, &session, "CreateRole", &[("RoleName", "y"), ("AssumeRolePolicyDocument", "")])
        .await;
    let own = rig.call(&session, "GetUser", &[]).await.unwrap_err();
    assert_eq!(own.message(), "Must specify userName when calling with non-User credentials");
    let narrow = document(&json!({ "Effect": "Allow", "Action": "iam:GetUser", "Resource": "*" }));
    let narrow = assume(&[("Policy", &narrow)]).await;
    done(&rig, &narrow, "GetUser", &[("UserName", "x")]).await;
    denied(&rig, &narrow, "DeleteUser", &[("UserName", "x")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_a_group_is_the_affair_of_the_group() {
    let rig = Rig::new().await;
    let team = format!("arn:aws:iam::{ACCOUNT}:group/team");
    let ana = caller(
        &rig,
        "ana",
        json!({ "Effect": "Allow", "Resource": team,
        "Action": ["iam:AddUserToGroup", "iam:RemoveUserFromGroup", "iam:GetGroup"] }),
    )
    .await;
    for group in ["team", "admins"] {
        rig.ok("CreateGroup", &[("GroupName", group)]).await;
    }
    let member = |group| [("GroupName", group), ("UserName", "ana")];
    done(&rig, &ana, "AddUserToGroup", &member("team")).await;
    done(&rig, &ana, "GetGroup", &[("GroupName", "team")]).await;
    done(&rig, &ana, "RemoveUserFromGroup", &member("team")).await;
    denied(&rig, &ana, "AddUserToGroup", &member("admins")).await;
    denied(&rig, &ana, "ListGroups", &[]).await;
}

/// Not one operation forgets to check the caller.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_manages_what_nothing_allows() {
    let rig = Rig::new().await;
    let (key, _) = rig.user("ana").await;
    let ana = rig.principal(&key).await;
    let text = document(&json!({ "Effect": "Allow", "Action": "*", "Resource": "*" }));
    let arn = format!("arn:aws:iam::{ACCOUNT}:policy/p");
    let names = [("UserName", "ana"), ("GroupName", "g"), ("RoleName", "r"), ("PolicyName", "p")];
    let rest = [
        ("PolicyArn", arn.as_str()),
        ("PermissionsBoundary", &arn),
        ("PolicyDocument", &text),
        ("AssumeRolePolicyDocument", &text),
        ("AccessKeyId", &key),
        ("Status", "Inactive"),
        ("VersionId", "v1"),
        ("NewUserName", "b"),
        ("Description", "d"),
        ("Arn", &arn),
        ("JobId", "00000000-0000-4000-8000-000000000000"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "red"),
        ("TagKeys.member.1", "team"),
        ("PolicySourceArn", "arn:aws:iam::000000000000:user/ana"),
        ("PolicyInputList.member.1", &text),
        ("ActionNames.member.1", "kms:Sign"),
        ("Name", "main"),
        ("S3BucketName", "logs"),
    ];
    let region = ("RegionName", "us-east-1");
    // These are about requests of the caller's own, whoever that is; those of others are not there for them.
    let of_ones_own = ["ListApprovals", "DescribeApproval", "SubmitApproval"];
    let mut asked = 0;
    for operation in crate::management::Operation::ALL {
        let is_open = of_ones_own.contains(&operation.name());
        if operation.service() == crate::management::Service::Sts || is_open {
            continue;
        }
        let is_own = operation.service() == crate::management::Service::Strongroom;
        let all = names.iter().chain(&rest).copied().chain(is_own.then_some(region));
        let parameters: Vec<_> =
            all.filter(|(name, _)| operation.takes(name.split('.').next().unwrap())).collect();
        denied(&rig, &ana, operation.name(), &parameters).await;
        asked += 1;
    }
    assert!(asked > 90);
}
