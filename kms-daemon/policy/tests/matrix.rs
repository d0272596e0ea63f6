//! Callers × key policies × identity policies × grants, with the expected answer and its text.

mod common;

use common::{
    ACCOUNT, ALIAS, Bag, Case, KEY, OTHER_ROOT, OTHER_SESSION, OTHER_USER, Outcome, ROLE, ROOT,
    SERVICE, USER, Who,
};
use kms_policy::{Action, Decision, Grantee};
use serde_json::{Value, json};

/// What a key policy says about a caller.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    /// It allows the caller.
    Yes,
    /// It lets the caller's account decide.
    Account,
    /// Nothing.
    Nothing,
    /// It denies.
    Deny,
}

const CALLERS: [Who; 6] =
    [Who::Root, Who::User, Who::Session, Who::OtherUser, Who::OtherSession, Who::Service];

fn allow(principal: &Value, more: Value) -> Value {
    let mut statement = json!({
        "Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*",
    });
    for (name, value) in more.as_object().expect("members") {
        statement[name] = value.clone();
    }
    statement
}

/// Key policies, and what they say about each of [`CALLERS`].
fn key_policies() -> Vec<(&'static str, Value, [Says; 6])> {
    use Says::{Account, Deny, Nothing, Yes};
    let account = json!({ "AWS": ROOT });
    let bob = json!({ "AWS": "arn:aws:iam::111122223333:user/bob" });
    let with_mfa = |operator: &str| {
        let condition = json!({ operator: { "aws:MultiFactorAuthPresent": "true" } });
        allow(&account, json!({ "Condition": condition }))
    };
    let deny_role =
        allow(&json!({ "AWS": ROLE }), json!({ "Effect": "Deny", "Action": "kms:Decrypt" }));
    let caller_account = json!({ "StringEquals": { "kms:CallerAccount": ACCOUNT } });
    let context = |name: &str| json!({ "StringEquals": { name: "x" } });
    let n = Nothing;
    vec![
        ("default", json!([allow(&account, json!({}))]), [Account, Account, Account, n, n, n]),
        ("user only", json!([allow(&json!({ "AWS": USER }), json!({}))]), [n, Yes, n, n, n, n]),
        ("role only", json!([allow(&json!({ "AWS": ROLE }), json!({}))]), [n, n, Yes, n, n, n]),
        // Long-term credentials have no such key at all.
        ("account with MFA", json!([with_mfa("Bool")]), [n; 6]),
        (
            "account with MFA, if that is known",
            json!([with_mfa("BoolIfExists")]),
            [Account, Account, Account, n, n, n],
        ),
        (
            "role denied",
            json!([
                allow(&account, json!({})),
                allow(&json!({ "AWS": ROLE }), json!({})),
                deny_role
            ]),
            [Account, Account, Deny, n, n, n],
        ),
        (
            "everyone of the account",
            json!([allow(&json!("*"), json!({ "Condition": caller_account }))]),
            [Yes, Yes, Yes, n, n, n],
        ),
        ("someone else", json!([allow(&bob, json!({}))]), [n; 6]),
        (
            "the other account",
            json!([allow(&json!({ "AWS": OTHER_ROOT }), json!({}))]),
            [n, n, n, Account, Account, n],
        ),
        (
            "others by name",
            json!([allow(&json!({ "AWS": [OTHER_USER, OTHER_SESSION] }), json!({}))]),
            [n, n, n, Account, Account, n],
        ),
        (
            "everyone",
            json!([allow(&json!("*"), json!({}))]),
            [Yes, Yes, Yes, Account, Account, Yes],
        ),
        (
            "the service",
            json!([allow(&json!({ "Service": SERVICE }), json!({}))]),
            [n, n, n, n, n, Yes],
        ),
        (
            "account with an encryption context in another case",
            json!([allow(&account, json!({ "Condition": context("kms:EncryptionContext:APP") }))]),
            [Account, Account, Account, n, n, n],
        ),
    ]
}

