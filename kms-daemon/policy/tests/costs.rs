//! The most that decisions cost, whatever the policies and requests contain.

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::Who;
use hostile::{FAMILIES, Hostile, LARGEST, Long};
use kms_policy::{
    Action, DECISION, Decision, Denial, Fault, IdentityPolicy, KeyPolicy, Policies, Request,
    Resource, authorize, explain,
};

fn request<'a>(policy: &'a KeyPolicy, context: &'a Long) -> Request<'a> {
    let resource =
        Resource::Key { arn: common::KEY, account: common::ACCOUNT, policy: Some(policy) };
    Request { caller: Who::User.caller(), action: Action::Encrypt, resource, context }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// Repeats an attack with a policy of 30 KB of patterns like `*a?a?…b`, for an encryption context
/// of 8 KB. One decision took 0.6 s, ten times as long as [`DECISION`] of the simplest steps in the
/// same build.
#[test]
fn the_attack_is_not_put_and_is_denied_where_it_was() {
    let pattern = format!("*{}b", "a?".repeat(20));
    let text = hostile::statement("StringLike", "kms:EncryptionContext:k", &pattern, LARGEST);
    let policy = KeyPolicy::parse(&text).unwrap();
    // Text after the last `*` can match only at the end, so this pattern is cheap now.
    assert_eq!(policy.check_cost(), Ok(()));
    let pattern = format!("*{}b*", "a?".repeat(20));
    let text = hostile::statement("StringLike", "kms:EncryptionContext:k", &pattern, LARGEST);
    let policy = KeyPolicy::parse(&text).unwrap();
    let error = policy.check_cost().unwrap_err();
    assert!(matches!(error.fault, Fault::TooCostly { .. }), "{error}");
    let told = error.to_string();
    for part in [
        "Policy is too complex to be evaluated for every request: statement 0 (\"Hostile\"), ",
        "Use fewer patterns with text between two \"*\"",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let (mut denied, mut decided) = (0, 0);
    for context in Long::all() {
        let request = request(&policy, &context);
        let decision = authorize(&request, &Policies::default());
        let mut least = [Duration::MAX; 2];
        // Other load on the machine can only lengthen a measurement, and does not affect every one.
        let bounded = (0..50).any(|_| {
            let times = [
                timed(|| _ = black_box(authorize(&request, &Policies::default()))),
                timed(|| _ = (0..DECISION).fold(0, |sum, step| black_box(sum ^ step))),
            ];
            least = [0, 1].map(|index| times[index].min(least[index]));
            least[0] < 3 * least[1]
        });
        assert!(bounded, "the decision, and as many of the simplest steps: {least:?}");
        match decision {
            Decision::Denied(Denial::TooCostly, _) => {
                denied += 1;
                let told = decision.denial().unwrap().message(&request);
                assert!(told.contains("because its policies have too many patterns"), "{told}");
                let explained = explain(&request, &Policies::default());
                assert_eq!(explained.decision, decision);
                let told = explained.statements[0].mismatches[0].to_string();
                assert!(told.contains("it cannot be determined"), "{told}");
            }
            _ => decided += 1,
        }
    }
    assert!(denied > 0 && decided > 0, "{denied} denied, {decided} decided");
}

/// If the steps run out, the decision is a denial, whether the statement at hand allows or denies.
#[test]
fn what_is_not_decided_is_never_allowed() {
    let text = hostile::statement("StringNotLike", "kms:EncryptionContext:k", "*a?b*", LARGEST);
    for text in [text.clone(), text.replace("Allow", "Deny")] {
        let policy = KeyPolicy::parse(&text).unwrap();
        let allow = KeyPolicy::parse(
            r#"{ "Version": "2012-10-17", "Statement": { "Effect": "Allow", "Principal": "*",
                "Action": "kms:*", "Resource": "*" } }"#,
        )
        .unwrap();
        let context = Long::all().next().unwrap();
        let decide = |policy| authorize(&request(policy, &context), &Policies::default());
        assert_eq!(decide(&policy).denial(), Some(Denial::TooCostly));
        assert!(decide(&allow).is_allowed(), "the request itself is not too long");
    }
}

/// No request makes a policy that passes the check run out of steps.
#[test]
fn what_can_be_put_can_be_decided() {
    let mut seen = 0;
    for family in FAMILIES {
        let largest = [Hostile::largest(family), Hostile::largest_of_statements(family)];
        for Hostile { name, policy, .. } in largest.into_iter().flatten() {
            for context in Long::all() {
                let decision = authorize(&request(&policy, &context), &Policies::default());
                assert_ne!(decision.denial(), Some(Denial::TooCostly), "{name}");
            }
            seen += 1;
        }
    }
    assert!(seen > FAMILIES.len(), "{seen}");
}

/// Policies of the usual kind take far less than their share.
#[test]
fn ordinary_policies_can_be_put() {
    let keys: Vec<String> = (0..40).map(|number| format!("\"key-{number}\"")).collect();
    let conditions = format!(
        r#""ForAllValues:StringEquals": {{ "kms:EncryptionContextKeys": [{}] }},
           "StringLike": {{ "kms:EncryptionContext:arn": ["arn:aws:s3:::a*b*c", "*-${{aws:username}}-*"],
                            "aws:UserAgent": "*aws-cli*" }},
           "ArnLike": {{ "aws:PrincipalArn": ["arn:aws:iam::*:role/team-*-admin*"] }}"#,
        keys.join(",")
    );
    let statements: Vec<String> = (0..8)
        .map(|number| {
            format!(
                r#"{{ "Sid": "s{number}", "Effect": "Allow", "Principal": "*", "Action": "kms:*",
                     "Resource": "*", "Condition": {{ {conditions} }} }}"#
            )
        })
        .collect();
    let text = format!(r#"{{ "Version": "2012-10-17", "Statement": [{}] }}"#, statements.join(","));
    assert_eq!(KeyPolicy::parse(&text).unwrap().check_cost(), Ok(()));
    // A policy that is one of several of a caller has a smaller share: a fourth.
    let text = format!(
        r#"{{ "Version": "2012-10-17", "Statement": [{}] }}"#,
        statements.get(..2).expect("two").join(",")
    );
    let identity = text.replace("\"Principal\": \"*\",", "");
    assert_eq!(IdentityPolicy::parse(&identity).unwrap().check_cost(), Ok(()));
}

/// The time for reading a document is linear in its length, not quadratic.
#[test]
fn hostile_documents_are_read_in_time() {
    let statement = |resource: &str, action: &str| {
        format!(
            r#"{{ "Version": "2012-10-17", "Statement": {{ "Effect": "Allow", "Principal": "*",
                "Action": {action}, "Resource": "{resource}" }} }}"#
        )
    };
    let actions: Vec<String> = (0..2700).map(|number| format!("\"kms:*{number:x}?*\"")).collect();
    for text in [
        statement(&format!("arn:{}", "${".repeat(16_000)), "\"kms:*\""),
        statement("*", &format!("[{}]", actions.join(","))),
        format!("{{{}}}", "\"a\":1,".repeat(5000)),
        "[".repeat(32_000),
        format!("{}1{}", "{\"Statement\":".repeat(120), "}".repeat(120)),
    ] {
        let begin = Instant::now();
        let _ = KeyPolicy::parse(&text);
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}: {}", begin.elapsed(), &text[..80]);
    }
}
