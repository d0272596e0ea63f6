use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use kms_policy::IdentityPolicy;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::policy::CallerPolicies;
use kms_base::clock::Timestamp;
use kms_base::context::RequestContext;
use kms_base::principal::{RoleSession, TemporarySession, User};
use kms_keys::document::Bound;

const HOME: &str = "111122223333";
const OTHER: &str = "444455556666";
const ROLE: &str = "arn:aws:iam::111122223333:role/target";
const USER: &str = "arn:aws:iam::111122223333:user/ana";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/r/s";

fn user(id: &str) -> Principal {
    let (id, path, name) = (id.to_owned(), "/".to_owned(), "ana".to_owned());
    let kind = PrincipalKind::User(User { id, path, name });
    Principal { kind, ..Principal::root(HOME, "AKIA") }
}

fn session(name: &str) -> Principal {
    let kind = PrincipalKind::Role(RoleSession {
        role_id: "AROA1".to_owned(),
        path: "/".to_owned(),
        role: "r".to_owned(),
        session: name.to_owned(),
    });
    Principal { kind, session: Some(temporary()), ..Principal::root(HOME, "ASIA") }
}

fn temporary() -> TemporarySession {
    let (issued, expires) = (Timestamp::from_millis(0), Timestamp::from_millis(1));
    let source_identity = Some("ben".to_owned());
    TemporarySession { issued, expires, source_identity, ..TemporarySession::default() }
}

fn statement(effect: &str, action: &str, resource: &str, condition: Value) -> IdentityPolicy {
    let document = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": effect, "Action": action, "Resource": resource, "Condition": condition } });
    IdentityPolicy::parse(&document.to_string()).unwrap()
}

fn allow(action: &str, resource: &str, condition: Value) -> CallerPolicies {
    let identity = vec![statement("Allow", action, resource, condition)];
    CallerPolicies { identity, ..CallerPolicies::default() }
}

/// Asks as `principal` with these policies.
fn ask<T>(
    principal: &Principal,
    policies: &CallerPolicies,
    decide: impl FnOnce(Requester<'_>) -> T,
) -> T {
    let request = RequestContext {
        request_id: Uuid::nil(),
        event_id: Uuid::nil(),
        principal: principal.clone(),
        region: "eu-west-1".to_owned(),
        source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        is_encrypted: true,
        user_agent: None,
        invocation: None,
        referer: None,
        received: SystemTime::UNIX_EPOCH,
    };
    decide(Requester { principal, policies, request: Some(&request) })
}

fn manages(
    principal: &Principal,
    policies: &CallerPolicies,
    action: Action,
    resource: &str,
    details: Details<'_>,
) -> bool {
    ask(principal, policies, |requester| {
        authorize_management(requester, action, Some(resource), details).is_ok()
    })
}

fn trust(principal: &Value, condition: &Value) -> TrustPolicy {
    let document = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": principal, "Condition": condition,
        "Action": ["sts:AssumeRole", "sts:SetSourceIdentity"] } });
    let bound =
        [(USER, "AIDA1"), ("arn:aws:iam::111122223333:role/r", "AROA1"), (SESSION, "AROA1")];
    let bound: Bound = bound.map(|(arn, id)| (arn.to_owned(), id.to_owned())).into();
    TrustPolicy::parse(document.to_string(), bound).unwrap()
}

fn assumes(
    principal: &Principal,
    policies: &CallerPolicies,
    (account, trust): (&str, &TrustPolicy),
    details: Details<'_>,
) -> bool {
    let arn = ROLE.replace(HOME, account);
    ask(principal, policies, |requester| {
        let role = Target { account, arn: &arn, trust };
        authorize_assumption(requester, Action::AssumeRole, role, details).is_ok()
    })
}

fn may(principal: &Principal, policies: &CallerPolicies, names: &str, account: &str) -> bool {
    let trust = trust(&json!({ "AWS": names }), &json!({}));
    assumes(principal, policies, (account, &trust), Details::default())
}

