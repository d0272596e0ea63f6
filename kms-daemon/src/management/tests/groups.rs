use serde_json::json;

use super::rig::Rig;

const ROLE: &str = "arn:aws:iam::000000000000:role/deploy";

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_group() {
    let rig = Rig::new().await;
    let made = rig.ok("CreateGroup", &[("GroupName", "Team"), ("Path", "/a/")]).await;
    assert_eq!(made["Group"]["Arn"], "arn:aws:iam::000000000000:group/a/Team");
    let taken = rig.refused("CreateGroup", &[("GroupName", "team")]).await;
    assert!(taken.starts_with("EntityAlreadyExists"), "{taken}");
    for user in ["ben", "ana"] {
        rig.ok("CreateUser", &[("UserName", user)]).await;
        rig.ok("AddUserToGroup", &[("GroupName", "team"), ("UserName", user)]).await;
        rig.ok("AddUserToGroup", &[("GroupName", "team"), ("UserName", user)]).await;
    }
    let found = rig.ok("GetGroup", &[("GroupName", "Team"), ("MaxItems", "1")]).await;
    assert_eq!(found["Group"], made["Group"]);
    assert_eq!(
        (&found["Users"][0]["UserName"], &found["IsTruncated"]),
        (&json!("ana"), &json!(true))
    );
    let groups = rig.ok("ListGroupsForUser", &[("UserName", "ana")]).await;
    assert_eq!(groups["Groups"], json!([made["Group"]]));
    assert_eq!(rig.ok("ListGroups", &[]).await["Groups"], groups["Groups"]);

    let conflict = "DeleteConflict: Cannot delete entity, must remove users from group first.";
    assert_eq!(rig.refused("DeleteGroup", &[("GroupName", "team")]).await, conflict);
    assert_eq!(rig.refused("DeleteUser", &[("UserName", "ana")]).await, conflict);
    for user in ["ana", "ben"] {
        let named = [("GroupName", "team"), ("UserName", user)];
        rig.ok("RemoveUserFromGroup", &named).await;
        assert!(rig.refused("RemoveUserFromGroup", &named).await.starts_with("NoSuchEntity"));
    }
    rig.ok("DeleteGroup", &[("GroupName", "team")]).await;
    rig.ok("DeleteUser", &[("UserName", "ana")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_in_ten_groups_at_most() {
    let rig = Rig::new().await;
    rig.ok("CreateUser", &[("UserName", "ana")]).await;
    for n in 0..=10 {
        let name = format!("g{n}");
        rig.ok("CreateGroup", &[("GroupName", &name)]).await;
        let named = [("GroupName", name.as_str()), ("UserName", "ana")];
        match n {
            10 => assert!(rig.refused("AddUserToGroup", &named).await.starts_with("LimitExceeded")),
            _ => drop(rig.ok("AddUserToGroup", &named).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_of_a_group_are_those_of_its_users() {
    let rig = Rig::new().await;
    let (key, _) = rig.user("ana").await;
    let ana = rig.principal(&key).await;
    let trust = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": { "AWS": "000000000000" }, "Action": "sts:AssumeRole" } });
    let role = [("RoleName", "deploy"), ("AssumeRolePolicyDocument", &*trust.to_string())];
    rig.ok("CreateRole", &role).await;
    rig.ok("CreateGroup", &[("GroupName", "team")]).await;
    let document = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": ROLE } })
    .to_string();
    let put = [("GroupName", "team"), ("PolicyName", "p"), ("PolicyDocument", &*document)];
    rig.ok("PutGroupPolicy", &put).await;
    let assume = [("RoleArn", ROLE), ("RoleSessionName", "s1")];
    assert!(rig.call(&ana, "AssumeRole", &assume).await.is_err());
    let named = [("GroupName", "team"), ("UserName", "ana")];
    rig.ok("AddUserToGroup", &named).await;
    assert!(rig.call(&ana, "AssumeRole", &assume).await.is_ok());
    rig.ok("RemoveUserFromGroup", &named).await;
    assert!(rig.call(&ana, "AssumeRole", &assume).await.is_err());
    let conflict = rig.refused("DeleteGroup", &[("GroupName", "team")]).await;
    assert_eq!(conflict, "DeleteConflict: Cannot delete entity, must delete policies first.");
    rig.ok("DeleteGroupPolicy", &[("GroupName", "team"), ("PolicyName", "p")]).await;
    rig.ok("DeleteGroup", &[("GroupName", "team")]).await;
}
