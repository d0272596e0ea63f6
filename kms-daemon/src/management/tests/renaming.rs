//! `UpdateUser`, `UpdateGroup`, `UpdateRole` and `UpdateRoleDescription`.

use serde_json::json;

use super::delegation::{caller, denied, done};
use super::keys::{key_policy, of_root};
use super::rig::{ACCOUNT, Rig, root};
use kms_store::{Range, Transaction};

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

/// What names a user means the same one after it has another name, and shows that name; whoever
/// takes the old name gets nothing.
#[tokio::test(flavor = "multi_thread")]
async fn grants_and_policies_follow_a_user_that_is_renamed() {
    let rig = Rig::new().await;
    let (id, _) = rig.user("ana").await;
    let before = rig.principal(&id).await;
    let [old, new] = ["ana", "team/Anna"].map(|name| format!("arn:aws:iam::{ACCOUNT}:user/{name}"));
    assert_eq!(before.arn(), old);
    let statement = json!({ "Effect": "Allow", "Principal": { "AWS": old },
        "Action": "kms:DescribeKey", "Resource": "*" });
    let key = rig.key(json!({ "Policy": key_policy(&[of_root(), statement]) })).await;
    let input = json!({ "KeyId": key, "GranteePrincipal": old, "RetiringPrincipal": old,
        "Operations": ["Encrypt"] });
    let grant = rig.kms(&root(), "CreateGrant", input).await.unwrap()["GrantId"].clone();
    let trust = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
        "Principal": { "AWS": old }, "Action": "sts:AssumeRole" } })
    .to_string();
    rig.ok("CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", &trust)]).await;
    rig.encrypts(&before, &key, json!({})).await.unwrap();

    let names = [("UserName", "ana"), ("NewUserName", "Anna"), ("NewPath", "/team/")];
    rig.ok("UpdateUser", &names).await;
    for rig in [&rig, &rig.restarted().await] {
        let anna = rig.principal(&id).await;
        assert_eq!(anna.arn(), new);
        rig.encrypts(&anna, &key, json!({})).await.unwrap();
        for (operation, input) in [
            ("ListGrants", json!({ "KeyId": key, "GranteePrincipal": new })),
            ("ListGrants", json!({ "KeyId": key })),
            ("ListRetirableGrants", json!({ "RetiringPrincipal": new })),
        ] {
            let answer = rig.kms(&root(), operation, input).await.unwrap();
            let entry = &answer["Grants"][0];
            assert_eq!(entry["GrantId"], grant, "{operation}");
            assert_eq!(entry["GranteePrincipal"], new, "{operation}");
            assert_eq!(entry["RetiringPrincipal"], new, "{operation}");
        }
        let input = json!({ "KeyId": key });
        let shown = rig.kms(&root(), "GetKeyPolicy", input).await.unwrap();
        assert!(shown["Policy"].as_str().unwrap().contains(&new), "{shown}");
        assert!(!shown["Policy"].as_str().unwrap().contains(&old), "{shown}");
        assert_eq!(rig.trust("r").await["Statement"]["Principal"]["AWS"], new);
    }

    // Somebody else takes the name, and gets nothing with it.
    let (other, _) = rig.user("ana").await;
    let other = rig.principal(&other).await;
    assert_eq!(other.arn(), old);
    rig.encrypts(&other, &key, json!({})).await.unwrap_err();
    let input = json!({ "KeyId": key, "GranteePrincipal": old });
    let listed = rig.kms(&root(), "ListGrants", input).await.unwrap();
    assert_eq!(listed["Grants"], json!([]));
    let retire = json!({ "KeyId": key, "GrantId": grant });
    rig.kms(&other, "RetireGrant", retire.clone()).await.unwrap_err();
    assert_eq!(rig.trust("r").await["Statement"]["Principal"]["AWS"], new);

    // A second time, and back: it is still the same user.
    rig.ok("UpdateUser", &[("UserName", "ana"), ("NewUserName", "ben")]).await;
    rig.ok("UpdateUser", &[("UserName", "Anna"), ("NewUserName", "ana"), ("NewPath", "/")]).await;
    assert_eq!(rig.trust("r").await["Statement"]["Principal"]["AWS"], old);
    let ana = rig.principal(&id).await;
    rig.encrypts(&ana, &key, json!({})).await.unwrap();
    rig.kms(&ana, "RetireGrant", retire).await.unwrap();
    let listed = rig.kms(&root(), "ListGrants", json!({ "KeyId": key })).await.unwrap();
    assert_eq!(listed["Grants"], json!([]));
    let input = json!({ "RetiringPrincipal": old });
    let listed = rig.kms(&root(), "ListRetirableGrants", input).await.unwrap();
    assert_eq!(listed["Grants"], json!([]), "nothing is left of it in any index");
}