#[test]
fn who_is_named_itself_needs_no_policy_of_its_own() {
    let none = CallerPolicies::default();
    let own = allow("sts:AssumeRole", "*", json!({}));
    assert!(may(&user("AIDA1"), &none, USER, HOME));
    assert!(!may(&user("AIDA2"), &none, USER, HOME), "another user of that name");
    assert!(!may(&user("AIDA1"), &none, USER, OTHER), "a role of another account");
    assert!(may(&user("AIDA1"), &own, USER, OTHER));
    assert!(may(&user("AIDA1"), &none, "*", HOME));
    assert!(!may(&user("AIDA1"), &none, "*", OTHER));
    assert!(may(&user("AIDA1"), &own, "*", OTHER));
}

#[test]
fn an_account_delegates() {
    let none = CallerPolicies::default();
    let own = allow("sts:AssumeRole", "arn:aws:iam::*:role/target", json!({}));
    for name in [HOME, "arn:aws:iam::111122223333:root"] {
        assert!(!may(&user("AIDA1"), &none, name, HOME));
        assert!(may(&user("AIDA1"), &own, name, HOME));
        assert!(may(&user("AIDA1"), &own, name, OTHER));
    }
    let deny = statement("Deny", "sts:*", "*", json!({}));
    let mut denied = own.clone();
    denied.identity.push(deny.clone());
    assert!(!may(&user("AIDA1"), &denied, USER, HOME));
    let bounded = CallerPolicies { boundary: Some(deny), ..own };
    assert!(!may(&user("AIDA1"), &bounded, USER, HOME));
}

#[test]
fn a_session_is_named_by_its_role_or_by_itself() {
    let none = CallerPolicies::default();
    assert!(may(&session("s"), &none, "arn:aws:iam::111122223333:role/r", HOME));
    assert!(may(&session("s"), &none, SESSION, HOME));
    assert!(!may(&session("t"), &none, SESSION, HOME));
    let mut later = session("s");
    if let PrincipalKind::Role(role) = &mut later.kind {
        role.role_id = "AROA2".to_owned();
    }
    assert!(!may(&later, &none, SESSION, HOME), "a session of another role of that name");
}

#[test]
fn trust_has_conditions() {
    let none = CallerPolicies::default();
    let plain = Details::default();
    let told = Details { external_id: Some("secret"), ..plain };
    let named = Details { session_name: Some("ana"), source_identity: Some("ana"), ..plain };
    for (condition, details, allowed) in [
        (json!({ "StringEquals": { "sts:ExternalId": "secret" } }), told, true),
        (json!({ "StringEquals": { "sts:ExternalId": "secret" } }), plain, false),
        (json!({ "StringEquals": { "sts:ExternalId": "other" } }), told, false),
        (json!({ "StringLike": { "sts:RoleSessionName": "${aws:username}" } }), named, true),
        (json!({ "StringLike": { "sts:RoleSessionName": "${aws:username}" } }), plain, false),
        (json!({ "StringEquals": { "sts:SourceIdentity": "ana" } }), named, true),
        (json!({ "StringEquals": { "sts:SourceIdentity": "ana" } }), plain, false),
        (json!({ "Bool": { "aws:MultiFactorAuthPresent": "true" } }), plain, false),
        (json!({ "BoolIfExists": { "aws:MultiFactorAuthPresent": "true" } }), plain, true),
        (json!({ "Null": { "sts:TransitiveTagKeys": "true" } }), plain, true),
        (json!({ "StringNotEquals": { "sts:Unheard": "x" } }), plain, false),
        (json!({ "StringEquals": { "aws:ResourceAccount": HOME } }), plain, true),
        (json!({ "StringEquals": { "aws:RequestedRegion": "eu-west-1" } }), plain, true),
    ] {
        let trust = trust(&json!({ "AWS": USER }), &condition);
        let outcome = assumes(&user("AIDA1"), &none, (HOME, &trust), details);
        assert_eq!(outcome, allowed, "{condition} {details:?}");
    }
    let source = json!({ "StringEquals": { "aws:SourceIdentity": "ben" } });
    let trust = trust(&json!({ "AWS": "arn:aws:iam::111122223333:role/r" }), &source);
    assert!(assumes(&session("s"), &none, (HOME, &trust), plain));
}

