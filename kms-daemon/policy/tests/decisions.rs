//! Rules of the decision that need more than one policy to show.

mod common;

use common::{
    ACCOUNT, ALIAS, Bag, Case, FEDERATED, KEY, OTHER_ROOT, Outcome, ROLE, ROOT, SESSION, USER, Who,
};
use kms_policy::{
    Action, Basis, Caller, Decision, Denial, Grantee, Grantees, Guardrail, GuardrailPolicy,
    IdentityPolicy, KeyPolicy, Location, NamedPrincipal, Policies, PolicyType, Request, Resolution,
    Resource, TrustPolicy, authorize,
};
use serde_json::{Value, json};

fn key_policy(principal: Value) -> Value {
    json!({ "Statement": {
        "Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*",
    } })
}

fn identity_policy(action: &str, resource: &str) -> Value {
    json!({ "Statement": { "Effect": "Allow", "Action": action, "Resource": resource } })
}

fn decide(case: &Case) -> Outcome {
    case.compile().expect("documents").decide()
}

/// IAM User Guide, "Permissions boundaries": what an implicit denial in each policy does, by the
/// way in which the key policy names the caller.
#[test]
fn boundaries_and_sessions_limit_by_the_way_of_naming() {
    let (boundary, session) =
        (Outcome::Implicit("permissions boundary"), Outcome::Implicit("session policy"));
    for (who, principal, bounded, narrowed) in [
        (Who::User, json!({ "AWS": USER }), Outcome::Allowed, None),
        (Who::Session, json!({ "AWS": ROLE }), boundary, Some(session)),
        (Who::Session, json!({ "AWS": SESSION }), Outcome::Allowed, Some(Outcome::Allowed)),
        (Who::Session, json!({ "AWS": [ROLE, SESSION] }), Outcome::Allowed, Some(Outcome::Allowed)),
        (Who::Federated, json!({ "AWS": FEDERATED }), Outcome::Allowed, Some(Outcome::Allowed)),
        (Who::User, json!({ "AWS": ROOT }), boundary, None),
        (Who::Session, json!({ "AWS": ROOT }), boundary, Some(session)),
        (Who::Federated, json!({ "AWS": ACCOUNT }), boundary, Some(session)),
        (Who::User, json!("*"), boundary, None),
        (Who::Session, json!("*"), boundary, Some(session)),
        (Who::OtherUser, json!({ "AWS": common::OTHER_USER }), boundary, None),
        (Who::OtherSession, json!({ "AWS": common::OTHER_SESSION }), boundary, Some(session)),
    ] {
        let mut case = Case::new(who, Action::Decrypt);
        case.key_policy = Some(key_policy(principal.clone()));
        case.identity = vec![identity_policy("kms:*", "*")];
        assert_eq!(decide(&case), Outcome::Allowed, "{who:?} {principal}");
        case.boundary = Some(identity_policy("s3:*", "*"));
        assert_eq!(decide(&case), bounded, "{who:?} {principal}");
        case.boundary = Some(identity_policy("kms:Decrypt", "*"));
        assert_eq!(decide(&case), Outcome::Allowed, "{who:?} {principal}");
        if let Some(narrowed) = narrowed {
            case.session = vec![identity_policy("s3:*", "*")];
            assert_eq!(decide(&case), narrowed, "{who:?} {principal}");
            case.session.push(identity_policy("kms:De*", KEY));
            assert_eq!(decide(&case), Outcome::Allowed, "{who:?} {principal}");
        }
    }
}

#[test]
fn a_denial_anywhere_decides() {
    let deny = json!({ "Statement": { "Effect": "Deny", "Action": "kms:De*", "Resource": "*" } });
    let deny_all = json!({ "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*" },
        { "Effect": "Deny", "Principal": "*", "Action": "kms:De*", "Resource": "*" },
    ] });
    let mut allowed = Case::new(Who::Session, Action::Decrypt);
    allowed.key_policy = Some(key_policy(json!({ "AWS": [SESSION, ROLE, ROOT] })));
    allowed.grant = Some(Grantee::Caller);
    assert_eq!(decide(&allowed), Outcome::Allowed);
    type Change = fn(&mut Case, Value);
    let changes: [(&str, Change, &Value); 6] = [
        ("identity-based policy", |case, deny| case.identity.push(deny), &deny),
        ("permissions boundary", |case, deny| case.boundary = Some(deny), &deny),
        ("session policy", |case, deny| case.session.push(deny), &deny),
        ("service control policy", |case, deny| case.service_control.push(deny), &deny),
        ("resource control policy", |case, deny| case.resource_control.push(deny), &deny_all),
        ("resource-based policy", |case, deny| case.key_policy = Some(deny), &deny_all),
    ];
    for (name, change, deny) in changes {
        let mut case = allowed.clone();
        change(&mut case, deny.clone());
        assert_eq!(decide(&case), Outcome::Explicit(name));
        case.action = Action::Encrypt;
        case.identity = vec![identity_policy("*", "*")];
        // An allow for something else than `Decrypt` is still there, or is missing.
        assert_ne!(decide(&case), Outcome::Explicit(name));
    }
}

