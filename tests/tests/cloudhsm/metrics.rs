//! What `/metrics` says about tokens.

use std::collections::BTreeSet;
use std::fs;

use hsm_tests::environment;
use hsm_tests::http::get;
use hsm_tests::patience::until;
use kms_pkcs11::Fault;
use rustix::process::Signal;
use serde_json::json;

use super::rig::{PASSWORD, Rig, is_there, text, to_encrypt};

/// The value of a sample of a token, without its further labels; the sum, if they differ.
fn sample(rig: &Rig, name: &str, token: &str) -> Option<f64> {
    let page = String::from_utf8(get(&rig.daemon, "/metrics").body).expect("text");
    let of_token = format!("token=\"{token}\"");
    let lines = page.lines().filter(|line| {
        line.starts_with(&format!("strongroom_pkcs11_token_{name}{{")) && line.contains(&of_token)
    });
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

fn is(rig: &Rig, name: &str, token: &str, wanted: f64) -> bool {
    sample(rig, name, token).is_some_and(|value| (value - wanted).abs() < f64::EPSILON)
}

#[test]
fn a_token_that_goes_away_is_in_the_metrics() {
    if !is_there() {
        return;
    }
    let rig = Rig::start(&["ada", "bea"], &[]);
    assert_eq!(sample(&rig, "up", "ada"), None, "nothing is known yet");
    let id = rig.connected(&["ada", "bea"]);
    let key = text(&rig.key(&id)["KeyId"]);
    let encrypt = || rig.call("Encrypt", &to_encrypt(&key, b"x")).status;
    assert_eq!(encrypt(), 200);
    for token in ["ada", "bea"] {
        assert!(is(&rig, "up", token, 1.0), "{token}");
        assert!(is(&rig, "pin_refused", token, 0.0), "{token}");
        assert!(is(&rig, "restarts_total", token, 0.0), "{token}");
        assert!(sample(&rig, "call_duration_seconds_count", token) >= Some(2.0), "{token}");
        assert!(sample(&rig, "call_duration_seconds_sum", token) > Some(0.0), "{token}");
        assert_eq!(sample(&rig, "failures_total", token), None, "{token}");
    }

    rig.tokens.lose("bea");
    until("the loss is shown", || encrypt() == 200 && is(&rig, "up", "bea", 0.0));
    assert!(is(&rig, "up", "ada", 1.0));
    assert!(sample(&rig, "failures_total", "bea") >= Some(1.0));
    assert_eq!(sample(&rig, "failures_total", "ada"), None);
    rig.tokens.find("bea");
    until("it serves again", || encrypt() == 200 && is(&rig, "up", "bea", 1.0));
    assert!(is(&rig, "restarts_total", "bea", 1.0), "once it was back");
    assert!(rig.signal_workers(Signal::KILL) >= 2);
    until("another process serves", || {
        encrypt();
        sample(&rig, "restarts_total", "ada") >= Some(1.0) && is(&rig, "up", "ada", 1.0)
    });

    let page = String::from_utf8(get(&rig.daemon, "/metrics").body).expect("text");
    documented(&page);
    let failures = page.lines().filter_map(|line| line.split_once("failure=\"")?.1.split_once('"'));
    let failures: Vec<_> = failures.map(|(failure, _)| failure).collect();
    assert!(!failures.is_empty() && failures.iter().all(|name| Fault::NAMES.contains(name)));
}

/// Checks that alert rules and the dashboard ask for metrics that are on a page, and that their page explains all.
fn documented(page: &str) {
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words = words.filter(|word| word.starts_with("strongroom_pkcs11_token_"));
        words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
    };
    let monitoring = environment::root().join("docs/monitoring");
    let read = |name: &str| words(&fs::read_to_string(monitoring.join(name)).expect(name));
    let there = words(page);
    for file in ["alerts.yml", "dashboard.json"] {
        let asked = read(file);
        assert!(asked.len() >= 3 && asked.is_subset(&there), "{file}: {asked:?}, {there:?}");
    }
    let explained = read("README.md");
    let samples = page.lines().filter(|line| line.starts_with("# TYPE strongroom_pkcs11_token_"));
    let names: Vec<_> = samples.filter_map(|line| line.split(' ').nth(2)).collect();
    assert!(names.len() == 5 && names.iter().all(|name| explained.contains(*name)), "{names:?}");
}

#[test]
fn a_pin_that_is_refused_is_in_the_metrics_until_somebody_acts() {
    if !is_there() {
        return;
    }
    let rig = Rig::start(&["ada"], &[]);
    let id = rig.connected(&["ada"]);
    let store = json!({ "CustomKeyStoreId": id });
    let connect_with = |password: &str| {
        rig.ok("DisconnectCustomKeyStore", &store);
        assert_eq!(sample(&rig, "pin_refused", "ada"), None);
        assert_eq!(sample(&rig, "up", "ada"), None);
        let body = json!({ "CustomKeyStoreId": id, "KeyStorePassword": password });
        rig.ok("UpdateCustomKeyStore", &body);
        rig.connect(&id)["ConnectionState"].clone()
    };
    assert_eq!(connect_with("not the password"), "FAILED");
    assert!(is(&rig, "pin_refused", "ada", 1.0), "also when nothing runs for the store");
    assert_eq!(connect_with(PASSWORD), "CONNECTED");
    assert!(is(&rig, "pin_refused", "ada", 0.0));
}
