use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, credentials, root};

use kms_base::clock::Clock as _;
use kms_base::principal::{Principal, PrincipalKind};
use kms_query::IamError;

const ROLE: &str = "arn:aws:iam::000000000000:role/deploy";
const USER: &str = "arn:aws:iam::000000000000:user/ana";

fn trust(principal: &str) -> String {
    json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": principal }, "Action": "sts:AssumeRole" },
    ] })
    .to_string()
}

async fn assume(rig: &Rig, caller: &Principal, more: &[(&str, &str)]) -> Result<Value, IamError> {
    let parameters = [&[("RoleArn", ROLE), ("RoleSessionName", "s1")], more].concat();
    rig.call(caller, "AssumeRole", &parameters).await
}

/// A user `ana` whom the role `deploy` trusts.
async fn rig() -> (Rig, Principal) {
    let rig = Rig::new().await;
    let (key, _) = rig.user("ana").await;
    let ana = rig.principal(&key).await;
    let parameters = [("RoleName", "deploy"), ("AssumeRolePolicyDocument", &*trust(USER))];
    rig.ok("CreateRole", &parameters).await;
    (rig, ana)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_role() {
    let (rig, _) = rig().await;
    let found = rig.ok("GetRole", &[("RoleName", "Deploy")]).await;
    assert_eq!(found["Role"]["Arn"], ROLE);
    assert_eq!(found["Role"]["MaxSessionDuration"], 3600);
    assert!(found["Role"]["AssumeRolePolicyDocument"].as_str().unwrap().starts_with("%7B"));
    let again = [("RoleName", "DEPLOY"), ("AssumeRolePolicyDocument", &*trust(USER))];
    assert!(rig.refused("CreateRole", &again).await.starts_with("EntityAlreadyExists"));
    assert_eq!(rig.ok("ListRoles", &[]).await["Roles"].as_array().unwrap().len(), 1);
    for document in
        ["{", "{}", &trust("arn:aws:iam::000000000000:user/nobody"), &trust("999999999999")]
    {
        let parameters = [("RoleName", "deploy"), ("PolicyDocument", document)];
        let refusal = rig.refused("UpdateAssumeRolePolicy", &parameters).await;
        assert!(refusal.starts_with("MalformedPolicyDocument"), "{refusal}");
    }
    let profiles = rig.ok("ListInstanceProfilesForRole", &[("RoleName", "deploy")]).await;
    assert_eq!(profiles["InstanceProfiles"], json!([]));
    let external = [("RoleName", "deploy"), ("MaxSessionDuration", "60")];
    assert!(rig.refused("CreateRole", &external).await.starts_with("ValidationError"));
    rig.ok("DeleteRole", &[("RoleName", "deploy")]).await;
    assert!(rig.refused("GetRole", &[("RoleName", "deploy")]).await.starts_with("NoSuchEntity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_trusted_becomes_the_role() {
    let (rig, ana) = rig().await;
    let answer = assume(&rig, &ana, &[("DurationSeconds", "900")]).await.unwrap();
    let arn = "arn:aws:sts::000000000000:assumed-role/deploy/s1";
    assert_eq!(answer["AssumedRoleUser"]["Arn"], arn);
    assert_eq!(answer["Credentials"]["Expiration"], "2027-01-15T08:15:00Z");
    let [id, secret, token] = credentials(&answer);
    let other = rig.restarted().await;
    let known = other.lookup(&id, Some(&token)).await.unwrap().unwrap();
    assert_eq!(known.secret(), secret);
    let session = known.principal();
    assert!(matches!(&session.kind, PrincipalKind::Role(role) if role.role == "deploy"));
    assert_eq!(session.session.as_ref().unwrap().expires.as_millis(), 1_800_000_900_000);
    let identity = rig.call(session, "GetCallerIdentity", &[]).await.unwrap();
    assert_eq!(identity["Arn"], arn);
    assert_eq!(identity["UserId"], answer["AssumedRoleUser"]["AssumedRoleId"]);
    assert!(assume(&rig, session, &[]).await.is_err(), "it does not trust itself");
    assert!(rig.call(session, "ListRoles", &[]).await.is_err());

    // Expiry is checked with the signature; the clock of the rig is what it was made with.
    rig.clock.advance(Duration::from_secs(900));
    assert!(session.session.as_ref().unwrap().expires <= rig.clock.now());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_their_role() {
    let (rig, ana) = rig().await;
    let other = rig.restarted().await;
    let [id, _, token] = credentials(&assume(&rig, &ana, &[]).await.unwrap());
    assert!(other.lookup(&id, Some(&token)).await.unwrap().is_some());
    rig.ok("DeleteRole", &[("RoleName", "deploy")]).await;
    assert!(rig.lookup(&id, Some(&token)).await.unwrap().is_none());
    other.gone(&id, Some(&token)).await;
    let parameters = [("RoleName", "deploy"), ("AssumeRolePolicyDocument", &*trust(USER))];
    rig.ok("CreateRole", &parameters).await;
    assert!(rig.lookup(&id, Some(&token)).await.unwrap().is_none(), "this is another role");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_becomes_the_role() {
    let (rig, ana) = rig().await;
    let (key, _) = rig.user("ben").await;
    let ben = rig.principal(&key).await;
    let error = assume(&rig, &ben, &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "AccessDenied: User: arn:aws:iam::000000000000:user/ben is not authorized to perform: \
         sts:AssumeRole on resource: arn:aws:iam::000000000000:role/deploy"
    );
    let none = [("RoleArn", "arn:aws:iam::000000000000:role/none"), ("RoleSessionName", "s1")];
    let hidden = rig.call(&ben, "AssumeRole", &none).await.unwrap_err();
    assert_eq!(hidden.message(), error.message().replace("deploy", "none"));
    let error = assume(&rig, &root(), &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "AccessDenied: Roles may not be assumed by root accounts.");

    // The name of a user that was deleted is not the user.
    let keys = rig.ok("ListAccessKeys", &[("UserName", "ana")]).await;
    let key = keys["AccessKeyMetadata"][0]["AccessKeyId"].as_str().unwrap();
    rig.ok("DeleteAccessKey", &[("UserName", "ana"), ("AccessKeyId", key)]).await;
    rig.ok("DeleteUser", &[("UserName", "ana")]).await;
    let (key, _) = rig.user("ana").await;
    let again = rig.principal(&key).await;
    assert_eq!(again.arn(), ana.arn());
    assert!(assume(&rig, &again, &[]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_delegates_to_identity_policies() {
    let (rig, ana) = rig().await;
    let trusted = trust("000000000000");
    let update = [("RoleName", "deploy"), ("PolicyDocument", &*trusted)];
    rig.ok("UpdateAssumeRolePolicy", &update).await;
    assert!(assume(&rig, &ana, &[]).await.is_err());
    let document = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": ROLE } })
    .to_string();
    let put = [("UserName", "ana"), ("PolicyName", "p"), ("PolicyDocument", &*document)];
    rig.ok("PutUserPolicy", &put).await;
    assert!(assume(&rig, &ana, &[]).await.is_ok());
    let bound = [("PolicyName", "b"), ("PolicyDocument", &*document.replace("deploy", "other"))];
    rig.ok("CreatePolicy", &bound).await;
    let boundary = ("PermissionsBoundary", "arn:aws:iam::000000000000:policy/b");
    rig.ok("PutUserPermissionsBoundary", &[("UserName", "ana"), boundary]).await;
    assert!(assume(&rig, &ana, &[]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_have_bounds() {
    let (rig, ana) = rig().await;
    let policy = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*" } })
    .to_string();
    let [id, _, token] = credentials(&assume(&rig, &ana, &[("Policy", &policy)]).await.unwrap());
    let known = rig.lookup(&id, Some(&token)).await.unwrap().unwrap();
    assert_eq!(known.principal().session.as_ref().unwrap().policy.as_deref(), Some(&*policy));
    let large = policy.replace("\"*\"", &format!("\"arn:aws:kms:*:*:key/{}\"", "k".repeat(2048)));
    for (more, code) in [
        (("DurationSeconds", "899"), "ValidationError"),
        (("DurationSeconds", "3601"), "ValidationError"),
        (("DurationSeconds", "43201"), "ValidationError"),
        (("Policy", "{"), "MalformedPolicyDocument"),
        (("Policy", &large), "PackedPolicyTooLarge"),
        (("ExternalId", "x"), "ValidationError"),
        (("PolicyArns.member.1.arn", "x"), "ValidationError"),
        (("SerialNumber", "x"), "ValidationError"),
    ] {
        let error = assume(&rig, &ana, &[more]).await.unwrap_err();
        assert_eq!(error.code().name(), code, "{more:?} {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_another_account() {
    let (rig, ana) = rig().await;
    let made = rig.ok("CreateAccount", &[("AccountId", "111122223333")]).await;
    let other = rig.principal(made["AccessKey"]["AccessKeyId"].as_str().unwrap()).await;
    let external = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow",
        "Principal": { "AWS": ana.arn() }, "Action": "sts:AssumeRole",
        "Condition": { "StringEquals": { "sts:ExternalId": "our-contract" } } } })
    .to_string();
    let create = [("RoleName", "theirs"), ("AssumeRolePolicyDocument", external.as_str())];
    rig.call(&other, "CreateRole", &create).await.unwrap();
    let arn = "arn:aws:iam::111122223333:role/theirs";
    let told = [("RoleArn", arn), ("RoleSessionName", "s1"), ("ExternalId", "our-contract")];
    assert!(rig.call(&ana, "AssumeRole", &told).await.is_err(), "its own policies do not allow it");
    let document = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": arn } })
    .to_string();
    let put = [("UserName", "ana"), ("PolicyName", "p"), ("PolicyDocument", &*document)];
    rig.ok("PutUserPolicy", &put).await;
    for wrong in [&told[..2], &[told[0], told[1], ("ExternalId", "another")]] {
        let error = rig.call(&ana, "AssumeRole", wrong).await.unwrap_err();
        assert_eq!(error.code().name(), "AccessDenied");
    }
    let answer = rig.call(&ana, "AssumeRole", &told).await.unwrap();
    let [id, _, token] = credentials(&answer);
    let session = rig.lookup(&id, Some(&token)).await.unwrap().unwrap();
    assert_eq!(session.principal().account, "111122223333");
    assert!(rig.call(&ana, "GetRole", &[("RoleName", "theirs")]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_identity_stays() {
    let (rig, ana) = rig().await;
    let source = ("SourceIdentity", "ana.real");
    assert!(
        assume(&rig, &ana, &[source]).await.is_err(),
        "the trust policy does not allow to set it"
    );
    let trusted = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": [USER, ROLE] },
          "Action": ["sts:AssumeRole", "sts:SetSourceIdentity"] },
        { "Effect": "Deny", "Principal": "*", "Action": "sts:SetSourceIdentity",
          "Condition": { "StringLike": { "sts:SourceIdentity": "root*" } } },
    ] })
    .to_string();
    let update = [("RoleName", "deploy"), ("PolicyDocument", &*trusted)];
    rig.ok("UpdateAssumeRolePolicy", &update).await;
    assert!(assume(&rig, &ana, &[("SourceIdentity", "root1")]).await.is_err());
    let answer = assume(&rig, &ana, &[source]).await.unwrap();
    assert_eq!(answer["SourceIdentity"], "ana.real");
    let [id, _, token] = credentials(&answer);
    let session = rig.lookup(&id, Some(&token)).await.unwrap().unwrap().principal().clone();
    let kept = session.session.as_ref().unwrap().source_identity.as_deref();
    assert_eq!(kept, Some("ana.real"));
    assert!(assume(&rig, &session, &[("SourceIdentity", "ben")]).await.is_err());
    let chained = assume(&rig, &session, &[]).await.unwrap();
    assert_eq!(chained["SourceIdentity"], "ana.real");
}