#[test]
fn grants_to_roles_and_accounts_are_limited() {
    let (identity, resource) = ("identity-based policy", "resource-based policy");
    for (who, grantee, without, with_identity) in [
        (Who::User, Grantee::Caller, Outcome::Allowed, Outcome::Allowed),
        (Who::User, Grantee::Account, Outcome::Implicit(resource), Outcome::Allowed),
        (Who::Root, Grantee::Account, Outcome::Allowed, Outcome::Allowed),
        (Who::Session, Grantee::Role, Outcome::Allowed, Outcome::Allowed),
        (Who::OtherUser, Grantee::Caller, Outcome::Allowed, Outcome::Allowed),
        (Who::OtherUser, Grantee::Account, Outcome::Implicit(identity), Outcome::Allowed),
        (Who::OtherSession, Grantee::Role, Outcome::Allowed, Outcome::Allowed),
        (Who::Service, Grantee::Caller, Outcome::Allowed, Outcome::Allowed),
    ] {
        let mut case = Case::new(who, Action::Decrypt);
        case.key_policy = Some(key_policy(json!({ "AWS": "arn:aws:iam::111122223333:user/x" })));
        let compiled = case.compile().unwrap();
        let decision = compiled.with_policies(|policies| authorize(&compiled.request(), policies));
        let Decision::Denied(_, grantees) = decision else { panic!("{who:?} is allowed") };
        assert!(grantees.contain(Grantee::Caller), "{who:?}");
        assert_eq!(grantees.contain(grantee), without == Outcome::Allowed, "{who:?}");
        case.grant = Some(grantee);
        assert_eq!(decide(&case), without, "{who:?} {grantee:?}");
        case.identity = vec![identity_policy("kms:*", "*")];
        assert_eq!(decide(&case), with_identity, "{who:?} {grantee:?}");
        case.session = vec![identity_policy("s3:*", "*")];
        let limited = grantee != Grantee::Caller && who != Who::Root;
        assert_eq!(decide(&case).is_allowed(), !limited, "{who:?} {grantee:?}");
    }
}

#[test]
fn guardrails_have_to_allow_and_spare_services() {
    let policy = |action: &str| IdentityPolicy::parse(&identity_policy(action, "*").to_string());
    let (all, some) = (policy("*").unwrap(), policy("s3:*").unwrap());
    let key = KeyPolicy::parse(&key_policy(json!("*")).to_string()).unwrap();
    let endpoint = |action: &str| {
        let statement = json!({
            "Effect": "Allow", "Principal": "*", "Action": action, "Resource": "*"
        });
        GuardrailPolicy::parse(&json!({ "Statement": statement }).to_string()).unwrap()
    };
    let (open, closed) = (endpoint("*"), endpoint("kms:List*"));
    let levels = [std::slice::from_ref(&all), &[some.clone(), all.clone()]];
    let lacking = [std::slice::from_ref(&all), std::slice::from_ref(&some)];
    let decide = |who: Who, guardrails: &[Guardrail<'_>]| {
        let request = Request {
            caller: who.caller(),
            action: Action::Decrypt,
            resource: Resource::Key { arn: KEY, account: ACCOUNT, policy: Some(&key) },
            context: &(),
        };
        authorize(&request, &Policies { guardrails, ..Policies::default() }).denial()
    };
    let rails = levels.map(Guardrail::ServiceControl);
    assert_eq!(decide(Who::User, &rails), None);
    let rails = lacking.map(Guardrail::ServiceControl);
    let missing = |policy_type| Some(Denial::Implicit(policy_type));
    assert_eq!(decide(Who::User, &rails), missing(PolicyType::ServiceControl));
    assert_eq!(decide(Who::Root, &rails), missing(PolicyType::ServiceControl));
    assert_eq!(decide(Who::Service, &rails), None);
    let rails = [Guardrail::ResourceControl(std::slice::from_ref(&closed))];
    assert_eq!(decide(Who::Service, &rails), missing(PolicyType::ResourceControl));
    assert_eq!(decide(Who::User, &[Guardrail::Endpoint(&open)]), None);
    let rails = [Guardrail::Endpoint(&closed)];
    assert_eq!(decide(Who::User, &rails), missing(PolicyType::Endpoint));
}

