//! When access keys, users and roles were last used.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::delegation::document;
use super::rig::{ACCOUNT, ROOT_KEY, Rig, credentials, root};
use crate::counting::Counting;

async fn last(rig: &Rig, id: &str) -> Value {
    rig.ok("GetAccessKeyLastUsed", &[("AccessKeyId", id)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_an_access_key() {
    let rig = Rig::new().await;
    let (id, _) = rig.user("ana").await;
    let none = json!({ "UserName": "ana", "AccessKeyLastUsed": { "ServiceName": "N/A", "Region": "N/A" } });
    assert_eq!(last(&rig, &id).await, none);
    let ana = rig.principal(&id).await;
    rig.iam.note_use(&ana, "kms", "eu-west-1");
    let used = |date: &str, service: &str, region: &str| json!({ "LastUsedDate": date, "ServiceName": service, "Region": region });
    assert_eq!(
        last(&rig, &id).await["AccessKeyLastUsed"],
        used("2027-01-15T08:00:00Z", "kms", "eu-west-1")
    );
    assert_eq!(rig.iam.flush_uses().await.unwrap(), 2, "the key, and the user");
    assert_eq!(rig.iam.flush_uses().await.unwrap(), 0);
    rig.clock.advance(Duration::from_secs(60));
    rig.iam.note_use(&ana, "sts", "us-east-1");
    let expected = used("2027-01-15T08:01:00Z", "sts", "us-east-1");
    assert_eq!(last(&rig, &id).await["AccessKeyLastUsed"], expected);
    rig.iam.flush_uses().await.unwrap();
    let other = rig.restarted().await;
    assert_eq!(last(&other, &id).await["AccessKeyLastUsed"], expected);
    // An earlier use that is written later changes nothing.
    other.iam.note_use(&ana, "sts", "eu-west-1");
    other.iam.flush_uses().await.unwrap();
    assert_eq!(last(&rig, &id).await["AccessKeyLastUsed"], expected);

    // Those of the file of the root's keys as well; those of others not at all.
    rig.iam.note_use(&root(), "iam", "us-east-1");
    let of_root = last(&rig, ROOT_KEY).await;
    assert_eq!(
        (&of_root["UserName"], &of_root["AccessKeyLastUsed"]["ServiceName"]),
        (&json!(null), &json!("iam"))
    );
    let missing =
        rig.refused("GetAccessKeyLastUsed", &[("AccessKeyId", "AKIAXXXXXXXXXXXXXXXX")]).await;
    assert!(missing.starts_with("NoSuchEntity"), "{missing}");
    let account = rig.ok("CreateAccount", &[("Name", "x")]).await;
    let foreign = account["AccessKey"]["AccessKeyId"].as_str().unwrap();
    let missing = rig.refused("GetAccessKeyLastUsed", &[("AccessKeyId", foreign)]).await;
    assert!(missing.starts_with("NoSuchEntity"), "{missing}");
}

/// However many requests there are, an identity takes one write.
#[tokio::test(flavor = "multi_thread")]
async fn what_uses_cost() {
    let store = Arc::new(Counting::default());
    let rig = Rig::on(store.clone()).await;
    let (id, _) = rig.user("ana").await;
    let ana = rig.principal(&id).await;
    let before = store.calls();
    for _ in 0..10_000 {
        rig.iam.note_use(&ana, "kms", "us-east-1");
    }
    assert_eq!(store.calls(), before, "nobody waits for the store");
    rig.iam.flush_uses().await.unwrap();
    assert!(store.calls() <= before + 5, "{}", store.calls() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_go_with_what_was_used() {
    let rig = Rig::new().await;
    let (id, _) = rig.user("ana").await;
    let ana = rig.principal(&id).await;
    rig.iam.note_use(&ana, "kms", "us-east-1");
    rig.iam.flush_uses().await.unwrap();
    let stored = |what: &'static str| {
        let rig = &rig;
        async move { super::rig::contains(&rig.stored().await, what) }
    };
    assert!(stored("iam/uses/AIDA").await && stored("iam/uses/AKIA").await);
    // Noted, and then gone before it is written.
    rig.iam.note_use(&ana, "iam", "us-east-1");
    rig.ok("DeleteAccessKey", &[("UserName", "ana"), ("AccessKeyId", &id)]).await;
    rig.ok("DeleteUser", &[("UserName", "ana")]).await;
    assert!(!stored("iam/uses/").await);
    rig.iam.flush_uses().await.unwrap();
    assert!(!stored("iam/uses/").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_that_an_identity_has_used() {
    let rig = Rig::new().await;
    let (id, _) = rig.user("ana").await;
    let ana = rig.principal(&id).await;
    let trust = document(&json!({ "Effect": "Allow", "Principal": { "AWS": ana.arn() },
        "Action": "sts:AssumeRole" }));
    rig.ok("CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", &trust)]).await;
    let role = format!("arn:aws:iam::{ACCOUNT}:role/r");
    let session = [("RoleArn", role.as_str()), ("RoleSessionName", "s1")];
    let [session, _, token] = credentials(&rig.call(&ana, "AssumeRole", &session).await.unwrap());
    let session = rig.lookup(&session, Some(&token)).await.unwrap().unwrap().principal().clone();
    rig.iam.note_use(&ana, "sts", "us-east-1");
    rig.clock.advance(Duration::from_secs(60));
    rig.iam.note_use(&session, "kms", "eu-west-1");
    let text = document(&json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }));
    let made = rig.ok("CreatePolicy", &[("PolicyName", "p"), ("PolicyDocument", &text)]).await;
    let policy = made["Policy"]["Arn"].as_str().unwrap().to_owned();
    rig.ok("CreateGroup", &[("GroupName", "team")]).await;
    rig.ok("AddUserToGroup", &[("GroupName", "team"), ("UserName", "ana")]).await;
    rig.ok("AttachGroupPolicy", &[("GroupName", "team"), ("PolicyArn", &policy)]).await;
    rig.ok("AttachRolePolicy", &[("RoleName", "r"), ("PolicyArn", &policy)]).await;
    let group = format!("arn:aws:iam::{ACCOUNT}:group/team");
    let services = async |arn: &str| {
        let job = rig.ok("GenerateServiceLastAccessedDetails", &[("Arn", arn)]).await;
        let id = job["JobId"].as_str().unwrap();
        assert_eq!(id.len(), 36);
        let done = rig.ok("GetServiceLastAccessedDetails", &[("JobId", id)]).await;
        assert_eq!(done["JobStatus"], "COMPLETED");
        let services = done["ServicesLastAccessed"].as_array().unwrap().clone();
        assert_eq!(services.len(), 5);
        let used =
            services.into_iter().filter(|service| service["TotalAuthenticatedEntities"] != 0);
        used.map(|service| {
            let text = |member: &str| service[member].as_str().unwrap().to_owned();
            [text("ServiceNamespace"), text("LastAuthenticatedEntity"), text("LastAuthenticated")]
        })
        .collect::<Vec<_>>()
    };
    let of_ana = ["sts".to_owned(), ana.arn(), "2027-01-15T08:00:00Z".to_owned()];
    let of_role = ["kms".to_owned(), role.clone(), "2027-01-15T08:01:00Z".to_owned()];
    assert_eq!(services(&ana.arn()).await, std::slice::from_ref(&of_ana));
    assert_eq!(services(&role).await, std::slice::from_ref(&of_role));
    assert_eq!(services(&group).await, std::slice::from_ref(&of_ana));
    assert_eq!(services(&policy).await, [of_role, of_ana]);
    let found = rig.ok("GetRole", &[("RoleName", "r")]).await;
    let expected = json!({ "LastUsedDate": "2027-01-15T08:01:00Z", "Region": "eu-west-1" });
    assert_eq!(found["Role"]["RoleLastUsed"], expected);

    for arn in ["x", "arn:aws:iam::000000000000:user/none", "arn:aws:iam::999999999999:user/ana"] {
        let refusal = rig.refused("GenerateServiceLastAccessedDetails", &[("Arn", arn)]).await;
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
    let unknown = [("JobId", "00000000-0000-4000-8000-000000000000")];
    assert!(
        rig.refused("GetServiceLastAccessedDetails", &unknown).await.starts_with("NoSuchEntity")
    );
    let level = [("Arn", role.as_str()), ("Granularity", "ACTION_LEVEL")];
    let refusal = rig.refused("GenerateServiceLastAccessedDetails", &level).await;
    assert!(refusal.starts_with("ValidationError"), "{refusal}");
}
