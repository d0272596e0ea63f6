//! `SimulatePrincipalPolicy` and `SimulateCustomPolicy`.

use serde_json::{Value, json};

use super::delegation::{caller, denied, document, done};
use super::rig::{ACCOUNT, Rig};

const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-4333-8444-555555555555";

fn decisions(answer: &Value) -> Vec<(String, String)> {
    let results = answer["EvaluationResults"].as_array().unwrap().iter();
    let text = |result: &Value, member: &str| result[member].as_str().unwrap().to_owned();
    results.map(|result| (text(result, "EvalActionName"), text(result, "EvalDecision"))).collect()
}

fn decision(answer: &Value) -> String {
    decisions(answer).into_iter().map(|(_, decision)| decision).next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_of_a_user_decide() {
    let rig = Rig::new().await;
    let ana = caller(
        &rig,
        "ana",
        json!([
            { "Effect": "Allow", "Action": "kms:*", "Resource": KEY },
            { "Effect": "Deny", "Action": "kms:ScheduleKeyDeletion", "Resource": "*" },
        ]),
    )
    .await;
    let arn = ana.arn();
    let own = [("PolicySourceArn", arn.as_str())];
    let asked = [
        ("ActionNames.member.1", "kms:Encrypt"),
        ("ActionNames.member.2", "KMS:scheduleKeyDeletion"),
        ("ActionNames.member.3", "iam:CreateUser"),
        ("ResourceArns.member.1", KEY),
    ];
    let answer = rig.ok("SimulatePrincipalPolicy", &[&own[..], &asked].concat()).await;
    let expected = [
        ("kms:Encrypt", "allowed"),
        ("kms:ScheduleKeyDeletion", "explicitDeny"),
        ("iam:CreateUser", "implicitDeny"),
    ];
    assert_eq!(decisions(&answer), expected.map(|(a, d)| (a.to_owned(), d.to_owned())));
    let first = &answer["EvaluationResults"][0];
    assert_eq!(first["EvalResourceName"], KEY);
    let matched = &first["MatchedStatements"][0];
    assert_eq!(
        (&matched["SourcePolicyId"], &matched["SourcePolicyType"]),
        (&json!("p"), &json!("user"))
    );
    assert_eq!(matched["StartPosition"]["Line"], 1);
    assert!(
        matched["EndPosition"]["Column"].as_u64() > matched["StartPosition"]["Column"].as_u64()
    );
    assert_eq!(first["MissingContextValues"], json!([]));
    assert_eq!(answer["EvaluationResults"][2]["MatchedStatements"], json!([]));
    assert_eq!(answer["IsTruncated"], false);

    // Another resource, and none.
    for resource in
        [&[("ResourceArns.member.1", "arn:aws:kms:us-east-1:000000000000:key/x")][..], &[]]
    {
        let parameters = [&own[..], &asked[..1], resource].concat();
        assert_eq!(decision(&rig.ok("SimulatePrincipalPolicy", &parameters).await), "implicitDeny");
    }
    // A policy that it might get as well, and a boundary.
    let more = document(&json!({ "Effect": "Allow", "Action": "iam:*", "Resource": "*" }));
    let bound = document(&json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }));
    let with = [
        &own[..],
        &[("ActionNames.member.1", "iam:CreateUser"), ("PolicyInputList.member.1", &more)],
    ]
    .concat();
    let answer = rig.ok("SimulatePrincipalPolicy", &with).await;
    assert_eq!(decision(&answer), "allowed");
    let matched = &answer["EvaluationResults"][0]["MatchedStatements"][0];
    assert_eq!(
        (&matched["SourcePolicyId"], &matched["SourcePolicyType"]),
        (&json!("PolicyInputList.1"), &json!("none"))
    );
    let bounded =
        [&with[..], &[("PermissionsBoundaryPolicyInputList.member.1", bound.as_str())]].concat();
    let answer = rig.ok("SimulatePrincipalPolicy", &bounded).await;
    assert_eq!(decision(&answer), "implicitDeny");
    let detail = &answer["EvaluationResults"][0]["PermissionsBoundaryDecisionDetail"];
    assert_eq!(detail["AllowedByPermissionsBoundary"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_roles_boundaries_and_tags_count() {
    let rig = Rig::new().await;
    rig.user("ana").await;
    rig.ok("CreateGroup", &[("GroupName", "team")]).await;
    rig.ok("AddUserToGroup", &[("GroupName", "team"), ("UserName", "ana")]).await;
    let by_tag = document(&json!({ "Effect": "Allow", "Action": "kms:Sign", "Resource": "*",
        "Condition": { "StringEquals": { "aws:PrincipalTag/team": "red", "aws:username": "ana" } } }));
    let put = [("GroupName", "team"), ("PolicyName", "g"), ("PolicyDocument", by_tag.as_str())];
    rig.ok("PutGroupPolicy", &put).await;
    let ask = async |arn: &str, more: &[(&str, &str)]| {
        let own = [("PolicySourceArn", arn), ("ActionNames.member.1", "kms:Sign")];
        rig.ok("SimulatePrincipalPolicy", &[&own[..], more].concat()).await
    };
    let user = format!("arn:aws:iam::{ACCOUNT}:user/ana");
    let group = format!("arn:aws:iam::{ACCOUNT}:group/team");
    let answer = ask(&user, &[]).await;
    assert_eq!(decision(&answer), "implicitDeny");
    assert_eq!(
        answer["EvaluationResults"][0]["MissingContextValues"],
        json!(["aws:PrincipalTag/team"])
    );
    let tag = [("UserName", "ana"), ("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "red")];
    rig.ok("TagUser", &tag).await;
    assert_eq!(decision(&ask(&user, &[]).await), "allowed");
    // Of a group, who calls is not known unless it is said.
    let answer = ask(&group, &[]).await;
    assert_eq!(decision(&answer), "implicitDeny");
    let missing = json!(["aws:PrincipalTag/team", "aws:username"]);
    assert_eq!(answer["EvaluationResults"][0]["MissingContextValues"], missing);
    let entry = [
        ("CallerArn", user.as_str()),
        ("ContextEntries.member.1.ContextKeyName", "aws:PrincipalTag/team"),
        ("ContextEntries.member.1.ContextKeyType", "string"),
        ("ContextEntries.member.1.ContextKeyValues.member.1", "red"),
    ];
    assert_eq!(decision(&ask(&group, &entry).await), "allowed");

    let narrow = document(&json!({ "Effect": "Allow", "Action": "kms:Verify", "Resource": "*" }));
    let made = rig.ok("CreatePolicy", &[("PolicyName", "b"), ("PolicyDocument", &narrow)]).await;
    let boundary = made["Policy"]["Arn"].as_str().unwrap();
    let bound = [("UserName", "ana"), ("PermissionsBoundary", boundary)];
    rig.ok("PutUserPermissionsBoundary", &bound).await;
    assert_eq!(decision(&ask(&user, &[]).await), "implicitDeny");

    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}}"#;
    rig.ok("CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", trust)]).await;
    rig.ok("AttachRolePolicy", &[("RoleName", "r"), ("PolicyArn", boundary)]).await;
    let role = format!("arn:aws:iam::{ACCOUNT}:role/r");
    assert_eq!(decision(&ask(&role, &[]).await), "implicitDeny");
    let own = [("PolicySourceArn", role.as_str()), ("ActionNames.member.1", "kms:Verify")];
    let answer = rig.ok("SimulatePrincipalPolicy", &own).await;
    assert_eq!(decision(&answer), "allowed");
    let matched = &answer["EvaluationResults"][0]["MatchedStatements"][0];
    assert_eq!(matched["SourcePolicyId"], boundary);

    for arn in [
        format!("arn:aws:iam::{ACCOUNT}:user/none"),
        "arn:aws:iam::999999999999:user/ana".to_owned(),
    ] {
        let own = [("PolicySourceArn", arn.as_str()), ("ActionNames.member.1", "kms:Sign")];
        let refusal = rig.refused("SimulatePrincipalPolicy", &own).await;
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_nobody_has() {
    let rig = Rig::new().await;
    let text = document(&json!([
        { "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*", "Condition": {
            "ForAnyValue:StringEquals": { "kms:EncryptionContextKeys": ["team"] },
            "NumericLessThan": { "kms:RotationPeriodInDays": "100" } } },
        { "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*" },
    ]));
    let ask = async |action: &str, more: &[(&str, &str)]| {
        let own = [("PolicyInputList.member.1", text.as_str()), ("ActionNames.member.1", action)];
        rig.call(&super::rig::root(), "SimulateCustomPolicy", &[&own[..], more].concat()).await
    };
    let answer = ask("kms:Decrypt", &[]).await.unwrap();
    assert_eq!(decision(&answer), "implicitDeny");
    let missing = json!(["kms:EncryptionContextKeys", "kms:RotationPeriodInDays"]);
    assert_eq!(answer["EvaluationResults"][0]["MissingContextValues"], missing);
    let entries = [
        ("ContextEntries.member.1.ContextKeyName", "kms:encryptioncontextkeys"),
        ("ContextEntries.member.1.ContextKeyType", "stringList"),
        ("ContextEntries.member.1.ContextKeyValues.member.1", "cost"),
        ("ContextEntries.member.1.ContextKeyValues.member.2", "team"),
        ("ContextEntries.member.2.ContextKeyName", "kms:RotationPeriodInDays"),
        ("ContextEntries.member.2.ContextKeyType", "numeric"),
        ("ContextEntries.member.2.ContextKeyValues.member.1", "90"),
    ];
    assert_eq!(decision(&ask("kms:Decrypt", &entries).await.unwrap()), "allowed");

    // With the policy of a key, as for a request: it has to let the account decide.
    let user = format!("arn:aws:iam::{ACCOUNT}:user/ana");
    let of_account = document(&json!({ "Effect": "Allow", "Principal": { "AWS": ACCOUNT },
        "Action": "kms:*", "Resource": "*" }));
    let of_user = document(&json!({ "Effect": "Allow", "Principal": { "AWS": user },
        "Action": "kms:Sign", "Resource": "*" }));
    let of_nobody = document(&json!({ "Effect": "Allow", "Principal": { "AWS": "999999999999" },
        "Action": "kms:*", "Resource": "*" }));
    for (action, policy, expected) in [
        ("kms:Decrypt", &of_account, "allowed"),
        ("kms:Decrypt", &of_nobody, "implicitDeny"),
        ("kms:Sign", &of_user, "allowed"),
        ("kms:Sign", &of_account, "implicitDeny"),
    ] {
        let more = [
            ("ResourcePolicy", policy.as_str()),
            ("CallerArn", &user),
            ("ResourceArns.member.1", KEY),
        ];
        let answer = ask(action, &[&entries[..], &more].concat()).await.unwrap();
        assert_eq!(decision(&answer), expected, "{action} {policy}");
    }
    let trust = document(
        &json!({ "Effect": "Allow", "Principal": { "AWS": ACCOUNT }, "Action": "sts:AssumeRole" }),
    );
    let role = format!("arn:aws:iam::{ACCOUNT}:role/r");
    let more = [
        ("ResourcePolicy", trust.as_str()),
        ("CallerArn", &user),
        ("ResourceArns.member.1", &role),
    ];
    assert_eq!(decision(&ask("sts:AssumeRole", &more).await.unwrap()), "allowed");

    for (action, more, code) in [
        ("s3:GetObject", &[][..], "InvalidInput"),
        ("kms:Frobnicate", &[], "InvalidInput"),
        ("kms:*", &[], "InvalidInput"),
        ("kms:Sign", &[("ResourcePolicy", "{")], "InvalidInput"),
        ("iam:GetUser", &[("ResourcePolicy", of_account.as_str())], "InvalidInput"),
        ("kms:Sign", &[("CallerArn", "arn:aws:iam::000000000000:role/r")], "InvalidInput"),
        ("kms:Sign", &[("ResourceOwner", "x")], "InvalidInput"),
        ("kms:Sign", &[("PermissionsBoundaryPolicyInputList.member.1", "{")], "InvalidInput"),
        ("kms:Sign", &[("ContextEntries.member.1.ContextKeyName", "x")], "ValidationError"),
        ("kms:Sign", &[("ContextEntries.member.2.ContextKeyName", "aws:x")], "ValidationError"),
        ("kms:Sign", &[("Marker", "OTk5")], "ValidationError"),
    ] {
        let error = ask(action, more).await.unwrap_err();
        assert_eq!(error.code().name(), code, "{action} {more:?} {error}");
    }
    let own = [("PolicyInputList.member.1", text.as_str())];
    assert!(rig.refused("SimulateCustomPolicy", &own).await.starts_with("ValidationError"));
}

/// A request of a thousand actions on a thousand resources has pages.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_bounded() {
    let rig = Rig::new().await;
    let text = document(&json!({ "Effect": "Allow", "Action": "kms:Sign", "Resource": "*" }));
    let mut parameters = vec![("PolicyInputList.member.1".to_owned(), text)];
    for number in 1..=300 {
        parameters.push((format!("ActionNames.member.{number}"), "kms:Sign".to_owned()));
        parameters.push((format!("ResourceArns.member.{number}"), format!("arn:x:{number}")));
    }
    let call = async |more: &[(&str, &str)]| {
        let own = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<_> = own.chain(more.iter().copied()).collect();
        rig.ok("SimulateCustomPolicy", &all).await
    };
    let first = call(&[("MaxItems", "1000")]).await;
    assert_eq!((decisions(&first).len(), &first["IsTruncated"]), (100, &json!(true)));
    let marker = first["Marker"].as_str().unwrap();
    let second = call(&[("MaxItems", "2"), ("Marker", marker)]).await;
    assert_eq!(second["EvaluationResults"][1]["EvalResourceName"], "arn:x:102");
}

/// Who may simulate whom is a matter of policies.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_simulate() {
    let rig = Rig::new().await;
    let own = format!("arn:aws:iam::{ACCOUNT}:user/ana");
    let ana = caller(
        &rig,
        "ana",
        json!({ "Effect": "Allow", "Action": "iam:SimulatePrincipalPolicy",
        "Resource": own }),
    )
    .await;
    let ask = |arn| [("PolicySourceArn", arn), ("ActionNames.member.1", "kms:Sign")];
    done(&rig, &ana, "SimulatePrincipalPolicy", &ask(&own)).await;
    let other = format!("arn:aws:iam::{ACCOUNT}:user/ben");
    denied(&rig, &ana, "SimulatePrincipalPolicy", &ask(&other)).await;
}