#[test]
fn identity_policies_decide_where_there_is_no_key() {
    for (who, action, resource, identity, expected) in [
        (Who::Root, Action::CreateKey, None, None, Outcome::Allowed),
        (Who::User, Action::CreateKey, None, Some(("kms:CreateKey", "*")), Outcome::Allowed),
        (Who::User, Action::CreateKey, None, None, Outcome::Implicit("identity-based policy")),
        // There is no key yet to be named.
        (
            Who::User,
            Action::CreateKey,
            None,
            Some(("kms:*", "arn:aws:kms:*:*:key/*")),
            Outcome::Implicit("identity-based policy"),
        ),
        (Who::User, Action::CreateAlias, Some(ALIAS), Some(("kms:*", ALIAS)), Outcome::Allowed),
        (
            Who::User,
            Action::CreateAlias,
            Some(ALIAS),
            Some(("kms:*", KEY)),
            Outcome::Implicit("identity-based policy"),
        ),
        (Who::OtherUser, Action::ListKeys, None, Some(("kms:*", "*")), Outcome::OtherAccount),
        (Who::Service, Action::ListKeys, None, None, Outcome::Implicit("identity-based policy")),
    ] {
        let mut case = Case::new(who, action);
        case.resource = resource;
        let policies = identity.map(|(action, resource)| identity_policy(action, resource));
        case.identity = policies.into_iter().collect();
        assert_eq!(decide(&case), expected, "{who:?} {action} {identity:?}");
    }
}

#[test]
fn texts_for_requests_about_no_key() {
    let message = |resource| {
        let caller = Who::User.caller();
        let request = Request { caller, action: Action::TagResource, resource, context: &() };
        authorize(&request, &Policies::default()).denial().expect("denied").message(&request)
    };
    let because = "because no identity-based policy allows the kms:TagResource action";
    let start = format!("User: {USER} is not authorized to perform: kms:TagResource");
    let resource = Resource::Account { arn: Some("*"), account: ACCOUNT };
    assert_eq!(message(resource), format!("{start} on resource: * {because}"));
    // The key is yet to be made.
    let resource = Resource::Account { arn: None, account: ACCOUNT };
    assert_eq!(message(resource), format!("{start} {because}"));
}

#[test]
fn a_missing_key_of_another_account_looks_like_a_closed_one() {
    let closed = KeyPolicy::parse(&key_policy(json!({ "AWS": ROOT })).to_string()).unwrap();
    let denying = json!({ "Statement": {
        "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*",
    } });
    let denying = KeyPolicy::parse(&denying.to_string()).unwrap();
    let allow = [IdentityPolicy::parse(&identity_policy("*", "*").to_string()).unwrap()];
    for identity in [&[][..], &allow] {
        let texts = [None, Some(&closed), Some(&denying)].map(|policy| {
            let request = Request {
                caller: Who::OtherUser.caller(),
                action: Action::Decrypt,
                resource: Resource::Key { arn: KEY, account: ACCOUNT, policy },
                context: &(),
            };
            let policies = Policies { identity, ..Policies::default() };
            authorize(&request, &policies).denial().expect("denied").message(&request)
        });
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    }
    // A grant cannot be on a key that is not there.
    let request = Request {
        caller: Who::User.caller(),
        action: Action::Decrypt,
        resource: Resource::Key { arn: KEY, account: ACCOUNT, policy: None },
        context: &(),
    };
    let decision = authorize(&request, &Policies::default());
    assert!(!decision.with_grant(Grantee::Caller).is_allowed());
}

