//! What `/metrics`, `/readyz` and the log tell who watches a daemon, and that the dashboard and the alert
//! rules in `docs/monitoring` ask for metrics that there are.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Request, call};
use hsm_tests::patience::PATIENCE;
use hsm_tests::{environment, programs, python, trails};
use serde_json::{Value, json};

/// The page, in the form that an `Accept` header asks for; its type as well.
fn page(daemon: &Daemon, accept: Option<&str>) -> (String, String) {
    let headers = accept.map(|accept| ("Accept".to_owned(), accept.to_owned()));
    let (method, path) = ("GET".to_owned(), "/metrics".to_owned());
    let request =
        Request { method, path, headers: headers.into_iter().collect(), body: Vec::new() };
    let answer = request.send(daemon);
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").expect("a type").to_owned();
    (kind, String::from_utf8(answer.body).expect("text"))
}

/// The value of a sample, which begins with its name and labels.
fn sample(page: &str, name: &str) -> Option<f64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().expect("a number"))
}

/// Waits until a sample has a value.
fn until(daemon: &Daemon, name: &str, wanted: f64) {
    let by = Instant::now() + PATIENCE;
    loop {
        let (_, page) = page(daemon, None);
        if sample(&page, name).is_some_and(|value| (value - wanted).abs() < f64::EPSILON) {
            return;
        }
        assert!(Instant::now() < by, "{name} is not {wanted}: {page}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn make_key(daemon: &Daemon) -> Value {
    let made = call(daemon, "CreateKey", &json!({}));
    assert_eq!(made.status, 200, "{made:?}");
    made.json()["KeyMetadata"]["KeyId"].clone()
}

/// By the parser of Prometheus's own Python client, in both forms.
#[test]
fn the_usual_parser_sees_every_sample() {
    let daemon = Daemon::start(&["soft"]);
    python::run("test_metrics.py", &daemon);
}

#[test]
fn a_client_gets_the_form_that_it_asks_for() {
    let daemon = Daemon::start(&["soft"]);
    for accept in [None, Some("*/*"), Some("text/plain;version=0.0.4")] {
        let (kind, text) = page(&daemon, accept);
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8", "{accept:?}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{accept:?}");
        assert!(text.contains("# TYPE strongroom_connections_ended_total counter\n"), "{text}");
    }
    let wanted = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3";
    let (kind, text) = page(&daemon, Some(wanted));
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("# TYPE strongroom_connections_ended counter\n"), "{text}");
}

#[test]
fn keys_are_counted_by_state() {
    let mut daemon = Daemon::start(&["soft"]);
    let sample = |state| format!("strongroom_keys{{region=\"us-east-1\",state=\"{state}\"}}");
    let keys: Vec<Value> = (0..3).map(|_| make_key(&daemon)).collect();
    until(&daemon, &sample("Enabled"), 3.0);
    let ask = |daemon: &Daemon, operation: &str, body: Value| {
        assert_eq!(call(daemon, operation, &body).status, 200, "{operation}");
    };
    ask(&daemon, "DisableKey", json!({ "KeyId": keys[0] }));
    ask(&daemon, "ScheduleKeyDeletion", json!({ "KeyId": keys[1] }));
    until(&daemon, &sample("Enabled"), 1.0);
    until(&daemon, &sample("Disabled"), 1.0);
    until(&daemon, &sample("PendingDeletion"), 1.0);
    // What was there before a start is counted as well.
    assert!(daemon.stop().success());
    daemon.restart();
    until(&daemon, &sample("Disabled"), 1.0);
    ask(&daemon, "EnableKey", json!({ "KeyId": keys[0] }));
    until(&daemon, &sample("Enabled"), 2.0);
    until(&daemon, &sample("Disabled"), 0.0);
}

#[test]
fn what_the_daemon_does_by_itself_is_counted() {
    let daemon = Daemon::start(&["soft"]);
    let jobs = [
        "deletion",
        "rotation",
        "expiry",
        "key-uses",
        "identity-uses",
        "checkpoints",
        "outbox",
        "xks-proxies",
    ];
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time");
    for job in jobs {
        let runs = format!("strongroom_job_runs_total{{job=\"{job}\",result=\"success\"}}");
        let last = format!("strongroom_job_last_success_timestamp_seconds{{job=\"{job}\"}}");
        let by = Instant::now() + PATIENCE;
        loop {
            let (_, page) = page(&daemon, None);
            if sample(&page, &runs).is_some_and(|runs| runs >= 1.0) {
                let last = sample(&page, &last).expect("the time of a success");
                assert!(last + 60.0 > started.as_secs_f64(), "{job} succeeded at {last}");
                break;
            }
            assert!(Instant::now() < by, "{job} has not succeeded: {page}");
            thread::sleep(Duration::from_millis(50));
        }
        let failures = format!("strongroom_job_runs_total{{job=\"{job}\",result=\"failure\"}}");
        let (_, page) = page(&daemon, None);
        assert_eq!(sample(&page, &failures), None, "{job} fails on a healthy daemon");
    }
}

#[test]
fn refusals_are_counted_by_reason_and_leave_few_lines() {
    let mut daemon = Daemon::start_with(&["soft"], &["--refusal-rate", "1000"]);
    let sample =
        |reason| format!("strongroom_refusals_total{{service=\"kms\",reason=\"{reason}\"}}");
    let missing = json!({ "KeyId": "alias/none" });
    assert_eq!(call(&daemon, "DescribeKey", &missing).code(), "NotFoundException");
    // A name that would make a line of its own, or give orders to a terminal.
    for _ in 0..200 {
        let request = Request::new("ListKeys\u{9b}31m", "{}").header("X-Forged", "x");
        assert_eq!(request.send(&daemon).status, 400);
    }
    let (_, page) = page(&daemon, None);
    assert_eq!(self::sample(&page, &sample("missing")), Some(1.0), "{page}");
    let others: f64 = ["unauthenticated", "request"]
        .into_iter()
        .filter_map(|reason| self::sample(&page, &sample(reason)))
        .sum();
    assert!((others - 200.0).abs() < f64::EPSILON, "{page}");
    let (_, log) = daemon.stop_and_read();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("request refused")).collect();
    assert!((2..=21).contains(&lines.len()), "{log}");
    let missing = lines.iter().find(|line| line.contains("NotFoundException")).expect("a line");
    for part in ["DescribeKey", "reason=\"missing\"", "source=127.0.0.1", "arn:aws:iam::"] {
        assert!(missing.contains(part), "{part}: {missing}");
    }
    assert!(!log.contains('\u{9b}'), "{log}");
}

