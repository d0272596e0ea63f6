//! Store, audit log and devices that do not belong together: what does not fit is refused and named, no
//! new domain is made under keys, and the way on is there and is recorded.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::Daemon;
use hsm_tests::device::Plug;
use hsm_tests::environment::firmware_of;
use hsm_tests::http::{Answer, Request, await_devices, call, get};
use hsm_tests::process::signal_process;
use hsm_tests::{ctl, seed};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long something may take to show.
const PATIENCE: Duration = Duration::from_secs(60);
/// Kills of the test, each at a random moment.
const KILLS: u32 = 60;

fn create(daemon: &Daemon) -> String {
    let made = call(daemon, "CreateKey", &json!({}));
    assert_eq!(made.status, 200, "{made:?}");
    made.json()["KeyMetadata"]["Arn"].as_str().expect("an ARN").to_owned()
}

fn encrypt(daemon: &Daemon, key: &str) -> String {
    let sealed = call(daemon, "Encrypt", &json!({ "KeyId": key, "Plaintext": "c2VjcmV0" }));
    assert_eq!(sealed.status, 200, "{sealed:?}");
    sealed.json()["CiphertextBlob"].as_str().expect("a blob").to_owned()
}

fn decrypt(daemon: &Daemon, blob: &str) -> Answer {
    call(daemon, "Decrypt", &json!({ "CiphertextBlob": blob }))
}

fn assert_opens(daemon: &Daemon, blob: &str) {
    let opened = decrypt(daemon, blob);
    assert_eq!((opened.status, &opened.json()["Plaintext"]), (200, &json!("c2VjcmV0")));
}

fn keys(daemon: &Daemon) -> usize {
    let listed = call(daemon, "ListKeys", &json!({ "Limit": 1000 }));
    listed.json()["Keys"].as_array().expect("a list").len()
}

/// What `/readyz` says: whether it is ready, and the problems.
fn readiness(daemon: &Daemon) -> (bool, String, Value) {
    let answer = get(daemon, "/readyz");
    let report = answer.json();
    let problems = report["problems"].as_array().cloned().unwrap_or_default();
    let texts: Vec<&str> = problems.iter().filter_map(Value::as_str).collect();
    assert_eq!(answer.status == 200, report["ready"] == true, "{report}");
    (answer.status == 200, texts.join("\n"), report)
}

/// Waits until `/readyz` names such a problem, or none at all.
fn await_problem(daemon: &Daemon, wanted: Option<&str>) {
    let by = Instant::now() + PATIENCE;
    loop {
        let (_, problems, report) = readiness(daemon);
        let is_there = wanted.map_or(problems.is_empty(), |wanted| problems.contains(wanted));
        if is_there {
            return;
        }
        assert!(Instant::now() < by, "{wanted:?} is not in {report:#}\n{}", daemon.output());
        thread::sleep(Duration::from_millis(50));
    }
}

/// The daemon serves health and reports, and refuses everything else so that clients try again.
fn assert_without_devices(daemon: &Daemon, blob: &str) {
    assert_eq!(get(daemon, "/healthz").status, 200);
    assert!(!readiness(daemon).0, "ready without a device");
    let made = call(daemon, "CreateKey", &json!({}));
    assert_eq!((made.status, made.code().as_str()), (500, "DependencyTimeoutException"));
    let opened = decrypt(daemon, blob);
    assert_eq!((opened.status, opened.code().as_str()), (500, "KeyUnavailableException"));
    // What needs no device is served.
    assert_eq!(call(daemon, "ListKeys", &json!({})).status, 200);
    let (code, status) = ctl::text(&["status", "--url", daemon.url()]);
    assert!(code == 1 && status.contains("NOT READY"), "{status}");
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success());
}

/// A copy of a stopped daemon's data, which can be put back in whole or in part.
struct Backup {
    copy: tempfile::TempDir,
}

impl Backup {
    fn of(daemon: &Daemon) -> Self {
        let copy_dir = tempfile::tempdir().expect("a directory");
        copy(daemon.data(), &copy_dir.path().join("data"));
        Self { copy: copy_dir }
    }

    fn restore(&self, daemon: &Daemon, names: &[&str]) {
        for name in names {
            let (from, to) = (self.path().join(name), daemon.data().join(name));
            if to.is_file() {
                fs::remove_file(&to).expect("removed");
            }
            copy(&from, &to);
        }
    }

