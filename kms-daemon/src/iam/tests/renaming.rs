//! `UpdateUser`, `UpdateRole` and `UpdateRoleDescription`.

use serde_json::json;

use super::delegation::{caller, denied, done};
use super::rig::{ACCOUNT, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_stays_who_it_is() {
    let rig = Rig::new().await;
    let (id, secret) = rig.user("ana").await;
    let before = rig.principal(&id).await;
    rig.ok("CreateGroup", &[("GroupName", "team")]).await;
    rig.ok("AddUserToGroup", &[("GroupName", "team"), ("UserName", "ana")]).await;
    let statement = json!({ "Effect": "Allow", "Principal": { "AWS": before.arn() },
        "Action": "kms:Encrypt", "Resource": "*" });
    let policy = super::keys::key_policy(&[super::keys::of_root(), statement]);
    let key = rig.key(json!({ "Policy": policy })).await;
    rig.encrypts(&before, &key, json!({})).await.unwrap();

    let new = [("UserName", "ana"), ("NewUserName", "Anna"), ("NewPath", "/team/")];
    rig.ok("UpdateUser", &new).await;
    let missing = rig.refused("GetUser", &[("UserName", "ana")]).await;
    assert!(missing.starts_with("NoSuchEntity"), "{missing}");
    let found = rig.ok("GetUser", &[("UserName", "anna")]).await;
    assert_eq!(found["User"]["Arn"], format!("arn:aws:iam::{ACCOUNT}:user/team/Anna"));
    assert_eq!(found["User"]["UserId"], before.id());
    for rig in [&rig, &rig.restarted().await] {
        let known = rig.lookup(&id, None).await.unwrap().unwrap();
        assert_eq!(known.secret(), secret);
        assert_eq!(known.principal().username(), Some("Anna"));
        // Key policies mean who it is, not what it is called.
        rig.encrypts(known.principal(), &key, json!({})).await.unwrap();
    }
    let group = rig.ok("GetGroup", &[("GroupName", "team")]).await;
    assert_eq!(group["Users"][0]["UserName"], "Anna");
    assert_eq!(group["Users"].as_array().unwrap().len(), 1);
    let groups = rig.ok("ListGroupsForUser", &[("UserName", "Anna")]).await;
    assert_eq!(groups["Groups"][0]["GroupName"], "team");

    // The case alone, and the path alone.
    rig.ok("UpdateUser", &[("UserName", "anna"), ("NewUserName", "ANNA")]).await;
    rig.ok("UpdateUser", &[("UserName", "anna"), ("NewPath", "/")]).await;
    let found = rig.ok("GetUser", &[("UserName", "anna")]).await;
    assert_eq!(found["User"]["Arn"], format!("arn:aws:iam::{ACCOUNT}:user/ANNA"));
    let group = rig.ok("GetGroup", &[("GroupName", "team")]).await;
    assert_eq!(group["Users"][0]["UserName"], "ANNA");

    rig.user("ben").await;
    let taken = rig.refused("UpdateUser", &[("UserName", "ben"), ("NewUserName", "anna")]).await;
    assert_eq!(taken, "EntityAlreadyExists: User with name anna already exists.");
    let invalid = rig.refused("UpdateUser", &[("UserName", "ben"), ("NewUserName", "a b")]).await;
    assert!(invalid.starts_with("ValidationError"), "{invalid}");
}

/// The attack: to move a user to where somebody else's rights are, or out of a path that denies.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_moves_a_user_to_where_it_may_not_manage() {
    let rig = Rig::new().await;
    let dev = format!("arn:aws:iam::{ACCOUNT}:user/dev/*");
    let admin = caller(
        &rig,
        "admin",
        json!({ "Effect": "Allow", "Action": "iam:UpdateUser",
        "Resource": dev }),
    )
    .await;
    rig.ok("CreateUser", &[("UserName", "x"), ("Path", "/dev/")]).await;
    denied(&rig, &admin, "UpdateUser", &[("UserName", "x"), ("NewPath", "/ops/")]).await;
    denied(&rig, &admin, "UpdateUser", &[("UserName", "admin"), ("NewPath", "/dev/")]).await;
    done(&rig, &admin, "UpdateUser", &[("UserName", "x"), ("NewPath", "/dev/a/")]).await;
    done(&rig, &admin, "UpdateUser", &[("UserName", "x"), ("NewUserName", "y")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_change_what_is_given() {
    let rig = Rig::new().await;
    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}}"#;
    let create = [("RoleName", "r"), ("AssumeRolePolicyDocument", trust), ("Description", "one")];
    rig.ok("CreateRole", &create).await;
    let role = async || {
        let found = rig.ok("GetRole", &[("RoleName", "r")]).await;
        let role = &found["Role"];
        assert_eq!(role["RoleLastUsed"], json!({}));
        (role["Description"].as_str().unwrap().to_owned(), role["MaxSessionDuration"].clone())
    };
    let answer = rig.ok("UpdateRole", &[("RoleName", "r"), ("MaxSessionDuration", "7200")]).await;
    assert_eq!(answer, json!({}));
    assert_eq!(role().await, ("one".to_owned(), json!(7200)));
    rig.ok("UpdateRole", &[("RoleName", "r"), ("Description", "two")]).await;
    assert_eq!(role().await, ("two".to_owned(), json!(7200)));
    let described = [("RoleName", "r"), ("Description", "three")];
    let answer = rig.ok("UpdateRoleDescription", &described).await;
    assert_eq!(answer["Role"]["Description"], "three");
    let bad = [("RoleName", "r"), ("MaxSessionDuration", "60")];
    assert!(rig.refused("UpdateRole", &bad).await.starts_with("ValidationError"));
    assert!(rig.refused("UpdateRole", &[("RoleName", "s")]).await.starts_with("NoSuchEntity"));
}
