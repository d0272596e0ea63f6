//! Policies that take long to compare with a request: who puts one blocks nobody.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use hsm_tests::costly;
use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Connection, Request, call};
use hsm_tests::patience::until;
use serde_json::{Value, json};

/// Runs that a text of the same letter nearly has, and those with open characters.
const PATTERNS: [&str; 3] = ["*aaaaaaaab#*", "*a?a?a?a?a?a?a?a?a?a?b#*", "*b*#*"];
/// Encrypts at a time.
const PARALLEL: usize = 8;
/// Requests of another client meanwhile.
const OTHERS: usize = 40;
/// Encrypts that are answered while one of these waits, in the mean: each of the eight that are on
/// their way, with others before and after by which threads are unfair.
const BEFORE: usize = 4 * PARALLEL;

fn create(daemon: &Daemon) -> String {
    let made = call(daemon, "CreateKey", &json!({})).json();
    made["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned()
}

#[test]
fn a_policy_that_takes_too_long_is_refused() {
    let daemon = Daemon::start(&["soft"]);
    let key = create(&daemon);
    for pattern in PATTERNS {
        let text = costly::longest(pattern);
        assert!((29_000..=32_768).contains(&text.len()), "{}", text.len());
        for (operation, body) in [
            ("PutKeyPolicy", json!({ "KeyId": key, "PolicyName": "default", "Policy": text })),
            ("CreateKey", json!({ "Policy": text })),
        ] {
            let answer = call(&daemon, operation, &body);
            assert_eq!(answer.code(), "MalformedPolicyDocumentException", "{operation} {pattern}");
            let told = answer.json();
            let told = told["message"].as_str().expect("a text");
            for part in ["too complex", "statement 0 (\"Patterns\")", "Use fewer patterns"] {
                assert!(told.contains(part), "{told}");
            }
        }
    }
}

#[test]
fn eight_of_the_worst_requests_block_nobody() {
    let daemon = Daemon::start(&["soft"]);
    let (key, other) = (create(&daemon), create(&daemon));
    // Over all patterns: two of them may share a second.
    let numbers = AtomicUsize::new(0);
    for pattern in PATTERNS {
        let count = costly::put_the_worst(&daemon, &key, pattern);
        let encrypt = Request::new("Encrypt", costly::encrypt(&key).to_string());
        let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        let hold = || {
            let mut connection = Connection::open(&daemon);
            while !over.load(Ordering::SeqCst) {
                // Each is signed by itself, as one and the same: who repeats a request after some
                // seconds is refused.
                let id = format!("encrypt-{}", numbers.fetch_add(1, Ordering::SeqCst));
                let encrypt = encrypt.clone().header("amz-sdk-invocation-id", &id);
                let encrypt = encrypt.header("amz-sdk-request", "attempt=1").signed(&daemon);
                connection.write(&encrypt.to_bytes(daemon.address())).expect("it reads");
                let answer = connection.read().expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
                answered.fetch_add(1, Ordering::SeqCst);
            }
        };
        let mut meanwhile = Vec::new();
        thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(hold);
            }
            until("all of them are at it", || answered.load(Ordering::SeqCst) >= PARALLEL);
            let mut connection = Connection::open(&daemon);
            let body: Value = json!({ "KeyId": other });
            for _ in 0..OTHERS {
                let request = Request::new("DescribeKey", body.to_string()).signed(&daemon);
                let before = answered.load(Ordering::SeqCst);
                connection.write(&request.to_bytes(daemon.address())).expect("it reads");
                assert_eq!(connection.read().expect("an answer").status, 200);
                meanwhile.push(answered.load(Ordering::SeqCst) - before);
            }
            over.store(true, Ordering::SeqCst);
        });
        println!("{pattern} {count} times: so many Encrypts before a DescribeKey: {meanwhile:?}");
        // What one of them takes is bounded in steps: `kms-policy` tests that.
        assert!(meanwhile.iter().sum::<usize>() <= OTHERS * BEFORE, "{meanwhile:?}");
    }
}