/// Each result names every statement that decides: a request could be answered with a thousand times
/// its size.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded() {
    let rig = Rig::new().await;
    let statements = |count: usize| {
        let one = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
        format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, vec![one; count].join(","))
    };
    let ask = |documents: usize, each: usize, resources: usize| {
        let text = statements(each);
        let policies =
            (1..=documents).map(|n| (format!("PolicyInputList.member.{n}"), text.clone()));
        let arns =
            (1..=resources).map(|n| (format!("ResourceArns.member.{n}"), format!("{KEY}{n}")));
        let action = [("ActionNames.member.1".to_owned(), "kms:Encrypt".to_owned())];
        policies.chain(arns).chain(action).collect::<Vec<_>>()
    };
    let call = async |owned: &[(String, String)]| {
        let parameters: Vec<(&str, &str)> =
            owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        rig.call(&super::rig::root(), "SimulateCustomPolicy", &parameters).await
    };
    let refused = call(&ask(41, 50, 1)).await.unwrap_err();
    assert!(refused.to_string().contains("2000 statements"), "{refused}");

    // A page ends early, and the next one goes on.
    let mut question = ask(20, 50, 5);
    let mut decided = 0;
    for _ in 0..5 {
        let answer = call(&question).await.unwrap();

        let results = answer["EvaluationResults"].as_array().unwrap();
        let shown: usize =
            results.iter().map(|one| one["MatchedStatements"].as_array().unwrap().len()).sum();
        assert!(shown <= 3000, "{shown}");
        decided += results.len();
        question.retain(|(name, _)| name != "Marker");
        match answer["IsTruncated"] == true {
            true => {
                let marker = answer["Marker"].as_str().unwrap().to_owned();
                question.push(("Marker".to_owned(), marker));
            }
            false => break,
        }
    }
    assert_eq!(decided, 5);
}
