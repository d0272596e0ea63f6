//! Devices that are gone, exchanged, older than they were or left behind: the daemon runs, says what is
//! wrong and what to do, makes no new domain under keys, and goes on once a device is back.

use std::fs;

use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::device::Plug;
use hsm_tests::environment::firmware_of;
use hsm_tests::http::{await_devices, get};
use hsm_tests::losses::{
    Backup, accept, assert_intact, assert_opens, assert_without_devices, await_problem, code_in,
    create, decrypt, encrypt, events, keys, readiness,
};
use serde_json::json;

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
    let mut daemon = Daemon::start_with(&[hsm], &["--rsa-stock", "0,0,0"]);
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
            "every one of them is permanently lost",
            &format!("{flash} (no file)"),
            "Restore the flash",
            "fresh data directory",
        ] {
            assert!(problems.contains(part), "{part} is not in {problems}");
            daemon.await_output(part);
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

/// The devices' registry is there, and says whose flash is missing.
#[test]
fn the_only_flash_is_gone_and_that_is_told_with_what_it_means() {
    let mut daemon = Daemon::start(&["soft"]);
    let blob = encrypt(&daemon, &create(&daemon));
    let device = readiness(&daemon).2["devices"][0]["device"].clone();
    assert!(daemon.stop().success());
    let backup = Backup::of(&daemon);
    let flash = "hsm/us-east-1/soft-0.flash";
    fs::remove_file(daemon.data().join(flash)).expect("removed");
    daemon.restart();
    assert_without_devices(&daemon, &blob);
    let (_, problems, _) = readiness(&daemon);
    for part in [
        "soft-0 is missing",
        device.as_str().expect("an id"),
        "every one of them is permanently lost",
    ] {
        assert!(problems.contains(part), "{part} is not in {problems}");
        daemon.await_output(part);
    }
    assert!(!daemon.data().join(flash).exists(), "another device was made in its place");
    backup.restore(&daemon, &[flash]);
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
}

/// Which devices are the right ones is not known then, and nobody guesses.
#[test]
fn a_damaged_list_of_devices_is_told_and_the_port_is_open() {
    let mut daemon = Daemon::start(&["soft:2"]);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let backup = Backup::of(&daemon);
    let list = "hsm/us-east-1/devices.json";
    let path = daemon.data().join(list);
    for damaged in ["", "{", r#"{"format":1,"domain":"xy","devices":{}}"#, r#"{"format":2}"#] {
        fs::write(&path, damaged).expect("written");
        daemon.restart();
        assert_without_devices(&daemon, &blob);
        let (_, problems, _) = readiness(&daemon);
        for part in [
            "soft-0 of us-east-1 is not in service",
            "soft-1 of us-east-1 is not in service",
            "devices.json is damaged",
            "Put it back from a backup",
            "move it away",
            "restart kmsd",
        ] {
            assert!(problems.contains(part), "{part} is not in {problems}");
        }
        daemon.await_output("devices.json is damaged");
        assert!(daemon.stop().success());
        assert_eq!(fs::read_to_string(&path).expect("there"), damaged, "it is left as it is");
    }
    backup.restore(&daemon, &[list]);
    daemon.restart();
    await_devices(&daemon, 2);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    // Moved away: the devices are of the domain that the keys are of.
    fs::remove_file(&path).expect("removed");
    daemon.restart();
    await_devices(&daemon, 2);
    assert_opens(&daemon, &blob);
    assert!(path.is_file());
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

/// Regions that are opened as they are used are not an exception.
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
        daemon.await_output("soft-0 is missing");
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
    daemon.await_output("kmsctl hsm erase soft-1");
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

/// A line in `devices.json` is not a device: what counts is a response with the domain's key.
#[test]
fn the_last_flash_with_the_domain_key_is_not_erased() {
    let mut daemon = Daemon::start(&["soft:2"]);
    await_devices(&daemon, 2);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let copy = Backup::of(&daemon);
    let region = daemon.data().join("hsm/us-east-1");
    let other = region.join("soft-1.flash");
    let stranger = {
        let mut stranger = Daemon::start(&["soft"]);
        assert!(stranger.stop().success());
        fs::read(stranger.data().join("hsm/us-east-1/soft-0.flash")).expect("read")
    };
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    let erase = |name: &str| ctl::run(&["hsm", "erase", name, "--data", &data, "--yes"]).0;
    let before = fs::read(region.join("soft-0.flash")).expect("read").len();
    for instead in [None, Some(Vec::new()), Some(vec![0xff; before]), Some(stranger)] {
        fs::remove_file(&other).expect("removed");
        if let Some(content) = &instead {
            fs::write(&other, content).expect("written");
        }
        assert_eq!(erase("soft-0"), 2, "{:?} bytes", instead.map(|content| content.len()));
        assert!(region.join("soft-0.flash").exists());
        copy.restore(&daemon, &["hsm/us-east-1/soft-1.flash"]);
    }
    daemon.restart();
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    // With the other one there it may go.
    assert_eq!(erase("soft-0"), 0);
    assert!(!region.join("soft-0.flash").exists());
    assert_eq!(erase("soft-1"), 2);
    daemon.restart();
    await_devices(&daemon, 2);
    assert_opens(&daemon, &blob);
}
