//! A machine that fails below the daemon: disks that take nothing, files that are damaged or may not be read, clocks
//! that are wrong. Nothing is done unseen, who operates it learns what to do, and afterwards all is there.

use std::path::Path;
use std::thread;
use std::time::Duration;

use hsm_tests::clocks::{self, Clocks};
use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::disk::FailingDisk;
use hsm_tests::http::{Connection, Request, await_devices, call, get};
use hsm_tests::losses::{assert_intact, assert_opens, create, encrypt, keys, readiness};
use hsm_tests::patience::until;
use hsm_tests::programs;
use serde_json::json;

#[path = "machine/damage.rs"]
mod damage;
#[path = "machine/permission.rs"]
mod permission;

fn failing(directory: &Path, has_journal: bool) -> Option<FailingDisk> {
    FailingDisk::mount(directory, 96, has_journal)
        .inspect_err(|reason| programs::skip("a disk that fails", reason))
        .ok()
}

/// Requests of all kinds are refused, so that clients may try again, and nobody is told a lie.
fn assert_closed(daemon: &Daemon, key: &str) {
    for (operation, body) in [
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "c2VjcmV0" })),
        ("CreateKey", json!({})),
        ("DisableKey", json!({ "KeyId": key })),
        ("ScheduleKeyDeletion", json!({ "KeyId": key })),
        ("DescribeKey", json!({ "KeyId": key })),
    ] {
        let answer = call(daemon, operation, &body);
        assert_eq!((answer.status, answer.code().as_str()), (500, "KMSInternalException"));
        let text = answer.json()["message"].to_string();
        assert!(text.contains("audit log cannot be written"), "{operation}: {text}");
    }
    assert_eq!(get(daemon, "/healthz").status, 200);
    let (is_ready, problems, report) = readiness(daemon);
    assert!(!is_ready && report["auditWritable"] == false, "{report:#}");
    assert!(problems.contains("fix the disk that the data directory is on"), "{problems}");
    let (code, said) = ctl::text(&["status", "--url", daemon.url()]);
    assert!(code == 1 && said.contains("NOT READY") && said.contains("fix the disk"), "{said}");
}

/// Starts the daemon. What it says if it does not serve as before; `None` if it does.
fn start(daemon: &mut Daemon, blob: &str) -> Option<String> {
    if let Err((status, said)) = daemon.starts() {
        assert_eq!(status.code(), Some(1), "{said}");
        return Some(said);
    }
    // A device that cannot be used is tried a few times before anybody says so.
    let mut problem = String::new();
    until("it is ready, or says why not", || {
        let (is_ready, problems, _) = readiness(daemon);
        let is_stuck = !problems.is_empty() && problems == problem;
        problem = problems;
        is_ready || is_stuck
    });
    if !readiness(daemon).0 {
        return Some(problem);
    }
    assert_eq!(keys(daemon), 1);
    assert_opens(daemon, blob);
    assert_intact(daemon);
    None
}

