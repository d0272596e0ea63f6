//! The daemon as a program: its files, its life, its devices, its answers to operators.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use aws_sdk_kms::primitives::Blob;
use hsm_tests::daemon::Daemon;
use hsm_tests::emulator::{Attachment, Emulator};
use hsm_tests::http::{Connection, Request, await_devices, call, get};
use hsm_tests::{ctl, python, sdk};
use serde_json::{Value, json};

/// A key and a blob that it sealed.
fn seal(daemon: &Daemon) -> (String, String) {
    let made = call(daemon, "CreateKey", &json!({})).json();
    let key = made["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned();
    let body = json!({ "KeyId": key, "Plaintext": "cGxhaW50ZXh0" });
    let blob = call(daemon, "Encrypt", &body).json();
    (key, blob["CiphertextBlob"].as_str().expect("a blob").to_owned())
}

fn assert_opens(daemon: &Daemon, blob: &str) {
    let opened = call(daemon, "Decrypt", &json!({ "CiphertextBlob": blob }));
    assert_eq!(opened.json()["Plaintext"], "cGxhaW50ZXh0", "{opened:?}");
}

#[test]
fn the_next_start_finds_keys_and_credentials() {
    let mut daemon = Daemon::start(&["soft"]);
    let before = daemon.credentials();
    let mode = fs::metadata(daemon.credentials_file()).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (_, blob) = seal(&daemon);
    assert!(daemon.stop().success());
    daemon.restart();
    assert_eq!(daemon.credentials().secret, before.secret);
    assert_opens(&daemon, &blob);
}

#[test]
fn given_root_credentials_are_used() {
    let given = tempfile::NamedTempFile::new().expect("a file");
    let text = "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n\
                aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n";
    fs::write(given.path(), text).expect("written");
    let path = given.path().to_str().expect("UTF-8");
    let daemon = Daemon::start_with(&["soft"], &["--root-credentials", path]);
    assert!(!daemon.credentials_file().exists());
    fs::copy(given.path(), daemon.credentials_file()).expect("for the client");
    assert_eq!(call(&daemon, "ListKeys", &json!({})).status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_what_it_has_accepted() {
    let mut daemon = Daemon::start(&["soft"]);
    let kms = sdk::client(&daemon);
    let key = kms.create_key().send().await.expect("made").key_metadata.expect("metadata").key_id;
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let call = kms.encrypt().key_id(&key).plaintext(Blob::new(*b"x"));
            tokio::spawn(async move { call.send().await })
        })
        .collect();
    assert!(daemon.stop().success());
    let mut served = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(_) => served += 1,
            // Not accepted any more: no half answer, no internal error.
            Err(error) => {
                let status = error.raw_response().map(|answer| answer.status().as_u16());
                assert!(matches!(status, None | Some(503)), "{error:?}");
            }
        }
    }
    eprintln!("{served} of 64 were served");
    let (intact, report) = ctl::verify(&daemon.data().join("audit"));
    assert!(intact, "{report}");
}

#[test]
fn two_daemons_do_not_share_their_data() {
    let mut daemon = Daemon::start(&["soft"]);
    let said = daemon.restart_refused();
    assert!(said.contains("another kmsd or kmsctl is running"), "{said}");
    assert_eq!(call(&daemon, "ListKeys", &json!({})).status, 200);
    assert!(daemon.stop().success());
}

#[test]
fn what_cannot_be_configured_is_refused_with_advice() {
    for (arguments, advice) in [
        (vec!["--hsm", "nonsense"], "soft[:N]"),
        (vec!["--hsm", "qemu", "--firmware", "/nowhere"], "cargo xtask firmware"),
        (vec!["--region", "nowhere"], "us-east-1"),
        (vec!["--account", "1"], "12 digits"),
        (vec!["--clock-window", "16"], "1 to 15"),
    ] {
        let said = Daemon::refused(&arguments);
        assert!(said.contains(advice), "{arguments:?}: {said}");
    }
}