#[test]
fn certificates_tell_when_they_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let mut parameters =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    parameters.not_after = end.into();
    let pair = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&pair).expect("a certificate");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (public, private) = (path("certificate.pem"), path("key.pem"));
    fs::write(&public, certificate.pem()).expect("written");
    fs::write(&private, pair.serialize_pem()).expect("written");
    // The page is read in the clear, on the port for operators.
    let daemon = Daemon::start_with(&["soft"], &["--tls-cert", &public, "--tls-key", &private]);
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--cacert", &public])
        .arg(format!("{}/metrics", daemon.url().replace("127.0.0.1", "localhost")))
        .output()
        .expect("curl runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let name = "strongroom_tls_certificate_expiry_timestamp_seconds{certificate=\"listen\"}";
    assert_eq!(sample(&text, name), Some(2e9), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_last_backup_and_the_commit_are_told() {
    let daemon = Daemon::start(&["soft"]);
    let name = "strongroom_last_backup_timestamp_seconds";
    let (_, text) = page(&daemon, None);
    assert_eq!(sample(&text, name), Some(0.0), "{text}");
    let said = Command::new(environment::kmsd()).arg("--version").output().expect("kmsd runs");
    let said = String::from_utf8(said.stdout).expect("text");
    let commit = said.trim_end().rsplit_once('(').map(|(_, commit)| commit.trim_end_matches(')'));
    let commit = commit.filter(|commit| *commit != "development build").unwrap_or("unknown");
    let build = text.lines().find(|line| line.starts_with("strongroom_build_info{"));
    assert!(build.expect("it").contains(&format!("commit=\"{commit}\"")), "{build:?} {said}");

    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    fs::write(path("passphrase"), "a passphrase for tests\n").expect("written");
    let since_epoch = || SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
    let before = since_epoch();
    let data = daemon.data().to_str().expect("UTF-8");
    let (code, said) = hsm_tests::ctl::text(&[
        "backup",
        &path("backup"),
        "--with-devices",
        "--passphrase-file",
        &path("passphrase"),
        "--data",
        data,
        "--url",
        daemon.url(),
    ]);
    assert_eq!(code, 0, "{said}");
    let by = Instant::now() + PATIENCE;
    loop {
        let (_, text) = page(&daemon, None);
        match sample(&text, name).expect("a value") {
            // The record of it has whole seconds.
            value if value >= before - 1.0 && value <= since_epoch() => break,
            value => assert!(value < 1.0 && Instant::now() < by, "{value}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("strongroom_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

fn monitoring() -> PathBuf {
    environment::root().join("docs/monitoring")
}

/// A page on which everything has happened once.
fn full_page() -> (Daemon, String) {
    let peer = tempfile::tempdir().expect("a directory");
    let certificate = {
        let parameters =
            rcgen::CertificateParams::new(vec!["strongroom-link".to_owned()]).expect("a name");
        let pair = rcgen::KeyPair::generate().expect("a key");
        parameters.self_signed(&pair).expect("a certificate").pem()
    };
    let path = peer.path().join("peer.pem");
    fs::write(&path, certificate).expect("written");
    // Nobody listens there.
    let peer = format!("us-west-2=127.0.0.1:1,{}", path.display());
    let place = tempfile::tempdir().expect("a directory");
    fs::create_dir(place.path().join("logs")).expect("a bucket");
    let path = place.path().to_str().expect("UTF-8");
    let (copies, passphrase) = (format!("{path}/copies"), format!("{path}/passphrase"));
    fs::create_dir(&copies).expect("made");
    fs::write(&passphrase, "a passphrase of some words\n").expect("written");
    for (path, mode) in [(&copies, 0o700), (&passphrase, 0o600)] {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("private");
    }
    let of_copies = ["--replica", &copies, "--replica-passphrase-file", &passphrase];
    let arguments = [&["--peer", &peer, "--trail-store", path], &of_copies[..]].concat();
    let daemon = Daemon::start_with(&["soft"], &arguments);
    trails::begin(&daemon, "logs");
    make_key(&daemon);
    assert_eq!(call(&daemon, "DescribeKey", &json!({ "KeyId": "alias/none" })).status, 400);
    until(&daemon, "strongroom_keys{region=\"us-east-1\",state=\"Enabled\"}", 1.0);
    until(&daemon, "strongroom_peer_up{region=\"us-west-2\"}", 0.0);
    let main = "arn:aws:cloudtrail:us-east-1:000000000000:trail/main";
    until(&daemon, &format!("strongroom_trail_up{{trail=\"{main}\"}}"), 1.0);
    let (_, page) = page(&daemon, None);
    (daemon, page)
}

#[test]
fn peers_are_in_the_status() {
    let (daemon, _) = full_page();
    let by = Instant::now() + PATIENCE;
    let report = loop {
        let report = hsm_tests::http::get(&daemon, "/readyz").json();
        if report["peers"][0]["lastError"].is_string() {
            break report;
        }
        assert!(Instant::now() < by, "{report}");
        thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(report["ready"], true, "a peer that is away stops nobody: {report}");
    assert_eq!(report["peers"][0]["region"], "us-west-2");
    assert_eq!(report["peers"][0]["reachable"], false);
    let (code, table) = hsm_tests::ctl::text(&["status", "--url", daemon.url()]);
    assert!(
        code == 0 && table.contains("us-west-2") && table.contains("DOES NOT ANSWER"),
        "{table}"
    );
    assert!(table.lines().filter(|line| line.contains("us-west-2")).all(|line| line.len() <= 80));
}

#[test]
fn dashboard_alerts_and_their_page_name_metrics_that_there_are() {
    let (_daemon, page) = full_page();
    // Also names of families that have no sample yet: nothing was ended, nobody has answered.
    let there = named(&page);
    for file in ["alerts.yml", "dashboard.json"] {
        let text = fs::read_to_string(monitoring().join(file)).expect(file);
        // Those of tokens are on the page of a daemon that has some: `cloudhsm.rs` looks for them there.
        let mut asked = named(&text);
        asked.retain(|name| !name.starts_with("strongroom_pkcs11_token_"));
        assert!(asked.len() > 10, "{file}: {asked:?}");
        let absent: Vec<_> = asked.iter().filter(|name| !is_there(&there, name)).collect();
        assert!(absent.is_empty(), "{file} asks for {absent:?}\n{page}");
    }
    // And the other way round: what there is, the page explains.
    let text = fs::read_to_string(monitoring().join("README.md")).expect("the page");
    let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for (name, _) in families {
        let short = name.strip_prefix("strongroom").unwrap_or(name);
        assert!(
            text.contains(name) || text.contains(&format!("`{short}")),
            "{name} is not explained"
        );
    }
    let dashboard = fs::read_to_string(monitoring().join("dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 15));
}

/// Whether a name is that of a family, or of one of the samples of a histogram.
fn is_there(there: &BTreeSet<String>, name: &str) -> bool {
    let histogram = ["_bucket", "_sum", "_count"]
        .into_iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .is_some_and(|family| there.contains(family));
    histogram || there.contains(name)
}

/// By Prometheus's own tool, from the Debian package `prometheus`; `PROMTOOL` names another.
#[test]
fn prometheus_takes_page_and_rules() {
    let promtool = env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    if Command::new(&promtool).arg("--version").output().is_err() {
        let reason = "it is not on PATH; install the package prometheus, or set PROMTOOL";
        return programs::skip("promtool", reason);
    }
    let run = |arguments: &[&str]| {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(monitoring())
            .output()
            .expect("promtool runs");
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&text));
    };
    run(&["check", "rules", "alerts.yml"]);
    run(&["test", "rules", "alerts.test.yml"]);
    let (_daemon, page) = full_page();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), page).expect("written");
    let input = fs::File::open(file.path()).expect("the page");
    let output = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(input)
        .output()
        .expect("promtool runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Code 3 is advice on names; a page that does not parse is code 1.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?}: {said}", output.status);
    assert!(!said.contains("error"), "{said}");
}