    fn path(&self) -> PathBuf {
        self.copy.path().join("data")
    }
}

/// The code of the command that a refusal names.
fn code_in(said: &str) -> String {
    let at = said.find("kmsctl accept ").unwrap_or_else(|| panic!("no way on in: {said}"));
    said[at + 14..].chars().take_while(char::is_ascii_hexdigit).collect()
}

fn accept(daemon: &Daemon, code: &str) -> Value {
    let data = daemon.data().to_str().expect("UTF-8");
    let (exit, accepted) = ctl::run(&["accept", code, "--data", data]);
    assert_eq!(exit, 0, "{accepted}");
    accepted
}

/// Audit events of this name.
fn events(daemon: &Daemon, name: &str) -> Vec<Value> {
    let mut files: Vec<PathBuf> = fs::read_dir(daemon.data().join("audit"))
        .expect("a log")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    files.sort();
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("text")).collect();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.map(|line| line["record"].clone()).filter(|record| record["eventName"] == name).collect()
}

fn assert_intact(daemon: &Daemon) {
    let (intact, report) = ctl::verify(&daemon.data().join("audit"));
    assert!(intact, "{report}");
}

#[test]
fn keys_whose_devices_are_gone_get_no_new_domain() {
    lose_and_restore("soft", "soft-0.flash");
}

#[test]
fn nor_do_those_of_emulated_devices() {
    assert!(firmware_of("qemu_riscv32").is_file());
    lose_and_restore("qemu", "qemu-0/flash.img");
}

fn lose_and_restore(hsm: &str, flash: &str) {
    let mut daemon = Daemon::start(&[hsm]);
    let key = create(&daemon);
    let blob = encrypt(&daemon, &key);
    let devices = readiness(&daemon).2["devices"].clone();
    let (device, domain) = (devices[0]["device"].clone(), devices[0]["domain"].clone());
    assert!(daemon.stop().success());
    let backup = Backup::of(&daemon);
    fs::remove_dir_all(daemon.data().join("hsm")).expect("removed");

    for _ in 0..2 {
        daemon.restart();
        assert_without_devices(&daemon, &blob);
        let (_, problems, _) = readiness(&daemon);
        for part in [
            device.as_str().expect("an id"),
            domain.as_str().expect("an id"),
            "every one of them is lost for ever",
            &format!("{flash} (no file)"),
            "Restore the flash",
            "fresh data directory",
        ] {
            assert!(problems.contains(part), "{part} is not in {problems}");
            assert!(daemon.output().contains(part), "{part} is not in the log");
        }
        assert!(!daemon.data().join("hsm").exists(), "something was made in its place");
        assert!(daemon.stop().success());
    }
    // It comes back while the daemon runs.
    daemon.restart();
    backup.restore(&daemon, &["hsm"]);
    await_devices(&daemon, 1);
    await_problem(&daemon, None);
    assert_opens(&daemon, &blob);
    assert_eq!(keys(&daemon), 1);
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

/// A Region is a domain: one that is lost is not made anew, and the other goes on.
#[tokio::test]
async fn one_region_is_gone_and_the_other_is_served() {
    use aws_sdk_kms::primitives::Blob;
    use hsm_tests::sdk::{client_in, code};

    let arguments = ["--region", "us-east-1,eu-west-1"];
    let mut daemon = Daemon::start_with(&["soft"], &arguments);
    let make = async |region: &'static str, daemon: &Daemon| {
        let made = client_in(region, daemon).create_key().send().await.expect("made");
        made.key_metadata.expect("metadata").key_id
    };
    let encrypt = async |region: &'static str, key: &str, daemon: &Daemon| {
        let call = client_in(region, daemon).encrypt().key_id(key).plaintext(Blob::new("x"));
        call.send().await
    };
    let (here, there) = (make("us-east-1", &daemon).await, make("eu-west-1", &daemon).await);
    assert!(daemon.stop().success());
    fs::remove_dir_all(daemon.data().join("hsm/eu-west-1")).expect("removed");
    daemon.restart();
    let (ready, problems, _) = readiness(&daemon);
    assert!(!ready && problems.contains("the keys of eu-west-1"), "{problems}");
    encrypt("us-east-1", &here, &daemon).await.expect("this Region has its device");
    assert_eq!(code(encrypt("eu-west-1", &there, &daemon).await), "KeyUnavailableException");
    let made = client_in("eu-west-1", &daemon).create_key().send().await;
    assert_eq!(code(made), "DependencyTimeoutException");
    assert!(!daemon.data().join("hsm/eu-west-1").exists());
}