#[test]
fn the_answer_names_what_decided() {
    let key = json!({ "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": ROOT }, "Action": "kms:*", "Resource": "*" },
        { "Effect": "Allow", "Principal": { "AWS": ROLE }, "Action": "kms:Sign", "Resource": "*" },
        { "Effect": "Deny", "Principal": "*", "Action": "kms:Verify", "Resource": "*" },
    ] });
    let mut case = Case::new(Who::Session, Action::Decrypt);
    case.key_policy = Some(key);
    case.identity = vec![identity_policy("s3:*", "*"), identity_policy("kms:Decrypt", "*")];
    let decide = |case: &Case, check: &dyn Fn(Decision)| {
        let compiled = case.compile().expect("documents");
        let request = compiled.request();
        compiled.with_policies(|policies| check(compiled.authorize(&request, policies)));
    };
    let delegated = Basis::Delegated { statement: 0, policy: 1, identity_statement: 0 };
    decide(&case, &|decision| assert_eq!(decision, Decision::Allowed(delegated)));
    case.action = Action::Sign;
    let named = Basis::Resource { statement: 1 };
    decide(&case, &|decision| assert_eq!(decision, Decision::Allowed(named)));
    case.grant = Some(Grantee::Caller);
    decide(&case, &|decision| assert_eq!(decision, Decision::Allowed(named)));
    case.identity = Vec::new();
    case.action = Action::Decrypt;
    let granted = Decision::Allowed(Basis::Grant(Grantee::Caller));
    decide(&case, &|decision| assert_eq!(decision, granted));
    case.action = Action::Verify;
    let location =
        Location { policy_type: PolicyType::Resource, guardrail: 0, policy: 0, statement: 2 };
    let denied = Decision::Denied(Denial::Explicit(location), Grantees::NONE);
    decide(&case, &|decision| assert_eq!(decision, denied));
    let mut case = Case::new(Who::Root, Action::ListKeys);
    case.resource = None;
    decide(&case, &|decision| assert_eq!(decision, Decision::Allowed(Basis::Root)));
}

#[test]
fn roles_are_assumed_by_whom_they_trust() {
    let role = |principal: Value, action: &str| {
        let statement = json!({ "Effect": "Allow", "Principal": principal, "Action": action });
        TrustPolicy::parse(&json!({ "Statement": statement }).to_string()).unwrap()
    };
    let allow =
        [IdentityPolicy::parse(&identity_policy("sts:AssumeRole", ROLE).to_string()).unwrap()];
    let web = Caller::web_identity("accounts.example.com");
    let by_web = Action::AssumeRoleWithWebIdentity;
    for (principal, action, caller, identity, expected) in [
        (json!({ "AWS": USER }), Action::AssumeRole, Who::User.caller(), &[][..], true),
        (json!({ "AWS": ROOT }), Action::AssumeRole, Who::User.caller(), &[], false),
        (json!({ "AWS": ROOT }), Action::AssumeRole, Who::User.caller(), &allow, true),
        (json!({ "AWS": OTHER_ROOT }), Action::AssumeRole, Who::OtherUser.caller(), &[], false),
        (json!({ "AWS": OTHER_ROOT }), Action::AssumeRole, Who::OtherUser.caller(), &allow, true),
        (json!({ "Federated": "accounts.example.com" }), by_web, web, &[], true),
        (json!({ "Federated": "other.example.com" }), by_web, web, &[], false),
        (json!("*"), by_web, web, &[], false),
    ] {
        let policy = role(principal.clone(), action.name());
        let resource = Resource::Role { arn: ROLE, account: ACCOUNT, policy: &policy };
        let request = Request { caller, action, resource, context: &() };
        let decision = authorize(&request, &Policies { identity, ..Policies::default() });
        assert_eq!(decision.is_allowed(), expected, "{principal} {caller:?}");
        if let Some(denial) = decision.denial() {
            let text = format!(
                "User: {} is not authorized to perform: {action} on resource: {ROLE}",
                caller.arn()
            );
            assert_eq!(denial.message(&request), text);
        }
    }
}

#[test]
fn a_user_that_was_made_again_is_another_user() {
    let policy = KeyPolicy::parse(&key_policy(json!({ "AWS": [USER, ROOT] })).to_string()).unwrap();
    assert_eq!(policy.principals().count(), 2);
    let resolve = |principal: &NamedPrincipal| match principal {
        NamedPrincipal::User(arn) if **arn == *USER => {
            Resolution::UniqueId("AIDA0123456789ABCDEF".to_owned())
        }
        NamedPrincipal::User(_) => Resolution::Unknown,
        _ => Resolution::AsNamed,
    };
    let resolved = policy.clone().resolve_principals(resolve).unwrap();
    let decide = |policy, id| {
        let request = Request {
            caller: Who::User.caller().with_unique_id(id),
            action: Action::Decrypt,
            resource: Resource::Key { arn: KEY, account: ACCOUNT, policy: Some(policy) },
            context: &Bag::default(),
        };
        authorize(&request, &Policies::default()).is_allowed()
    };
    assert!(decide(&policy, "AIDA9999999999999999"));
    assert!(decide(&resolved, "AIDA0123456789ABCDEF"));
    assert!(!decide(&resolved, "AIDA9999999999999999"));
    let policy = key_policy(json!({ "AWS": "arn:aws:iam::111122223333:user/nobody" }));
    let error = KeyPolicy::parse(&policy.to_string()).unwrap().resolve_principals(resolve);
    assert!(error.unwrap_err().to_string().contains("invalid principals"));
}
