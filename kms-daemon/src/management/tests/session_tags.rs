//! Tags of sessions, and managed policies that narrow them.

use serde_json::{Value, json};

use super::delegation::{caller, document};
use super::rig::{ACCOUNT, Rig, credentials};
use kms_base::principal::Principal;

fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

async fn role(rig: &Rig, name: &str, actions: Value, tags: &[(&str, &str)]) {
    let trust = document(&json!({ "Effect": "Allow", "Principal": { "AWS": ACCOUNT },
        "Action": actions }));
    let mut parameters = vec![("RoleName", name), ("AssumeRolePolicyDocument", &trust)];
    parameters.extend(tags);
    rig.ok("CreateRole", &parameters).await;
    let policy = document(&json!([
        { "Effect": "Allow", "Action": "kms:*", "Resource": "*" },
        { "Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Resource": "*" },
    ]));
    let put = [("RoleName", name), ("PolicyName", "p"), ("PolicyDocument", policy.as_str())];
    rig.ok("PutRolePolicy", &put).await;
}

async fn assume(
    rig: &Rig,
    caller: &Principal,
    role: &str,
    more: &[(&str, &str)],
) -> Result<Principal, String> {
    let arn = role_arn(role);
    let own = [("RoleArn", arn.as_str()), ("RoleSessionName", "s1")];
    let answer = rig.call(caller, "AssumeRole", &[&own, more].concat()).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let [id, _, token] = credentials(&answer);
    Ok(rig.lookup(&id, Some(&token)).await.unwrap().unwrap().principal().clone())
}