#[test]
fn operators_see_health_readiness_and_metrics() {
    let daemon = Daemon::start(&["soft:2"]);
    await_devices(&daemon, 2);
    assert_eq!(get(&daemon, "/healthz").status, 200);
    assert_eq!(get(&daemon, "/readyz").status, 200);
    let (_, blob) = seal(&daemon);
    assert_opens(&daemon, &blob);
    let metrics = String::from_utf8(get(&daemon, "/metrics").body).expect("text");
    let served = "strongroom_requests_total{operation=\"Decrypt\",code=\"OK\"} 1";
    assert!(metrics.contains(served), "{metrics}");

    let url = daemon.url().to_owned();
    let (code, status) = ctl::run(&["status", "--url", &url]);
    assert_eq!(code, 0, "{status}");
    assert_eq!(status["devices"].as_array().map(Vec::len), Some(2), "{status}");
    let (code, table) = ctl::text(&["status", "--url", &url]);
    assert!(code == 0 && table.contains("soft-0") && table.contains("soft-1"), "{table}");
    drop(daemon);
    assert_eq!(ctl::run(&["status", "--url", &url]).0, 2, "nobody answers");
}

#[test]
fn logs_hold_no_secrets() {
    let mut daemon = Daemon::start_with(&["soft"], &["--log-format", "json"]);
    let (_, blob) = seal(&daemon);
    assert_opens(&daemon, &blob);
    assert_eq!(Request::new("Decrypt", "{").signed(&daemon).send(&daemon).status, 400);
    let secret = daemon.credentials().secret;
    let (status, said) = daemon.stop_and_read();
    assert!(status.success());
    for line in said.lines().filter(|line| !line.starts_with("listening on ")) {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line}");
        for forbidden in ["cGxhaW50ZXh0", "plaintext", &secret, &blob] {
            assert!(!line.contains(forbidden), "{forbidden} in {line}");
        }
    }
}

#[test]
fn other_addresses_are_served_over_tls_only() {
    let daemon = Daemon::start_on("0.0.0.0:0", &["soft"]);
    assert!(daemon.url().starts_with("https://"), "{}", daemon.url());
    let mut plain = Connection::open(&daemon);
    let request = Request::new("ListKeys", "{}").to_bytes("x");
    let _ = plain.write(&request);
    let told = plain.read().expect("an answer");
    assert_eq!(told.status, 400);
    let text = String::from_utf8_lossy(&told.body).into_owned();
    assert!(text.contains("use https://"), "no API over plain HTTP: {text}");
    python::run("test_tls.py", &daemon);
}

/// Devices of every kind in one pool: what one sealed the others open.
#[test]
fn a_pool_of_devices_on_different_lines() {
    let board = tempfile::tempdir().expect("a directory");
    let emulator = Emulator::boot(board.path(), Attachment::UART);
    emulator.await_start();
    let line = format!("unix:{}", emulator.line().display());
    let (code, status) = ctl::run(&["hsm", "status", &line]);
    assert_eq!((code, status[0]["state"].as_str()), (1, Some("Uninitialised")), "{status}");

    let mut daemon = Daemon::start(&["soft"]);
    let (_, blob) = seal(&daemon);
    assert!(daemon.stop().success());
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    let (code, report) = ctl::run(&["hsm", "provision", "--data", &data, "soft", &line]);
    assert_eq!(code, 0, "{report}");
    daemon.replace_hsms(&[&line]);
    daemon.restart();
    assert_opens(&daemon, &blob);
    let (_, second) = seal(&daemon);
    assert!(daemon.stop().success());

    daemon.replace_hsms(&["soft"]);
    daemon.restart();
    assert_opens(&daemon, &second);
}

#[test]
fn quotas_are_kept() {
    let mut daemon =
        Daemon::start_with(&["soft"], &["--quota", "aws", "--quota", "CreateKey=0.01"]);
    let create = |daemon: &Daemon| call(daemon, "CreateKey", &json!({}));
    assert_eq!(create(&daemon).status, 200);
    let answer = create(&daemon);
    assert_eq!((answer.status, answer.code().as_str()), (400, "ThrottlingException"));
    assert_eq!(call(&daemon, "ListKeys", &json!({})).status, 200);
    // What is left is not kept over a restart.
    daemon.stop();
    daemon.restart();
    assert_eq!(create(&daemon).status, 200);
}