/// Identity policies, and whether they allow; `None` if they deny.
fn identities() -> Vec<(&'static str, Vec<Value>, Option<bool>)> {
    let statement = |effect: &str, resource: &str| {
        let statement = json!({ "Effect": effect, "Action": "kms:Decrypt", "Resource": resource });
        json!({ "Version": "2012-10-17", "Statement": statement })
    };
    vec![
        ("none", vec![], Some(false)),
        ("the key", vec![statement("Allow", KEY)], Some(true)),
        ("all", vec![statement("Allow", "*")], Some(true)),
        // The name of a key is not the key.
        ("an alias", vec![statement("Allow", ALIAS)], Some(false)),
        ("denied", vec![statement("Allow", "*"), statement("Deny", KEY)], None),
    ]
}

fn expect(who: Who, says: Says, identity: Option<bool>, grant: bool) -> Outcome {
    let foreign = matches!(who, Who::OtherUser | Who::OtherSession);
    let denied = Outcome::Explicit("identity-based policy");
    if foreign && identity.is_none() {
        return denied;
    }
    match says {
        Says::Deny => Outcome::Explicit("resource-based policy"),
        _ if identity.is_none() => denied,
        _ if grant => Outcome::Allowed,
        Says::Yes => Outcome::Allowed,
        Says::Account if who == Who::Root || identity == Some(true) => Outcome::Allowed,
        Says::Account => Outcome::Implicit("identity-based policy"),
        Says::Nothing if foreign && identity != Some(true) => {
            Outcome::Implicit("identity-based policy")
        }
        Says::Nothing => Outcome::Implicit("resource-based policy"),
    }
}

#[test]
fn every_combination_decides_as_expected() {
    let mut count = 0;
    for (policy_name, policy, said) in key_policies() {
        for (who, says) in CALLERS.into_iter().zip(said) {
            for (identity_name, identity, allows) in identities() {
                for grant in [false, true] {
                    // The root user and services have no identity policies.
                    if matches!(who, Who::Root | Who::Service) && !identity.is_empty() {
                        continue;
                    }
                    let mut case = Case::new(who, Action::Decrypt);
                    case.key_policy = Some(json!({ "Statement": policy }));
                    case.identity = identity.clone();
                    case.grant = grant.then_some(Grantee::Caller);
                    case.context = Bag::of(&[("kms:EncryptionContext:app", "x")]);
                    if who != Who::Service {
                        case.context.0.extend(Bag::of(&[("kms:CallerAccount", who.account())]).0);
                    }
                    let expected = expect(who, says, allows, grant);
                    let what = format!("{who:?}, {policy_name}, {identity_name}, grant: {grant}");
                    check(&case, expected, &what);
                    count += 1;
                }
            }
        }
    }
    println!("{count} combinations");
}

fn check(case: &Case, expected: Outcome, what: &str) {
    let compiled = case.compile().expect("documents");
    assert_eq!(compiled.decide(), expected, "{what}");
    let request = compiled.request();
    let message = compiled.with_policies(|policies| match compiled.authorize(&request, policies) {
        Decision::Allowed(_) => None,
        Decision::Denied(denial, _) => Some(denial.message(&request)),
    });
    let Some(message) = message else { return };
    let start = format!("User: {} is not authorized to perform: kms:Decrypt on ", case.who.arn());
    let end = match expected {
        Outcome::Explicit(name @ "identity-based policy") => {
            format!("resource: {KEY} with an explicit deny in an {name}")
        }
        Outcome::Implicit(name @ "identity-based policy") => {
            format!("resource: {KEY} because no {name} allows the kms:Decrypt action")
        }
        _ if case.who.account() != ACCOUNT => "this resource because the resource does not exist \
            in this Region, no resource-based policies allow access, or a resource-based policy \
            explicitly denies access"
            .to_owned(),
        Outcome::Explicit(name) => format!("resource: {KEY} with an explicit deny in a {name}"),
        Outcome::Implicit(name) => {
            format!("resource: {KEY} because no {name} allows the kms:Decrypt action")
        }
        Outcome::Allowed | Outcome::OtherAccount => unreachable!("{what}"),
    };
    assert_eq!(message, format!("{start}{end}"), "{what}");
}