/// Regions that are opened as they are used are no exception.
#[tokio::test]
async fn nor_is_a_region_of_a_development_daemon() {
    use hsm_tests::sdk::{client_in, code};

    let mut daemon = Daemon::start_with(&["soft"], &["--region", "any", "--dev"]);
    client_in("eu-west-3", &daemon).create_key().send().await.expect("made");
    assert!(daemon.stop().success());
    fs::remove_dir_all(daemon.data().join("hsm")).expect("removed");
    daemon.restart();
    let (ready, problems, _) = readiness(&daemon);
    assert!(!ready && problems.contains("the keys of eu-west-3"), "{problems}");
    let made = client_in("eu-west-3", &daemon).create_key().send().await;
    assert_eq!(code(made), "DependencyTimeoutException");
    assert!(!daemon.data().join("hsm/eu-west-3").exists());
    // A Region without keys has nothing to lose, and one that is new is made as ever.
    client_in("ap-south-1", &daemon).create_key().send().await.expect("made");
}

#[test]
fn a_device_of_another_domain_does_not_serve_the_keys() {
    let mut daemon = Daemon::start(&["soft"]);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let backup = Backup::of(&daemon);
    let mut other = Daemon::start(&["soft"]);
    assert!(other.stop().success());
    // With its host keys, so that nothing but the domain stands in the way.
    Backup::of(&other).restore(&daemon, &["hsm", "hosts"]);
    fs::remove_file(daemon.data().join("hsm/us-east-1/mark.json")).expect("it tells too");
    for registry in [true, false] {
        if !registry {
            fs::remove_file(daemon.data().join("hsm/us-east-1/devices.json")).expect("removed");
        }
        daemon.restart();
        assert_without_devices(&daemon, &blob);
        let (_, problems, _) = readiness(&daemon);
        assert!(problems.contains("belongs to domain"), "{problems}");
        assert!(daemon.stop().success());
    }
    backup.restore(&daemon, &["hsm", "hosts"]);
    daemon.restart();
    assert_opens(&daemon, &blob);
    assert_eq!(keys(&daemon), 1, "a key of another domain is in the store");
}

/// The same on a line to a device that somebody else looks after.
#[test]
fn a_device_on_a_line_is_waited_for_and_never_replaced_in_silence() {
    let boards = tempfile::tempdir().expect("a directory");
    let (own, fresh) = (boards.path().join("own.flash"), boards.path().join("fresh.flash"));
    let plug = Plug::empty();
    plug.plug(&own);
    let mut daemon = Daemon::stopped(&[plug.line()]);
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    let provision = || ctl::run(&["hsm", "provision", "--data", &data, plug.line()]).0;
    assert_eq!(provision(), 0);
    daemon.restart();
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());

    // Nobody there: the daemon starts, says so, and goes on once it is.
    plug.unplug();
    daemon.restart();
    assert_without_devices(&daemon, &blob);
    await_problem(&daemon, Some(plug.line()));
    plug.plug(&own);
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());

    // A fresh one, and nobody remembers the first but the store.
    plug.plug(&fresh);
    fs::remove_dir_all(daemon.data().join("hsm")).expect("removed");
    daemon.restart();
    assert_without_devices(&daemon, &blob);
    await_problem(&daemon, Some("not provisioned"));
    assert!(daemon.stop().success());
    assert_ne!(provision(), 0, "a new domain was made under the store");
    assert!(!daemon.data().join("hsm").exists());
    plug.plug(&own);
    daemon.restart();
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
}

