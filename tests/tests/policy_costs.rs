//! Policies that take long to compare with a request: who puts one blocks nobody.

use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::costly;
use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Connection, Request, call};
use serde_json::{Value, json};

/// Runs that a text of the same letter nearly has, and those with open characters.
const PATTERNS: [&str; 3] = ["*aaaaaaaab#*", "*a?a?a?a?a?a?a?a?a?a?b#*", "*b*#*"];
/// Encrypts at a time.
const PARALLEL: usize = 8;
/// What another client waits at most, beside eight such requests, in a debug build.
const BOUND: Duration = Duration::from_secs(2);

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
    for pattern in PATTERNS {
        let count = costly::put_the_worst(&daemon, &key, pattern);
        let encrypt = Request::new("Encrypt", costly::encrypt(&key).to_string()).signed(&daemon);
        let until = Instant::now() + Duration::from_secs(4);
        let hold = || {
            let mut connection = Connection::open(&daemon);
            let mut answered = 0;
            while Instant::now() < until {
                connection.write(&encrypt.to_bytes(daemon.address())).expect("it reads");
                let answer = connection.read().expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
                answered += 1;
            }
            answered
        };
        let mut slowest = Duration::ZERO;
        let answered: usize = thread::scope(|scope| {
            let held: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(hold)).collect();
            let mut connection = Connection::open(&daemon);
            let body: Value = json!({ "KeyId": other });
            while Instant::now() < until {
                let request = Request::new("DescribeKey", body.to_string()).signed(&daemon);
                let begin = Instant::now();
                connection.write(&request.to_bytes(daemon.address())).expect("it reads");
                assert_eq!(connection.read().expect("an answer").status, 200);
                slowest = slowest.max(begin.elapsed());
            }
            held.into_iter().map(|one| one.join().expect("it ends")).sum()
        });
        println!("{pattern} {count} times: {answered} Encrypts, DescribeKey within {slowest:?}");
        assert!(answered >= PARALLEL, "{answered}");
        assert!(slowest < BOUND, "{slowest:?}");
    }
}