/// A key that sessions of a team may use.
async fn team_key(rig: &Rig, team: &str) -> String {
    let policy = document(&json!([
        { "Effect": "Allow", "Principal": { "AWS": ACCOUNT }, "Action": "kms:*", "Resource": "*" },
        { "Effect": "Deny", "Principal": { "AWS": "*" }, "Action": "kms:Encrypt", "Resource": "*",
          "Condition": { "StringNotEquals": { "aws:PrincipalTag/team": team } } },
    ]));
    let input = json!({ "Policy": policy });
    let made = rig.kms(&super::rig::root(), "CreateKey", input).await.unwrap();
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

const BOTH: [&str; 2] = ["sts:AssumeRole", "sts:TagSession"];
const RED: [(&str, &str); 2] = [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "red")];

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_its_tags_instead_of_those_of_its_role() {
    let rig = Rig::new().await;
    let all = json!({ "Effect": "Allow", "Action": "sts:*", "Resource": "*" });
    let ana = caller(&rig, "ana", all).await;
    let blue = [("Tags.member.1.Key", "Team"), ("Tags.member.1.Value", "blue")];
    role(&rig, "deploy", json!(BOTH), &blue).await;
    let (red, blue) = (team_key(&rig, "red").await, team_key(&rig, "blue").await);
    let none = json!({});
    let plain = assume(&rig, &ana, "deploy", &[]).await.unwrap();
    rig.encrypts(&plain, &blue, none.clone()).await.unwrap();
    rig.encrypts(&plain, &red, none.clone()).await.unwrap_err();
    let tagged = assume(&rig, &ana, "deploy", &RED).await.unwrap();
    rig.encrypts(&tagged, &red, none.clone()).await.unwrap();
    rig.encrypts(&tagged, &blue, none).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_role_trusts_may_not_tag_unless_it_says_so() {
    let rig = Rig::new().await;
    let ana = caller(
        &rig,
        "ana",
        json!([
            { "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*" },
            { "Effect": "Allow", "Action": "sts:TagSession", "Resource": "*",
              "Condition": { "StringEquals": { "aws:RequestTag/team": "red" },
                             "ForAllValues:StringEquals": { "sts:TransitiveTagKeys": "team" } } },
        ]),
    )
    .await;
    role(&rig, "plain", json!("sts:AssumeRole"), &[]).await;
    role(&rig, "tagged", json!(BOTH), &[]).await;
    assume(&rig, &ana, "plain", &[]).await.unwrap();
    let refusal = assume(&rig, &ana, "plain", &RED).await.unwrap_err();
    assert!(refusal.contains("is not authorized to perform: sts:TagSession"), "{refusal}");
    assume(&rig, &ana, "tagged", &RED).await.unwrap();
    let blue = [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "blue")];
    assume(&rig, &ana, "tagged", &blue).await.unwrap_err();
    let kept = [&RED[..], &[("TransitiveTagKeys.member.1", "team")]].concat();
    assume(&rig, &ana, "tagged", &kept).await.unwrap();
    let more = [
        &kept[..],
        &[
            ("Tags.member.2.Key", "x"),
            ("Tags.member.2.Value", ""),
            ("TransitiveTagKeys.member.2", "x"),
        ],
    ];
    assume(&rig, &ana, "tagged", &more.concat()).await.unwrap_err();
    let unknown = [&RED[..], &[("TransitiveTagKeys.member.1", "other")]].concat();
    let refusal = assume(&rig, &ana, "tagged", &unknown).await.unwrap_err();
    assert!(refusal.starts_with("ValidationError"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transitive_tags_stay_and_cannot_be_changed() {
    let rig = Rig::new().await;
    let all = json!({ "Effect": "Allow", "Action": "sts:*", "Resource": "*" });
    let ana = caller(&rig, "ana", all).await;
    role(&rig, "first", json!(BOTH), &[]).await;
    role(&rig, "second", json!(BOTH), &[]).await;
    role(&rig, "closed", json!("sts:AssumeRole"), &[]).await;
    let (red, none) = (team_key(&rig, "red").await, json!({}));
    let tags = [
        &RED[..],
        &[
            ("Tags.member.2.Key", "job"),
            ("Tags.member.2.Value", "1"),
            ("TransitiveTagKeys.member.1", "Team"),
        ],
    ];
    let first = assume(&rig, &ana, "first", &tags.concat()).await.unwrap();
    let second = assume(&rig, &first, "second", &[]).await.unwrap();
    rig.encrypts(&second, &red, none.clone()).await.unwrap();
    let session = second.session.as_ref().unwrap();
    assert_eq!(session.tags.keys().collect::<Vec<_>>(), ["team"], "the other one has ended");
    let third = assume(&rig, &second, "first", &[]).await.unwrap();
    rig.encrypts(&third, &red, none.clone()).await.unwrap();
    // The attack: to become another team on the way.
    let blue = [("Tags.member.1.Key", "TEAM"), ("Tags.member.1.Value", "blue")];
    let refusal = assume(&rig, &first, "second", &blue).await.unwrap_err();
    assert!(refusal.contains("conflicts with a transitive tag key"), "{refusal}");
    // A role that lets nobody tag its sessions takes none that have tags to bring.
    let refusal = assume(&rig, &first, "closed", &[]).await.unwrap_err();
    assert!(refusal.contains("sts:TagSession"), "{refusal}");
    // What is not transitive does not stay.
    let plain = assume(&rig, &ana, "first", &RED).await.unwrap();
    let second = assume(&rig, &plain, "second", &[]).await.unwrap();
    rig.encrypts(&second, &red, none).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn managed_policies_narrow_a_session() {
    let rig = Rig::new().await;
    let all = json!({ "Effect": "Allow", "Action": "sts:*", "Resource": "*" });
    let ana = caller(&rig, "ana", all).await;
    role(&rig, "deploy", json!("sts:AssumeRole"), &[]).await;
    let key = rig.key(json!({})).await;
    let text = document(&json!({ "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*" }));
    let listing = document(&json!({ "Effect": "Allow", "Action": "kms:List*", "Resource": "*" }));
    for (name, text) in [("encrypt", &text), ("list", &listing)] {
        rig.ok("CreatePolicy", &[("PolicyName", name), ("PolicyDocument", text)]).await;
    }
    let arn = |name: &str| format!("arn:aws:iam::{ACCOUNT}:policy/{name}");
    let (encrypt, list) = (arn("encrypt"), arn("list"));
    let none = json!({});
    let narrow = assume(&rig, &ana, "deploy", &[("PolicyArns.member.1.arn", &list)]).await.unwrap();
    rig.kms(&narrow, "ListKeys", none.clone()).await.unwrap();
    rig.encrypts(&narrow, &key, none.clone()).await.unwrap_err();
    // One of several has to allow.
    let wider = [("PolicyArns.member.1.arn", encrypt.as_str()), ("Policy", &listing)];
    let wider = assume(&rig, &ana, "deploy", &wider).await.unwrap();
    rig.kms(&wider, "ListKeys", none.clone()).await.unwrap();
    rig.encrypts(&wider, &key, none.clone()).await.unwrap();
    rig.kms(&wider, "DescribeKey", json!({ "KeyId": key })).await.unwrap_err();
    // A policy that is gone allows nothing; it does not stop to limit.
    rig.ok("DeletePolicy", &[("PolicyArn", &encrypt)]).await;
    let refusal = rig.encrypts(&wider, &key, none.clone()).await.unwrap_err();
    assert!(refusal.starts_with("AccessDeniedException"), "{refusal}");
    // Nor does another policy that has its name now.
    rig.ok("CreatePolicy", &[("PolicyName", "encrypt"), ("PolicyDocument", &text)]).await;
    let refusal = rig.encrypts(&wider, &key, none).await.unwrap_err();
    assert!(refusal.starts_with("AccessDeniedException"), "{refusal}");

    for (name, wanted) in [
        ("arn:aws:iam::000000000000:policy/none", "ValidationError"),
        ("arn:aws:iam::aws:policy/AdministratorAccess", "ValidationError"),
        ("x", "ValidationError"),
    ] {
        let refusal = assume(&rig, &ana, "deploy", &[("PolicyArns.member.1.arn", name)]).await;
        assert!(refusal.as_ref().unwrap_err().starts_with(wanted), "{refusal:?}");
    }
    let eleven: Vec<_> =
        (1..=11).map(|n| (format!("PolicyArns.member.{n}.arn"), list.clone())).collect();
    let eleven: Vec<_> = eleven.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert!(
        assume(&rig, &ana, "deploy", &eleven).await.unwrap_err().starts_with("ValidationError")
    );
}