#[test]
fn an_older_store_is_refused_until_it_is_accepted() {
    let mut daemon = Daemon::start(&["soft"]);
    let first = create(&daemon);
    assert!(daemon.stop().success());
    let old = Backup::of(&daemon);
    daemon.restart();
    let later = [create(&daemon), create(&daemon)];
    assert!(daemon.stop().success());
    let new = Backup::of(&daemon);

    old.restore(&daemon, &["store.redb"]);
    let log = daemon.data().join("audit");
    let before = ctl::verify(&log).1["tip"].clone();
    let said = daemon.restart_refused();
    assert!(said.contains("is an older copy") && said.contains("2 keys are missing"), "{said}");
    assert!(later.iter().all(|arn| said.contains(arn)) && !said.contains(&first), "{said}");
    assert!(said.contains("Restore store.redb, audit and hsm from one backup"), "{said}");
    let code = code_in(&said);
    assert_eq!(code_in(&daemon.restart_refused()), code, "the same thing has the same code");
    assert_eq!(ctl::verify(&log).1["tip"], before, "a refusal writes nothing");
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    assert_eq!(ctl::run(&["accept", "00000000", "--data", &data]).0, 2);
    assert_eq!(code_in(&daemon.restart_refused()), code, "another code accepts nothing");

    // What belongs together starts.
    new.restore(&daemon, &["store.redb"]);
    daemon.restart();
    assert_eq!(keys(&daemon), 3);
    assert!(daemon.stop().success());

    // What was accepted starts, for good, and the log tells of it.
    old.restore(&daemon, &["store.redb"]);
    let code = code_in(&daemon.restart_refused());
    let accepted = accept(&daemon, &code);
    assert!(accepted["reason"].as_str().is_some_and(|text| text.contains(&later[0])), "{accepted}");
    daemon.restart();
    assert_eq!(keys(&daemon), 1);
    create(&daemon);
    assert!(daemon.stop().success());
    daemon.restart();
    assert!(daemon.stop().success());
    let events = events(&daemon, "AcceptMismatch");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["serviceEventDetails"]["code"], code);
    assert_intact(&daemon);
    assert!(!daemon.data().join("acceptance.json").exists());

    // The one that was given up is another store by now.
    new.restore(&daemon, &["store.redb"]);
    let said = daemon.restart_refused();
    assert!(said.contains("is not the one that the audit log"), "{said}");
}

#[test]
fn a_missing_store_is_refused_until_it_is_accepted() {
    let mut daemon = Daemon::start(&["soft"]);
    let key = create(&daemon);
    assert!(daemon.stop().success());
    let store = daemon.data().join("store.redb");
    fs::remove_file(&store).expect("removed");
    let said = daemon.restart_refused();
    assert!(said.contains("There is no store") && said.contains(&key), "{said}");
    assert!(!store.exists(), "a refusal makes no store");
    fs::write(&store, "").expect("written");
    let again = daemon.restart_refused();
    assert_eq!(code_in(&again), code_in(&said), "an empty one is none");
    accept(&daemon, &code_in(&said));
    daemon.restart();
    assert_eq!(keys(&daemon), 0);
    create(&daemon);
    assert!(daemon.stop().success());
    daemon.restart();
    assert_eq!(keys(&daemon), 1);
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "AcceptMismatch").len(), 1);
    assert_intact(&daemon);
}

#[test]
fn an_audit_log_that_is_gone_or_older_is_refused_until_it_is_accepted() {
    let mut daemon = Daemon::start(&["soft"]);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let old = Backup::of(&daemon);
    daemon.restart();
    assert_opens(&daemon, &blob); // no change of the store
    assert!(daemon.stop().success());
    let new = Backup::of(&daemon);

    old.restore(&daemon, &["audit"]);
    let said = daemon.restart_refused();
    assert!(said.contains("audit log (audit) is an older copy"), "{said}");
    new.restore(&daemon, &["audit"]);
    daemon.restart();
    assert!(daemon.stop().success());

    fs::remove_dir_all(daemon.data().join("audit")).expect("removed");
    let said = daemon.restart_refused();
    assert!(said.contains("There is no audit log"), "{said}");
    accept(&daemon, &code_in(&said));
    daemon.restart();
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    daemon.restart();
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "AcceptMismatch").len(), 1);
    assert_intact(&daemon);

    // Another installation's log.
    let mut other = Daemon::start(&["soft"]);
    create(&other);
    assert!(other.stop().success());
    Backup::of(&other).restore(&daemon, &["audit"]);
    let said = daemon.restart_refused();
    assert!(said.contains("does not belong together"), "{said}");
}

