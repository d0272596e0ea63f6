//! Two daemons check their store: one of them at a time, and the other one goes on where the first one was killed.

use std::process::{Command, Stdio};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Answer, get};
use hsm_tests::losses::create;
use hsm_tests::patience::until;
use hsm_tests::{ctl, environment};
use serde_json::{Value, json};

use super::Pair;

/// Keys to be checked.
const KEYS: usize = 30;

fn flags(daemon: &Daemon) -> [&str; 4] {
    ["--data", daemon.data().to_str().expect("UTF-8"), "--url", daemon.url()]
}

fn scrub(daemon: &Daemon, more: &[&str]) -> (i32, Value) {
    ctl::run(&[&["store", "scrub"], more, &flags(daemon)].concat())
}

/// Key tokens and secrets that devices have opened, as a daemon counts them.
fn opened(daemon: &Daemon) -> u64 {
    let Answer { body, .. } = get(daemon, "/metrics");
    let page = String::from_utf8_lossy(&body).into_owned();
    let line = page.lines().find_map(|line| line.strip_prefix("strongroom_scrub_opened "));
    line.expect("it is counted").parse().expect("a number")
}

#[test]
fn one_daemon_checks_the_store_and_the_other_one_goes_on_where_it_was_killed() {
    let Pair { cluster: _cluster, mut one, mut two, _plugs, _boards } = Pair::start();
    for daemon in [&one, &two] {
        until("both daemons are ready", || get(daemon, "/readyz").status == 200);
    }
    for _ in 0..KEYS {
        create(&one);
    }
    let (code, whole) = scrub(&two, &["--rate", "1000"]);
    assert_eq!((code, &whole["faults"]), (0, &json!(0)), "{whole}");
    let all = whole["opened"].as_u64().expect("a number");
    assert!(all >= KEYS as u64, "{whole}");
    // Whoever has the lease has done it, although the other one was asked.
    let is_one = opened(&one) == all;
    let (worker, other) = if is_one { (&mut one, &mut two) } else { (&mut two, &mut one) };
    assert_eq!((opened(worker), opened(other)), (all, 0));

    let mut child = Command::new(environment::kmsctl());
    child.args(["store", "scrub", "--rate", "2"]).args(flags(other));
    let mut child = child.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it runs");
    let mut before = Value::Null;
    let count = |status: &Value| status["opened"].as_u64().expect("a number");
    until("some of it is done", || {
        before = scrub(other, &["--status"]).1;
        before["state"] == "under-way" && count(&before) >= 4
    });
    assert_eq!(opened(other), 0, "both of them check it");
    worker.kill();
    let mut last = count(&before);
    until("the other one goes on", || {
        let status = scrub(other, &["--status"]).1;
        assert_eq!(status["id"], before["id"], "another one was begun");
        assert!(count(&status) >= last, "it began anew: {status}");
        last = count(&status);
        status["state"] == "complete"
    });
    child.kill().expect("it is a child");
    child.wait().expect("it ended");
    let (code, done) = scrub(other, &["--status"]);
    assert_eq!((code, &done["faults"], count(&done)), (0, &json!(0), all), "{done}");
    assert_eq!(opened(other), all);
}