#[test]
fn a_disk_that_has_become_read_only_refuses_everything_and_loses_nothing() {
    let mut daemon = Daemon::stopped(&["soft"]);
    let directory = daemon.data().to_owned();
    let Some(disk) = failing(&directory, true) else { return };
    daemon.restart();
    await_devices(&daemon, 1);
    let key = create(&daemon);
    let blob = encrypt(&daemon, &key);

    disk.fail();
    assert_closed(&daemon, &key);
    let (_, problems, _) = readiness(&daemon);
    assert!(problems.contains("Read-only file system"), "{problems}");
    // One message of the kind, however many requests.
    let said = daemon.output();
    assert_eq!(said.matches("cannot write audit records").count(), 1, "{said}");
    assert!(said.contains(&format!("dir={}", directory.join("audit").display())), "{said}");

    // It stops when it is asked to, and does not start on such a disk.
    let (status, said) = daemon.stop_and_read();
    assert!(status.success(), "{said}");
    let said = daemon.restart_refused();
    assert!(said.contains("Read-only file system") && !said.contains("panicked"), "{said}");

    disk.repair();
    daemon.restart();
    await_devices(&daemon, 1);
    assert_eq!(keys(&daemon), 1, "CreateKey was refused");
    let described = call(&daemon, "DescribeKey", &json!({ "KeyId": key })).json();
    assert_eq!(described["KeyMetadata"]["KeyState"], "Enabled", "what was refused was not done");
    assert_opens(&daemon, &blob);
    create(&daemon);
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

/// The disk takes no new blocks for some time: files are synced with errors, and writes that seemed to succeed are
/// forgotten.
#[test]
fn a_disk_that_forgets_what_was_written_is_not_believed() {
    let mut daemon = Daemon::stopped(&["soft"]);
    let directory = daemon.data().to_owned();
    let Some(disk) = failing(&directory, false) else { return };
    daemon.restart();
    await_devices(&daemon, 1);
    let mut made = vec![create(&daemon)];
    let blob = encrypt(&daemon, &made[0]);
    disk.set_bad(true);
    let mut refused = 0;
    let mut sealed = vec![blob];
    until("the disk has refused something", || {
        let answer = call(&daemon, "CreateKey", &json!({}));
        match answer.status {
            200 => made.push(answer.json()["KeyMetadata"]["Arn"].as_str().expect("it").to_owned()),
            _ => refused += 1,
        }
        let body = json!({ "KeyId": made[0], "Plaintext": "c2VjcmV0" });
        let answer = call(&daemon, "Encrypt", &body);
        match answer.status {
            200 => sealed.push(answer.json()["CiphertextBlob"].as_str().expect("it").to_owned()),
            _ => refused += 1,
        }
        refused > 20
    });
    disk.set_bad(false);
    println!("{refused} refused, {} keys made", made.len());
    // It goes on by itself.
    until("it is ready", || get(&daemon, "/readyz").status == 200);
    made.push(create(&daemon));
    sealed.push(encrypt(&daemon, &made[0]));
    daemon.kill();
    disk.repair();
    daemon.restart();
    await_devices(&daemon, 1);
    for key in &made {
        assert_eq!(
            call(&daemon, "DescribeKey", &json!({ "KeyId": key })).status,
            200,
            "{key} is lost"
        );
    }
    sealed.iter().for_each(|blob| assert_opens(&daemon, blob));
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

/// A clock that was ahead when the daemon started is set right, and nobody has to restart anything.
#[test]
fn a_clock_that_is_set_right_is_believed_at_once() {
    let Some(clocks) = Clocks::of(1) else {
        return programs::skip("a clock that is wrong", clocks::MISSING);
    };
    let mut daemon = Daemon::stopped(&["soft"]);
    clocks.give(0, &mut daemon);
    clocks.set(0, 5 * 3600);
    daemon.restart();
    let answer = call(&daemon, "ListKeys", &json!({}));
    assert_eq!(answer.code(), "InvalidSignatureException");
    assert!(answer.json()["Message"].to_string().contains("Signature expired"), "{answer:?}");
    clocks.set(0, 0);
    until("it serves", || call(&daemon, "ListKeys", &json!({})).status == 200);
    await_devices(&daemon, 1);
    let blob = encrypt(&daemon, &create(&daemon));
    // And one that goes back while it runs.
    clocks.set(0, -5 * 3600);
    assert_eq!(call(&daemon, "ListKeys", &json!({})).code(), "InvalidSignatureException");
    clocks.set(0, 0);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

/// Whoever has seen a request cannot send it again because the daemon has forgotten it; and who has just signed one signs
/// another one.
#[test]
fn a_request_from_before_the_start_has_to_be_signed_again() {
    let mut daemon = Daemon::start(&["soft"]);
    await_devices(&daemon, 1);
    let seen = Request::new("CreateKey", "{}").signed(&daemon).to_bytes(daemon.address());
    let send = |daemon: &Daemon| {
        let mut connection = Connection::open(daemon);
        connection.write(&seen).expect("written");
        connection.read().expect("an answer")
    };
    assert_eq!(send(&daemon).status, 200);
    assert!(daemon.stop().success());
    // In the second of the start it cannot be told from a new one.
    thread::sleep(Duration::from_millis(1100));
    daemon.restart();
    let again = send(&daemon);
    assert_eq!((again.status, again.code().as_str()), (503, "ServiceUnavailableException"));
    assert!(again.json()["Message"].to_string().contains("Sign the request anew"), "{again:?}");
    assert_eq!(keys(&daemon), 1);
}
