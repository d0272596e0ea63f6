use serde_json::json;

use super::rig::{ACCOUNT, Rig, root};

#[tokio::test(flavor = "multi_thread")]
async fn accounts_have_roots_and_users_of_their_own() {
    let rig = Rig::new().await;
    let made = rig.ok("CreateAccount", &[("AccountId", "111122223333"), ("Name", "test")]).await;
    assert_eq!(made["Account"]["Arn"], "arn:aws:iam::111122223333:root");
    let id = made["AccessKey"]["AccessKeyId"].as_str().unwrap();
    let known = rig.lookup(id, None).await.unwrap().unwrap();
    assert_eq!(known.secret(), made["AccessKey"]["SecretAccessKey"]);
    let other = known.principal();
    assert!(other.is_root() && other.account == "111122223333");

    rig.user("ana").await;
    rig.call(other, "CreateUser", &[("UserName", "ana")]).await.unwrap();
    let users = rig.call(other, "ListUsers", &[]).await.unwrap();
    assert_eq!(users["Users"][0]["Arn"], "arn:aws:iam::111122223333:user/ana");
    assert_eq!(rig.ok("ListUsers", &[]).await["Users"].as_array().unwrap().len(), 1);

    for operation in
        ["ListAccounts", "PrepareBackup", "CompleteBackup", "StartScrub", "DescribeScrub"]
    {
        let error = rig.call(other, operation, &[]).await.unwrap_err();
        assert_eq!(error.code().name(), "AccessDenied", "{operation}");
    }
    let listed = rig.ok("ListAccounts", &[]).await;
    let ids: Vec<_> = listed["Accounts"].as_array().unwrap().iter().map(|a| &a["Id"]).collect();
    assert_eq!(ids, [&json!(ACCOUNT), &json!("111122223333")]);
    let again = rig.refused("CreateAccount", &[("AccountId", "111122223333")]).await;
    assert!(again.starts_with("EntityAlreadyExists"), "{again}");
    assert!(rig.refused("CreateAccount", &[("AccountId", "1")]).await.starts_with("Validation"));
    let drawn = rig.ok("CreateAccount", &[]).await;
    assert_eq!(drawn["Account"]["Id"].as_str().unwrap().len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_root_can_be_replaced() {
    let rig = Rig::new().await;
    let made = rig.ok("CreateAccount", &[("AccountId", "111122223333")]).await;
    let old = made["AccessKey"]["AccessKeyId"].as_str().unwrap();
    let root = rig.principal(old).await;
    let last = [("AccessKeyId", old), ("Status", "Inactive")];
    for (operation, parameters) in [("UpdateAccessKey", &last[..]), ("DeleteAccessKey", &last[..1])]
    {
        let error = rig.call(&root, operation, parameters).await.unwrap_err();
        assert_eq!(error.code().name(), "DeleteConflict", "nobody could make another");
    }
    let made = rig.call(&root, "CreateAccessKey", &[]).await.unwrap();
    let new = made["AccessKey"]["AccessKeyId"].as_str().unwrap();
    let root = rig.principal(new).await;
    rig.call(&root, "DeleteAccessKey", &[("AccessKeyId", old)]).await.unwrap();
    assert!(rig.lookup(old, None).await.unwrap().is_none());
    let listed = rig.call(&root, "ListAccessKeys", &[]).await.unwrap();
    assert_eq!(listed["AccessKeyMetadata"][0]["AccessKeyId"], new);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_first_root_is_not_in_the_store() {
    let rig = Rig::new().await;
    let listed = rig.ok("ListAccessKeys", &[]).await;
    assert_eq!(listed["AccessKeyMetadata"], json!([]));
    let made = rig.ok("CreateAccessKey", &[]).await;
    let id = made["AccessKey"]["AccessKeyId"].as_str().unwrap();
    assert_eq!(rig.principal(id).await.arn(), root().arn());
}
