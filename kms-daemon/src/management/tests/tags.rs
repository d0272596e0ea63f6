//! Tags of users, roles and policies, and the conditions that ask for them.

use serde_json::{Value, json};

use super::delegation::{caller, denied, document, done};
use super::rig::{ACCOUNT, Rig};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}}"#;

fn pairs(answer: &Value) -> Vec<(String, String)> {
    let text = |tag: &Value, member: &str| tag[member].as_str().unwrap().to_owned();
    let tags = answer.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    tags.map(|tag| (text(tag, "Key"), text(tag, "Value"))).collect()
}

fn owned(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_roles_and_policies_have_tags() {
    let rig = Rig::new().await;
    let text = document(&json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }));
    let arn = format!("arn:aws:iam::{ACCOUNT}:policy/p");
    for (kind, create, own) in [
        ("User", vec![("UserName", "ana")], ("UserName", "ana")),
        ("Role", vec![("RoleName", "r"), ("AssumeRolePolicyDocument", TRUST)], ("RoleName", "r")),
        (
            "Policy",
            vec![("PolicyName", "p"), ("PolicyDocument", text.as_str())],
            ("PolicyArn", arn.as_str()),
        ),
    ] {
        let first = [("Tags.member.1.Key", "Team"), ("Tags.member.1.Value", "red")];
        let made =
            rig.ok(&format!("Create{kind}"), &[create.clone(), first.to_vec()].concat()).await;
        assert_eq!(pairs(&made[kind]["Tags"]), owned(&[("Team", "red")]), "{kind}");
        let found = rig.ok(&format!("Get{kind}"), &[own]).await;
        assert_eq!(found[kind]["Tags"], made[kind]["Tags"], "{kind}");
        let more = [
            own,
            ("Tags.member.1.Key", "team"),
            ("Tags.member.1.Value", "blue"),
            ("Tags.member.2.Key", "cost"),
            ("Tags.member.2.Value", ""),
        ];
        rig.ok(&format!("Tag{kind}"), &more).await;
        // Of policies, keys have case; those of users and roles have none.
        let expected = match kind {
            "Policy" => vec![("Team", "red"), ("cost", ""), ("team", "blue")],
            _ => vec![("cost", ""), ("team", "blue")],
        };
        let list = format!("List{kind}Tags");
        assert_eq!(pairs(&rig.ok(&list, &[own]).await["Tags"]), owned(&expected), "{kind}");
        let page = rig.ok(&list, &[own, ("MaxItems", "1")]).await;
        assert_eq!((pairs(&page["Tags"]).len(), &page["IsTruncated"]), (1, &json!(true)));
        let marker = page["Marker"].as_str().unwrap();
        let rest = rig.ok(&list, &[own, ("Marker", marker)]).await;
        assert_eq!(pairs(&rest["Tags"]), owned(&expected[1..]), "{kind}");
        let keys = [own, ("TagKeys.member.1", "cost"), ("TagKeys.member.2", "TEAM")];
        rig.ok(&format!("Untag{kind}"), &keys).await;
        let left = if kind == "Policy" { 2 } else { 0 };
        assert_eq!(pairs(&rig.ok(&list, &[own]).await["Tags"]).len(), left, "{kind}");
        let plural = if kind == "Policy" { "Policies".to_owned() } else { format!("{kind}s") };
        let listed = rig.ok(&format!("List{plural}"), &[]).await;
        assert_eq!(listed[&plural][0]["Tags"], json!(null), "listings leave them out");
    }
    let restarted = rig.restarted().await;
    let tags = restarted.ok("ListPolicyTags", &[("PolicyArn", &arn)]).await;
    assert_eq!(pairs(&tags["Tags"]), owned(&[("Team", "red"), ("team", "blue")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_fifty_of_them() {
    let rig = Rig::new().await;
    rig.ok("CreateUser", &[("UserName", "ana")]).await;
    let tags = |from: usize, to: usize| {
        let pair = |index: usize| {
            let number = index - from + 1;
            [
                (format!("Tags.member.{number}.Key"), format!("k{index}")),
                (format!("Tags.member.{number}.Value"), String::new()),
            ]
        };
        (from..to).flat_map(pair).collect::<Vec<_>>()
    };
    let call = async |tags: Vec<(String, String)>| {
        let mut parameters = vec![("UserName", "ana")];
        parameters.extend(tags.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        rig.call(&super::rig::root(), "TagUser", &parameters).await.map_err(|e| e.to_string())
    };
    let refusal = call(tags(0, 51)).await.unwrap_err();
    assert!(refusal.starts_with("ValidationError"), "{refusal}");
    call(tags(0, 50)).await.unwrap();
    call(tags(0, 50)).await.unwrap();
    let refusal = call(tags(50, 51)).await.unwrap_err();
    assert_eq!(refusal, "LimitExceeded: Cannot exceed quota for TagsPerUser: 50");
    for (name, code) in [("nobody", "NoSuchEntity"), ("a b", "ValidationError")] {
        let refusal = rig.refused("ListUserTags", &[("UserName", name)]).await;
        assert!(refusal.starts_with(code), "{refusal}");
    }
}

/// `aws:RequestTag`, `aws:TagKeys`, `aws:ResourceTag`, `iam:ResourceTag` and `aws:PrincipalTag` in
/// requests to IAM.
#[tokio::test(flavor = "multi_thread")]
async fn who_manages_identities_by_their_tags() {
    let rig = Rig::new().await;
    let red = |key: &str| json!({ "StringEquals": { key: "${aws:PrincipalTag/team}" } });
    let keys = json!({ "ForAllValues:StringEquals": { "aws:TagKeys": ["team"] } });
    let admin = caller(
        &rig,
        "admin",
        json!([
            { "Effect": "Allow", "Resource": "*", "Condition": red("aws:RequestTag/team"),
              "Action": ["iam:CreateUser", "iam:TagUser"] },
            { "Effect": "Allow", "Resource": "*", "Condition": red("iam:ResourceTag/team"),
              "Action": ["iam:GetUser", "iam:CreateAccessKey"] },
            { "Effect": "Allow", "Resource": "*", "Condition": red("aws:ResourceTag/team"),
              "Action": ["iam:DeleteUser", "iam:GetPolicy"] },
            { "Effect": "Allow", "Resource": "*", "Condition": keys, "Action": "iam:UntagUser" },
        ]),
    )
    .await;
    let tag = |key, value| [("Tags.member.1.Key", key), ("Tags.member.1.Value", value)];
    let create = |name, key, value| [&[("UserName", name)][..], &tag(key, value)].concat();
    // The caller has no team yet.
    denied(&rig, &admin, "CreateUser", &create("x", "team", "red")).await;
    rig.ok("TagUser", &create("admin", "Team", "red")).await;
    denied(&rig, &admin, "CreateUser", &create("x", "team", "blue")).await;
    denied(&rig, &admin, "CreateUser", &[("UserName", "x")]).await;
    done(&rig, &admin, "CreateUser", &create("x", "team", "red")).await;
    rig.ok("CreateUser", &create("y", "team", "blue")).await;
    for (operation, name, allowed) in [
        ("GetUser", "x", true),
        ("GetUser", "y", false),
        ("GetUser", "admin", true),
        ("CreateAccessKey", "y", false),
        ("DeleteUser", "y", false),
        ("DeleteUser", "none", false),
    ] {
        match allowed {
            true => done(&rig, &admin, operation, &[("UserName", name)]).await,
            false => denied(&rig, &admin, operation, &[("UserName", name)]).await,
        }
    }
    let untag = |key| [("UserName", "x"), ("TagKeys.member.1", key)];
    denied(&rig, &admin, "UntagUser", &untag("cost")).await;
    done(&rig, &admin, "UntagUser", &untag("team")).await;
    denied(&rig, &admin, "DeleteUser", &[("UserName", "x")]).await;
    rig.ok("TagUser", &create("x", "team", "red")).await;
    done(&rig, &admin, "DeleteUser", &[("UserName", "x")]).await;

    let text = document(&json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }));
    let policy = [("PolicyName", "p"), ("PolicyDocument", text.as_str())];
    let made = rig.ok("CreatePolicy", &[&policy[..], &tag("team", "red")].concat()).await;
    let arn = made["Policy"]["Arn"].as_str().unwrap();
    done(&rig, &admin, "GetPolicy", &[("PolicyArn", arn)]).await;
    rig.ok("UntagPolicy", &[("PolicyArn", arn), ("TagKeys.member.1", "team")]).await;
    denied(&rig, &admin, "GetPolicy", &[("PolicyArn", arn)]).await;
}

/// Who makes something with tags needs the right to tag it as well, as at AWS.
#[tokio::test(flavor = "multi_thread")]
async fn to_create_with_tags_is_to_tag() {
    let rig = Rig::new().await;
    let maker = caller(
        &rig,
        "maker",
        json!({ "Effect": "Allow", "Resource": "*", "Action": [
        "iam:CreateUser", "iam:CreateRole", "iam:CreatePolicy" ] }),
    )
    .await;
    let text = document(&json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }));
    let tag = [("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "b")];
    for (operation, own) in [
        ("CreateUser", vec![("UserName", "u")]),
        ("CreateRole", vec![("RoleName", "r"), ("AssumeRolePolicyDocument", TRUST)]),
        ("CreatePolicy", vec![("PolicyName", "p"), ("PolicyDocument", text.as_str())]),
    ] {
        denied(&rig, &maker, operation, &[own.clone(), tag.to_vec()].concat()).await;
        done(&rig, &maker, operation, &own).await;
    }
}

/// The attack: whoever may tag must not give itself a tag that opens more.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_tags_itself_into_more() {
    let rig = Rig::new().await;
    let ana = caller(
        &rig,
        "ana",
        json!([
            { "Effect": "Allow", "Action": "kms:*", "Resource": "*",
              "Condition": { "StringEquals": { "aws:PrincipalTag/clearance": "high" } } },
            { "Effect": "Allow", "Action": ["iam:TagUser", "iam:UntagUser"], "Resource": "*",
              "Condition": { "ForAllValues:StringNotEquals": { "aws:TagKeys": "clearance" } } },
        ]),
    )
    .await;
    let key = rig.key(json!({})).await;
    let tag = |name: &'static str, key: &'static str| {
        [("UserName", name), ("Tags.member.1.Key", key), ("Tags.member.1.Value", "high")]
    };
    denied(&rig, &ana, "TagUser", &tag("ana", "clearance")).await;
    done(&rig, &ana, "TagUser", &tag("ana", "note")).await;
    rig.encrypts(&ana, &key, json!({})).await.unwrap_err();
    rig.ok("TagUser", &tag("ana", "Clearance")).await;
    rig.encrypts(&ana, &key, json!({})).await.unwrap();
    rig.ok("UntagUser", &[("UserName", "ana"), ("TagKeys.member.1", "clearance")]).await;
    rig.encrypts(&ana, &key, json!({})).await.unwrap_err();
}
