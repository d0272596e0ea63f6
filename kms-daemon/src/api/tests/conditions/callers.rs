//! What condition keys say about callers and connections.

use serde_json::json;

use super::super::rig::{ACCOUNT, arn};
use super::requests::rig;
use super::{absent, allows, flag, is, user};
use kms_base::clock::Timestamp;
use kms_base::context::RequestContext;
use kms_base::principal::{Principal, PrincipalKind, RoleSession, TemporarySession};

#[tokio::test]
async fn callers_and_connections_are_told() {
    let rig = rig().await;
    let key = rig.create("SYMMETRIC_DEFAULT").await;
    let input = json!({ "KeyId": key });
    let user = RequestContext {
        user_agent: Some("aws-cli/2".to_owned()),
        referer: Some("https://example.com/".to_owned()),
        is_encrypted: true,
        ..rig.request(user())
    };
    let (role, id) = ("reader".to_owned(), "AROAEXAMPLE".to_owned());
    let session = RoleSession { role_id: id, path: "/".to_owned(), role, session: "s1".to_owned() };
    let now = Timestamp::from_millis(1_800_000_000_000);
    let temporary = TemporarySession { issued: now, expires: now, ..TemporarySession::default() };
    let session = rig.request(Principal {
        kind: PrincipalKind::Role(session),
        session: Some(temporary),
        ..Principal::root(ACCOUNT, "ASIAEXAMPLE")
    });
    let role = format!("arn:aws:iam::{ACCOUNT}:role/reader");
    for (request, (operator, key, right, wrong)) in [
        (&user, is("aws:userid", "AIDAEXAMPLE", "AIDAOTHER")),
        (&user, is("aws:username", "ana", "bob")),
        (&user, is("aws:PrincipalType", "User", "AssumedRole")),
        (&user, is("kms:CallerAccount", ACCOUNT, "111122223333")),
        (&user, is("aws:UserAgent", "aws-cli/2", "x")),
        (&user, is("aws:Referer", "https://example.com/", "x")),
        (&user, flag("aws:SecureTransport", true)),
        (&user, flag("aws:ViaAWSService", false)),
        (&user, flag("aws:PrincipalIsAWSService", false)),
        (&user, absent("aws:MultiFactorAuthPresent")),
        (&user, absent("aws:TokenIssueTime")),
        (&user, absent("kms:ViaService")),
        (&session, flag("aws:MultiFactorAuthPresent", false)),
        (&session, absent("aws:MultiFactorAuthAge")),
        (&session, absent("aws:Referer")),
        (&session, absent("aws:username")),
        (&session, is("aws:userid", "AROAEXAMPLE:s1", "AROAEXAMPLE")),
        (&session, ("ArnEquals", "aws:PrincipalArn", json!(role), json!(arn("x")))),
        (
            &session,
            ("DateEquals", "aws:TokenIssueTime", json!(1_800_000_000), json!(1_800_000_001)),
        ),
    ] {
        for (value, holds) in [(right, true), (wrong, false)] {
            let asked = ("DescribeKey", "DescribeKey", &input);
            let allowed = allows(&rig, request, asked, (operator, key, &value)).await;
            assert_eq!(allowed, holds, "{operator} {key} {value}");
        }
    }
}
