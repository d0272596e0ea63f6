//! Compares the engine with an independent implementation, over random cases.
//!
//! The package `@cloud-copilot/iam-simulate` is under the AGPL: it runs in a separate process, and
//! none of its code is used here. Install it with `npm ci` in `tests/oracle`; without it or without
//! Node.js, the test is skipped.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use common::generate::{Profile, case};
use common::rng::Rng;
use common::{ACCOUNT, Case, Entry, Outcome, Who};
use serde_json::{Value, json};

#[path = "oracle/differences.rs"]
mod differences;

const CASES: u64 = 85_000;

/// Returns a random case. One in eight may contain things about which the two are known to
/// disagree.
fn random(seed: u64) -> Case {
    let oddities = seed.is_multiple_of(8);
    case(&mut Rng::new(seed), Profile { all_keys: false, oddities, several: false })
}

#[test]
fn the_engine_decides_like_another_implementation() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    if let Some(reason) = reason_to_skip(&directory) {
        // Not captured by the test harness, which hides the output of tests that pass.
        let _ = writeln!(std::io::stderr(), "oracle: skipped, because {reason}");
        return;
    }
    let cases: Vec<Case> = (0..CASES).map(random).collect();
    let answers = ask(&directory, &cases);
    assert_eq!(answers.len(), cases.len(), "an answer for every case");

    let mut plain = 0;
    let mut explained = BTreeMap::<&str, u64>::new();
    let mut unexplained = Vec::new();
    for (seed, (mut case, answer)) in cases.into_iter().zip(answers).enumerate() {
        // The other implementation ignores keys that it does not know for the action.
        for name in answer["ignored"].as_array().into_iter().flatten() {
            case.context.0.remove(&name.as_str().unwrap_or_default().to_lowercase());
        }
        let own = name(case.compile().expect("documents").decide());
        let reasons = differences::that_apply(&case);
        plain += u64::from(reasons.is_empty());
        if agree(&case, own, &answer) {
            continue;
        }
        match reasons.first() {
            Some(reason) => *explained.entry(reason).or_default() += 1,
            None => unexplained.push((seed, own, answer, case)),
        }
    }
    println!(
        "{CASES} cases, {plain} of them without a known difference; explained: {explained:#?}"
    );
    let count = unexplained.len();
    if let Some(first) = unexplained.iter().min_by_key(|(.., case)| format!("{case:?}").len()) {
        panic!("{count} unexplained differences, the smallest: {first:#?}");
    }
    assert!(plain >= 50_000, "most of the cases compare something");
}

/// Whether the two agree. For callers of other accounts, the engine says less about denials.
fn agree(case: &Case, own: &str, answer: &Value) -> bool {
    let theirs = answer["result"].as_str().unwrap_or("Error");
    let foreign = case.who.account() != ACCOUNT;
    own == theirs || foreign && own != "Allowed" && theirs.ends_with("Denied")
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "Allowed",
        Outcome::Explicit(_) => "ExplicitlyDenied",
        Outcome::Implicit(_) | Outcome::OtherAccount => "ImplicitlyDenied",
    }
}

fn reason_to_skip(directory: &Path) -> Option<&'static str> {
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    if !node.is_ok_and(|status| status.success()) {
        return Some("there is no node");
    }
    let package = directory.join("node_modules/@cloud-copilot/iam-simulate");
    (!package.exists()).then_some("it is not installed (npm ci in tests/oracle)")
}

/// Returns the responses of the other implementation, in the order of the cases.
fn ask(directory: &Path, cases: &[Case]) -> Vec<Value> {
    let mut child = Command::new("node")
        .arg("decide.mjs")
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let (mut input, output) = (child.stdin.take(), child.stdout.take());
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            let mut input = input.take().expect("a pipe");
            for case in cases {
                writeln!(input, "{}", simulation(case)).expect("it reads");
            }
        });
        let lines = BufReader::new(output.expect("a pipe")).lines();
        let parse = |line: std::io::Result<String>| {
            serde_json::from_str(&line.expect("a line")).expect("an answer")
        };
        lines.map(parse).collect()
    });
    child.wait().expect("it ends");
    answers
}

/// Converts a case into the input format of the other implementation.
fn simulation(case: &Case) -> Value {
    let named = |list: &[Value]| -> Vec<Value> {
        let named = |(index, policy): (usize, &Value)| json!({ "name": format!("policy{index}"), "policy": policy });
        list.iter().enumerate().map(named).collect()
    };
    let context: BTreeMap<&str, Value> = case
        .context
        .0
        .iter()
        .map(|(name, entry)| match entry {
            Entry::One(text) => (name.as_str(), json!(text)),
            Entry::Many(texts) => (name.as_str(), json!(texts)),
        })
        .collect();
    // The other implementation gives root users no permissions of their own.
    let everything = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "*", "Resource": "*",
    } });
    let identity = match case.who {
        Who::Root | Who::OtherRoot => named(&[everything]),
        _ => named(&case.identity),
    };
    let mut simulation = json!({
        "request": {
            "principal": case.who.arn(),
            "action": case.action.name(),
            "resource": {
                "resource": case.resource.unwrap_or("*"),
                "accountId": ACCOUNT,
            },
            "contextVariables": context,
        },
        "identityPolicies": identity,
        "serviceControlPolicies": [],
        "resourceControlPolicies": [],
    });
    if let Some(policy) = &case.key_policy {
        simulation["resourcePolicy"] = policy.clone();
    }
    if let Some(policy) = &case.boundary {
        simulation["permissionBoundaryPolicies"] = named(std::slice::from_ref(policy)).into();
    }
    if let Some(policy) = case.session.first() {
        simulation["sessionPolicy"] = policy.clone();
    }
    if !case.service_control.is_empty() {
        let policies = named(&case.service_control);
        simulation["serviceControlPolicies"] =
            json!([{ "orgIdentifier": "ou-1", "policies": policies }]);
    }
    simulation
}