/// The grants of a store that knows them by names only.
#[tokio::test(flavor = "multi_thread")]
async fn grants_of_earlier_releases_are_indexed_at_the_start() {
    let rig = Rig::new().await;
    let (id, _) = rig.user("ana").await;
    let user = rig.principal(&id).await;
    let key = rig.key(json!({})).await;
    let input = json!({ "KeyId": key, "GranteePrincipal": user.arn(),
        "RetiringPrincipal": user.arn(), "Operations": ["Encrypt"] });
    rig.kms(&root(), "CreateGrant", input).await.unwrap();
    let mut forget = Transaction::new().delete(b"service/grants-indexed".to_vec());
    let mut forgotten = Vec::new();
    for prefix in ["grantees/", "retirable/"] {
        let range = Range { prefix: prefix.into(), after: None, limit: 100 };
        for entry in rig.store.range(range).await.unwrap().value.entries {
            if String::from_utf8_lossy(&entry.key).contains(&user.id()) {
                forget = forget.delete(entry.key.clone());
                forgotten.push(entry.key);
            }
        }
    }
    assert_eq!(forgotten.len(), 2);
    let _ = rig.store.commit(forget).await.unwrap();
    let rig = rig.restarted().await;
    for entry in forgotten {
        assert!(rig.store.get(&entry).await.unwrap().value.is_some());
    }
    rig.encrypts(&rig.principal(&id).await, &key, json!({})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_keeps_its_members_and_policies() {
    let rig = Rig::new().await;
    for group in ["team", "other"] {
        rig.ok("CreateGroup", &[("GroupName", group)]).await;
    }
    for user in ["ana", "ben"] {
        rig.user(user).await;
        rig.ok("AddUserToGroup", &[("GroupName", "team"), ("UserName", user)]).await;
    }
    let before = rig.ok("GetGroup", &[("GroupName", "team")]).await;
    let new = [("GroupName", "team"), ("NewGroupName", "Crew"), ("NewPath", "/ops/")];
    rig.ok("UpdateGroup", &new).await;
    let missing = rig.refused("GetGroup", &[("GroupName", "team")]).await;
    assert!(missing.starts_with("NoSuchEntity"), "{missing}");
    let found = rig.ok("GetGroup", &[("GroupName", "crew")]).await;
    assert_eq!(found["Group"]["Arn"], format!("arn:aws:iam::{ACCOUNT}:group/ops/Crew"));
    assert_eq!(found["Group"]["GroupId"], before["Group"]["GroupId"]);
    assert_eq!(found["Users"].as_array().unwrap().len(), 2);
    for user in ["ana", "ben"] {
        let groups = rig.ok("ListGroupsForUser", &[("UserName", user)]).await;
        assert_eq!(groups["Groups"].as_array().unwrap().len(), 1);
        assert_eq!(groups["Groups"][0]["GroupName"], "Crew");
    }

    // The case alone, and the path alone.
    rig.ok("UpdateGroup", &[("GroupName", "crew"), ("NewGroupName", "CREW")]).await;
    rig.ok("UpdateGroup", &[("GroupName", "crew"), ("NewPath", "/")]).await;
    let groups = rig.ok("ListGroupsForUser", &[("UserName", "ana")]).await;
    assert_eq!(groups["Groups"][0]["Arn"], format!("arn:aws:iam::{ACCOUNT}:group/CREW"));
    rig.ok("RemoveUserFromGroup", &[("GroupName", "crew"), ("UserName", "ana")]).await;

    let taken = [("GroupName", "crew"), ("NewGroupName", "OTHER")];
    let taken = rig.refused("UpdateGroup", &taken).await;
    assert_eq!(taken, "EntityAlreadyExists: Group with name OTHER already exists.");
}

/// The attack: to give oneself the rights of a group by giving one's own its place.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_moves_a_group_to_where_it_may_not_manage() {
    let rig = Rig::new().await;
    for (name, path) in [("mine", "/dev/"), ("theirs", "/ops/")] {
        rig.ok("CreateGroup", &[("GroupName", name), ("Path", path)]).await;
    }
    let dev = format!("arn:aws:iam::{ACCOUNT}:group/dev/*");
    let admin = caller(
        &rig,
        "admin",
        json!({ "Effect": "Allow", "Action": "iam:UpdateGroup", "Resource": dev }),
    )
    .await;
    denied(&rig, &admin, "UpdateGroup", &[("GroupName", "mine"), ("NewPath", "/ops/")]).await;
    denied(&rig, &admin, "UpdateGroup", &[("GroupName", "theirs"), ("NewPath", "/dev/")]).await;
    done(&rig, &admin, "UpdateGroup", &[("GroupName", "mine"), ("NewPath", "/dev/a/")]).await;
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