#[test]
fn policies_manage_what_they_name() {
    let ana = user("AIDA1");
    let dev = allow("iam:CreateUser", "arn:aws:iam::111122223333:user/dev/*", json!({}));
    let plain = Details::default();
    let create = Action::CreateUser;
    assert!(manages(&ana, &dev, create, "arn:aws:iam::111122223333:user/dev/x", plain));
    assert!(!manages(&ana, &dev, create, "arn:aws:iam::111122223333:user/x", plain));
    let delete = Action::DeleteUser;
    assert!(!manages(&ana, &dev, delete, "arn:aws:iam::111122223333:user/dev/x", plain));
    let own = allow("iam:*AccessKey*", "arn:aws:iam::*:user/${aws:username}", json!({}));
    assert!(manages(&ana, &own, Action::CreateAccessKey, USER, plain));
    let other = "arn:aws:iam::111122223333:user/ben";
    assert!(!manages(&ana, &own, Action::CreateAccessKey, other, plain));
    let error = ask(&ana, &CallerPolicies::default(), |requester| {
        authorize_management(requester, create, Some(other), plain).unwrap_err()
    });
    assert_eq!(
        error.message().unwrap(),
        format!(
            "User: {USER} is not authorized to perform: iam:CreateUser on resource: {other} because \
             no identity-based policy allows the iam:CreateUser action"
        )
    );
}

#[test]
fn boundaries_and_attached_policies_are_conditions() {
    let (ana, target) = (user("AIDA1"), "arn:aws:iam::111122223333:user/x");
    let bound = json!({ "StringEquals": { "iam:PermissionsBoundary": "b" } });
    let policy = json!({ "ArnLike": { "iam:PolicyARN": "arn:aws:iam::*:policy/ok/*" } });
    let with = |boundary, policy| Details { boundary, policy, ..Details::default() };
    let ok = Some("arn:aws:iam::111122223333:policy/ok/p");
    for (condition, details, allowed) in [
        (&bound, with(Some("b"), None), true),
        (&bound, with(Some("c"), None), false),
        (&bound, with(None, None), false),
        (&policy, with(None, ok), true),
        (&policy, with(None, Some("arn:aws:iam::111122223333:policy/p")), false),
        (&policy, with(None, None), false),
    ] {
        let policies = allow("iam:*", "*", condition.clone());
        let outcome = manages(&ana, &policies, Action::AttachUserPolicy, target, details);
        assert_eq!(outcome, allowed, "{condition} {details:?}");
    }
}

#[test]
fn sessions_and_roots() {
    let all = allow("*", "*", json!({}));
    let (plain, action) = (Details::default(), Action::ListUsers);
    let manages = |principal: &Principal| manages(principal, &all, action, USER, plain);
    let root = Principal::root(HOME, "AKIA");
    assert!(manages(&root) && manages(&user("AIDA1")) && manages(&session("s")));
    for who in [root.clone(), user("AIDA1")] {
        assert!(!manages(&Principal { session: Some(temporary()), ..who }), "GetSessionToken");
    }
    let create = |principal: &Principal, first: &str| {
        authorize_accounts(principal, "strongroom:CreateAccount", first).is_ok()
    };
    assert!(create(&root, HOME) && !create(&root, OTHER) && !create(&user("AIDA1"), HOME));
    assert!(!create(&Principal { session: Some(temporary()), ..root }, HOME));
}