#[test]
fn what_was_backed_up_together_is_restored_together() {
    let mut daemon = Daemon::start(&["soft:2"]);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let old = Backup::of(&daemon);
    for _ in 0..3 {
        daemon.restart();
        create(&daemon);
        assert!(daemon.stop().success());
    }
    let new = Backup::of(&daemon);
    let everything = ["store.redb", "audit", "hsm"];
    old.restore(&daemon, &everything);
    daemon.restart();
    await_devices(&daemon, 2);
    assert_eq!(keys(&daemon), 1);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    assert_intact(&daemon);

    // Store and log alone: the devices' files know that there was more.
    new.restore(&daemon, &everything);
    old.restore(&daemon, &["store.redb", "audit"]);
    let said = daemon.restart_refused();
    assert!(said.contains("devices' files (hsm/us-east-1) know"), "{said}");
    accept(&daemon, &code_in(&said));
    daemon.restart();
    await_devices(&daemon, 2);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

/// The device counts its boots: with an older flash it is behind the log, and catches up after some
/// starts. That must not make it pass.
#[test]
fn an_older_flash_is_refused_at_every_start_until_it_is_accepted() {
    let mut daemon = Daemon::start(&["soft"]);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let old = Backup::of(&daemon);
    for _ in 0..2 {
        daemon.restart();
        assert_opens(&daemon, &blob);
        assert!(daemon.stop().success());
    }
    old.restore(&daemon, &["hsm"]);
    let mut codes = Vec::new();
    for _ in 0..5 {
        daemon.restart();
        await_problem(&daemon, Some("is older than the audit log"));
        assert_eq!(get(&daemon, "/healthz").status, 200);
        let (ready, problems, _) = readiness(&daemon);
        assert!(!ready && problems.contains("hosts that were removed since"), "{problems}");
        codes.push(code_in(&problems));
        if codes.len() == 5 {
            assert_eq!(decrypt(&daemon, &blob).code(), "KeyUnavailableException");
        }
        assert!(daemon.stop().success());
    }
    codes.dedup();
    assert_eq!(codes.len(), 1, "{codes:?}");
    // Accepted while the daemon runs.
    daemon.restart();
    accept(&daemon, &codes[0]);
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "DeviceOlderThanLog").len(), 1);
    assert_eq!(events(&daemon, "AcceptOlderDevice").len(), 1);
    assert_intact(&daemon);
    daemon.restart();
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

#[test]
fn one_of_two_devices_is_older_and_the_other_serves() {
    let mut daemon = Daemon::start(&["soft:2"]);
    await_devices(&daemon, 2);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let old = Backup::of(&daemon);
    for _ in 0..2 {
        daemon.restart();
        await_devices(&daemon, 2);
        // Each has some.
        for _ in 0..16 {
            assert_opens(&daemon, &blob);
        }
        assert!(daemon.stop().success());
    }
    let flash = "hsm/us-east-1/soft-1.flash";
    old.restore(&daemon, &[flash]);
    daemon.restart();
    await_problem(&daemon, Some("soft-1 of us-east-1 is not in service"));
    await_problem(&daemon, Some("is older than the audit log"));
    let (ready, ..) = readiness(&daemon);
    assert!(ready, "the other device serves");
    assert_opens(&daemon, &blob);
}

