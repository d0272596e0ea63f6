//! Requests to IAM and STS: identities that are managed, and roles that are assumed.

use kms_policy::{
    Action, Caller, Decision, Denial, IdentityPolicy, Policies, PolicyType, Request, Resource,
    TrustPolicy, authorize,
};
use serde_json::{Value, json};

const ACCOUNT: &str = "111122223333";
const OTHER: &str = "999999999999";
const ANA: &str = "arn:aws:iam::111122223333:user/ana";
const EVE: &str = "arn:aws:iam::999999999999:user/eve";
const ROLE: &str = "arn:aws:iam::111122223333:role/ops";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/ops/s1";

fn identity(effect: &str, action: &str, resource: &str) -> IdentityPolicy {
    let statement = json!({ "Effect": effect, "Action": action, "Resource": resource });
    IdentityPolicy::parse(&json!({ "Statement": statement }).to_string()).unwrap()
}

fn trust(statements: Value) -> TrustPolicy {
    TrustPolicy::parse(&json!({ "Statement": statements }).to_string()).unwrap()
}

fn decide<'a>(
    caller: Caller<'a>,
    action: Action,
    resource: Resource<'a>,
    identity: &'a [IdentityPolicy],
    boundary: Option<&'a IdentityPolicy>,
) -> Result<(), Denial> {
    let request = Request { caller, action, resource, context: &() };
    let policies = Policies { identity, boundary, ..Policies::default() };
    match authorize(&request, &policies) {
        Decision::Allowed(_) => Ok(()),
        Decision::Denied(denial, _) => Err(denial),
    }
}

#[test]
fn identities_are_managed_by_identity_policies_alone() {
    let (ana, root) = (Caller::user(ANA).unwrap(), "arn:aws:iam::111122223333:root");
    let target = |arn| Resource::Account { arn: Some(arn), account: ACCOUNT };
    let own = [identity("Allow", "iam:*User", "arn:aws:iam::*:user/dev/*")];
    let none = |policy_type| Err(Denial::Implicit(policy_type));
    let (dev, other) = ("arn:aws:iam::111122223333:user/dev/x", "arn:aws:iam::111122223333:user/x");
    let ask = |action, arn, boundary| decide(ana, action, target(arn), &own, boundary);
    assert_eq!(ask(Action::CreateUser, dev, None), Ok(()));
    assert_eq!(ask(Action::CreateUser, other, None), none(PolicyType::Identity));
    assert_eq!(ask(Action::CreateRole, dev, None), none(PolicyType::Identity));
    let narrow = identity("Allow", "iam:GetUser", "*");
    let outcome = ask(Action::CreateUser, dev, Some(&narrow));
    assert_eq!(outcome, none(PolicyType::Boundary));
    assert_eq!(ask(Action::GetUser, dev, Some(&narrow)), Ok(()));
    // A role is managed like everything else: its trust policy has no say.
    assert_eq!(ask(Action::DeleteRole, ROLE, None), none(PolicyType::Identity));
    let root = Caller::root(root).unwrap();
    assert_eq!(decide(root, Action::DeleteRole, target(ROLE), &[], None), Ok(()));
    let foreign = Resource::Account { arn: Some(other), account: OTHER };
    let all = [identity("Allow", "*", "*")];
    let outcome = decide(ana, Action::CreateUser, foreign, &all, None);
    assert_eq!(outcome, Err(Denial::OtherAccount));
}

#[test]
fn roles_are_assumed_by_whom_they_trust() {
    let callers = [
        Caller::user(ANA).unwrap(),
        Caller::role_session(SESSION, ROLE).unwrap(),
        Caller::user(EVE).unwrap(),
    ];
    let nothing: &[IdentityPolicy] = &[];
    let all = &[identity("Allow", "sts:AssumeRole", ROLE)][..];
    // For each caller: without and with a policy of its own.
    for (principal, outcomes) in [
        (json!({ "AWS": ANA }), [[true, true], [false, false], [false, false]]),
        (json!({ "AWS": ROLE }), [[false, false], [true, true], [false, false]]),
        (json!({ "AWS": SESSION }), [[false, false], [true, true], [false, false]]),
        (json!({ "AWS": EVE }), [[false, false], [false, false], [false, true]]),
        (json!({ "AWS": ACCOUNT }), [[false, true], [false, true], [false, false]]),
        (json!({ "AWS": OTHER }), [[false, false], [false, false], [false, true]]),
        (json!("*"), [[true, true], [true, true], [false, true]]),
        (json!({ "Service": "ec2.amazonaws.com" }), [[false, false]; 3]),
    ] {
        let allow =
            json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" });
        let deny = json!({ "Effect": "Deny", "Principal": { "AWS": EVE }, "Action": "sts:*" });
        let (policy, denying) = (trust(allow.clone()), trust(json!([allow, deny])));
        for (caller, expected) in callers.iter().zip(outcomes) {
            let ask = |policy, own| {
                let role = Resource::Role { arn: ROLE, account: ACCOUNT, policy };
                decide(*caller, Action::AssumeRole, role, own, None).is_ok()
            };
            let found = [ask(&policy, nothing), ask(&policy, all)];
            assert_eq!(found, expected, "{principal} {}", caller.arn());
            let is_eve = caller.arn() == EVE;
            assert_eq!(ask(&denying, all), expected[1] && !is_eve, "a statement that denies");
        }
    }
}