#[test]
fn one_flash_of_two_is_gone_and_a_fresh_device_takes_its_place_when_asked() {
    let mut daemon = Daemon::start(&["soft:2"]);
    await_devices(&daemon, 2);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let flash = daemon.data().join("hsm/us-east-1/soft-0.flash");
    fs::remove_file(&flash).expect("removed");
    for _ in 0..2 {
        daemon.restart();
        await_devices(&daemon, 1);
        assert_opens(&daemon, &blob);
        await_problem(&daemon, Some("kmsctl hsm forget soft-0"));
        assert!(readiness(&daemon).0, "one device is enough");
        let (code, status) = ctl::text(&["status", "--url", daemon.url()]);
        assert!(code == 0 && status.contains("soft-0 is missing"), "{status}");
        assert!(daemon.output().contains("soft-0 is missing"), "{}", daemon.output());
        assert!(!flash.exists(), "another device was made in its place");
        assert!(daemon.stop().success());
    }
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    let (code, done) = ctl::run(&["hsm", "forget", "soft-0", "--data", &data]);
    assert_eq!((code, &done["lines"]), (0, &json!(["soft-0"])), "{done}");
    daemon.restart();
    await_devices(&daemon, 2);
    await_problem(&daemon, None);
    let (_, _, report) = readiness(&daemon);
    assert_eq!(report["devices"][0]["domain"], report["devices"][1]["domain"]);
    for _ in 0..8 {
        assert_opens(&daemon, &blob);
    }
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

#[test]
fn a_flash_that_is_left_behind_is_told_and_erased() {
    let mut daemon = Daemon::start(&["soft:2"]);
    await_devices(&daemon, 2);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    daemon.replace_hsms(&["soft"]);
    daemon.restart();
    let (ready, problems, _) = readiness(&daemon);
    assert!(ready && problems.contains("kmsctl hsm erase soft-1"), "{problems}");
    assert!(daemon.output().contains("kmsctl hsm erase soft-1"));
    let (_, status) = ctl::text(&["status", "--url", daemon.url()]);
    assert!(status.contains("kmsctl hsm erase soft-1"), "{status}");
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    let erase = |name: &str| ctl::run(&["hsm", "erase", name, "--data", &data, "--yes"]);
    assert_eq!(erase("soft-1").0, 2, "the daemon runs");
    assert!(daemon.stop().success());

    // Another name of the file shows what is left in its blocks.
    let flash = daemon.data().join("hsm/us-east-1/soft-1.flash");
    let kept = daemon.data().join("kept");
    fs::hard_link(&flash, &kept).expect("linked");
    let (code, done) = erase("soft-1");
    assert_eq!((code, &done["zeroised"]), (0, &json!(true)), "{done}");
    assert!(!flash.exists());
    assert!(fs::read(&kept).expect("read").iter().all(|byte| *byte == 0), "it was not overwritten");
    assert_eq!(erase("soft-0").0, 2, "the last one is not erased by this");
    daemon.restart();
    await_problem(&daemon, None);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    // A Region that is no longer served leaves its flash as well.
    daemon.replace_arguments(&["--region".to_owned(), "eu-west-1".to_owned()]);
    daemon.restart();
    let (_, problems, _) = readiness(&daemon);
    let erase = "kmsctl hsm erase soft-0 --region us-east-1";
    assert!(problems.contains("(--region us-east-1)") && problems.contains(erase), "{problems}");
    assert!(daemon.stop().success());
    daemon.replace_arguments(&[]);
    // A device of that name is a fresh one, and joins.
    daemon.replace_hsms(&["soft:2"]);
    daemon.restart();
    await_devices(&daemon, 2);
    assert_opens(&daemon, &blob);
}

/// Whatever moment the daemon is killed at, what it leaves belongs together.
#[test]
fn no_kill_makes_a_start_refused() {
    let mut random = seed::random("no_kill_makes_a_start_refused");
    let mut daemon = Daemon::stopped(&["soft"]);
    let mut made = 0;
    for kill in 0..KILLS {
        // Now in the middle of a start, the first included.
        let said = daemon.kill_while_starting(Duration::from_millis(random.u64(1..600)));
        assert!(!said.contains("does not belong together"), "kill {kill}: {said}");
        if kill % 4 != 0 {
            continue;
        }
        daemon.restart();
        assert!(keys(&daemon) >= made, "kill {kill}: acknowledged keys are gone");
        // Now in the middle of changes.
        let patience = Duration::from_millis(random.u64(20..400));
        made += thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| make_keys(&daemon))).collect();
            thread::sleep(patience);
            signal_process(daemon.id(), Signal::KILL);
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum::<usize>()
        });
        daemon.kill();
    }
    daemon.restart();
    assert!(keys(&daemon) >= made && made > 0, "{made} keys were acknowledged");
    eprintln!("{made} keys acknowledged over {KILLS} kills while starting");
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "AcceptMismatch").len(), 0);
    assert_eq!(events(&daemon, "DeviceOlderThanLog").len(), 0);
    assert_intact(&daemon);
}

/// Makes some keys, and returns how many were acknowledged before the daemon was gone.
fn make_keys(daemon: &Daemon) -> usize {
    let request = || Request::new("CreateKey", "{}").signed(daemon).to_bytes(daemon.address());
    let make = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(daemon.address())?;
        stream.write_all(&request())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status == *b"HTTP/1.1 200")
    };
    (0..8).map_while(|_| make().ok()).filter(|made| *made).count()
}
