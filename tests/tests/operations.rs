//! `docs/operations.md`, typed line by line: every command of the page is run here, and what the page
//! says one sees is compared.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use hsm_firmware::board::host::{
    Config as DeviceConfig, FlashImage, HostDevice, Registry, tcp_reader,
};
use hsm_tests::patience::PATIENCE;
use serde_json::Value;

#[path = "operations/machine.rs"]
mod machine;

use machine::{Machine, Step, section};

/// A test for each heading, and the list of them.
macro_rules! page {
    ($($heading:literal: $test:ident;)+) => {
        mod page {
            use super::machine::sections;

            $(
                #[test]
                fn $test() {
                    super::$test($heading);
                }
            )+

            #[test]
            fn every_command_is_run() {
                // What has no heading is typed before each of the others.
                let run = ["", $($heading),+];
                let on_page: Vec<String> = sections().into_iter().map(|(name, _)| name).collect();
                assert_eq!(on_page, run);
            }
        }
    };
}

page! {
    "Once: a passphrase for backups": a_passphrase;
    "Once: a trust anchor for the audit log": an_anchor;
    "How are we?": what_there_is;
    "Back up": a_backup;
    "Check a backup": a_look_at_a_backup;
    "Restore": a_restore;
    "Upgrade": an_upgrade;
    "Move to another machine": a_move;
    "Let a second device join": a_second_device;
    "Replace a device on a line": a_new_device_on_a_line;
    "Replace a device in the data directory": a_new_device_in_the_directory;
    "Take a host away": a_host_goes;
    "Take a device away": a_device_goes;
    "Take everything away": all_goes;
    "Start anew": a_new_beginning;
}

fn a_passphrase(_: &str) {
    let machine = Machine::new(&["soft:1"], &[]);
    let file = machine.path("/etc/strongroom/backup.passphrase");
    assert_eq!(fs::read(&file).expect("made").len(), 33);
    assert_eq!(fs::metadata(&file).expect("made").permissions().mode() & 0o777, 0o600);
}

fn an_anchor(heading: &str) {
    let machine = Machine::running(&["soft:1"], &[]);
    anchored(&machine, heading);
    machine.seal();
    machine.run("sudo systemctl stop strongroom");
    let verify = "audit verify /var/lib/strongroom/audit --trust-anchor /backup/anchor.json";
    let report = machine.json(verify);
    assert_eq!(report["verdict"], "proven", "{report}");
}

/// Writes the anchor once the device has vouched for the log.
fn anchored(machine: &Machine, heading: &str) {
    let by = Instant::now() + PATIENCE;
    while !machine.events().contains("\"kind\":\"checkpoint\"") {
        assert!(Instant::now() < by, "no checkpoint");
        thread::sleep(Duration::from_millis(50));
    }
    machine.follow(heading);
}

const ANCHOR: &str = "Once: a trust anchor for the audit log";

fn what_there_is(heading: &str) {
    let machine = Machine::running(&["soft:1"], &[]);
    machine.seal();
    machine.status_with(|status| status["losses"][0]["keys"] == 1);
    machine.follow(heading);
    let text = machine.run("kmsctl status");
    let risk = text.split_once("AT RISK\n").expect("it is reported").1;
    assert!(risk.lines().all(|line| line.chars().count() <= 80), "{risk}");
    // The first start with a fresh domain has said so.
    let log = fs::read_to_string(machine.root.path().join("log")).expect("read");
    assert!(
        log.contains("If soft-0 is lost, every key that us-east-1 gets is permanently lost"),
        "{log}"
    );
}

fn a_backup(heading: &str) {
    let machine = Machine::running(&["soft:1"], &[]);
    let (blob, process) = (machine.seal(), machine.process());
    machine.follow(heading);
    assert_eq!(machine.process(), process, "nothing was stopped");
    assert!(machine.opens(&blob));
    let status = machine.status_with(|status| !status["lastBackup"].is_null());
    assert_eq!(status["losses"], serde_json::json!([]), "{status:#}");
    let path = machine.path("/backup/strongroom.1").display().to_string();
    assert_eq!(status["lastBackup"]["path"], path);
    let events = machine.events();
    assert!(events.contains("\"CompleteBackup\"") && events.contains(&path));
    machine.run("sudo systemctl stop strongroom");
    let told = machine.json("hsm provision soft --data /var/lib/strongroom");
    assert!(told["loss"].is_null(), "{told}");
    // What it was made of is not left in the data directory.
    assert!(!machine.path("/var/lib/strongroom/backup").exists());
}

fn a_look_at_a_backup(heading: &str) {
    let machine = Machine::running(&["soft:1"], &[]);
    anchored(&machine, ANCHOR);
    machine.seal();
    machine.follow("Back up");
    machine.follow(heading);
}

fn a_restore(heading: &str) {
    let machine = Machine::running(&["soft:1"], &[]);
    anchored(&machine, ANCHOR);
    let before = machine.seal();
    machine.follow("Back up");
    let after = machine.seal();
    machine.follow(heading);
    assert!(machine.opens(&before) && !machine.opens(&after));
    assert!(machine.events().contains("\"RestoreBackup\""));
    assert!(machine.path("/var/lib/strongroom.old/store.redb").exists());
    let verify = "kmsctl audit verify /var/lib/strongroom/audit --trust-anchor /backup/anchor.json";
    machine.run(&format!("{verify} || test $? = 3"));
    let status = machine.status_with(|status| !status["lastBackup"].is_null());
    assert_eq!(status["losses"], serde_json::json!([]), "{status:#}");
}

fn an_upgrade(heading: &str) {
    let machine = Machine::running(&["soft:1"], &[]);
    anchored(&machine, ANCHOR);
    let blob = machine.seal();
    machine.follow(heading);
    assert!(machine.opens(&blob));
}

fn a_move(heading: &str) {
    let old = Machine::running(&["soft:1"], &[]);
    let blob = old.seal();
    let moved = old.path("/backup/moving").display().to_string();
    let new = Machine::new(&["soft:1"], &[]).named("FILE-ON-OLD", &moved);
    fs::copy(
        old.path("/etc/strongroom/backup.passphrase"),
        new.path("/etc/strongroom/backup.passphrase"),
    )
    .expect("it came along");
    let steps = section(heading);
    let (first, second): (Vec<Step>, Vec<Step>) =
        steps.into_iter().partition(|step| step.on == "old");
    old.type_in(&first);
    let of_old = |step: Step| {
        let command = step.command.replace("cat /backup/moving", "cat FILE-ON-OLD");
        Step { command, ..step }
    };
    let second: Vec<Step> = second.into_iter().map(of_old).collect();
    new.type_in(&second);
    assert!(new.opens(&blob));
    assert!(old.process().is_none());
}

fn a_second_device(heading: &str) {
    let machine = with_lines(&["tcp:hsm-a:9000"]);
    let blob = machine.seal();
    machine.status_with(|status| status["losses"][0]["keys"] == 1);
    machine.follow(heading);
    let status = machine.status_with(|status| in_service(status) == 2);
    assert_eq!(status["losses"], serde_json::json!([]), "{status:#}");
    machine.only("tcp:hsm-b:9000");
    assert!(machine.opens(&blob));
}

fn a_new_device_on_a_line(heading: &str) {
    let machine = with_lines(&["tcp:hsm-a:9000", "tcp:hsm-b:9000"]);
    let blob = machine.seal();
    machine.follow(heading);
    machine.only("tcp:hsm-c:9000");
    assert!(machine.opens(&blob));
}

fn a_new_device_in_the_directory(heading: &str) {
    let machine = Machine::running(&["soft:2"], &[]);
    let blob = machine.seal();
    machine.run("sudo systemctl stop strongroom");
    let flash = machine.path("/var/lib/strongroom/hsm/us-east-1/soft-1.flash");
    fs::remove_file(&flash).expect("it was there");
    machine.follow(heading);
    assert!(machine.opens(&blob) && flash.exists());
    machine.status_with(|status| in_service(status) == 2);
}

fn a_host_goes(heading: &str) {
    let machine = with_lines(&["tcp:hsm-a:9000"]);
    let blob = machine.seal();
    let other = Machine::new(&["tcp:hsm-a:9000"], &[]);
    let key = other.json("hsm key --data /var/lib/strongroom");
    let key = key["cryptoUser"].as_str().expect("a key").to_owned();
    machine.run("sudo systemctl stop strongroom");
    let enrolled =
        machine.json(&format!("hsm enrol tcp:hsm-a:9000 --key {key} --data /var/lib/strongroom"));
    machine.run("sudo systemctl start strongroom");
    let host = enrolled["host"].as_str().expect("a host").to_owned();
    let machine = machine.named("$FINGERPRINT", &host);
    machine.follow(heading);
    assert!(machine.opens(&blob));
    machine.run("sudo systemctl stop strongroom");
    let hosts = machine.json("hsm hosts tcp:hsm-a:9000 --data /var/lib/strongroom");
    assert!(!hosts.to_string().contains(&host), "{hosts}");
}

fn a_device_goes(heading: &str) {
    let machine = with_lines(&["tcp:hsm-a:9000", "tcp:hsm-b:9000"]);
    let blob = machine.seal();
    machine.follow(heading);
    assert!(machine.opens(&blob));
    let state = machine.run("kmsctl --json hsm status tcp:hsm-b:9000 || true");
    assert!(state.contains("\"Zeroised\"") || state.contains("\"Uninitialised\""), "{state}");
}

fn all_goes(heading: &str) {
    let machine = Machine::running(&["soft:1"], &[]);
    machine.seal();
    machine.follow("Back up");
    machine.follow(heading);
    for path in ["/var/lib/strongroom", "/backup/strongroom.1"] {
        assert!(!machine.path(path).exists(), "{path}");
    }
}

fn a_new_beginning(heading: &str) {
    let machine = Machine::running(&["soft:1"], &[]);
    let blob = machine.seal();
    machine.run("sudo systemctl stop strongroom");
    fs::remove_file(machine.path("/var/lib/strongroom/hsm/us-east-1/soft-0.flash"))
        .expect("it was there");
    machine.follow(heading);
    assert!(!machine.opens(&blob));
    assert!(machine.opens(&machine.seal()));
    assert!(machine.path("/var/lib/strongroom.lost/audit").exists());
}

/// How many devices are in service.
fn in_service(status: &Value) -> usize {
    let devices = status["devices"].as_array().into_iter().flatten();
    devices.filter(|device| device["inService"] == true).count()
}

/// A fresh device behind a TCP port; its line.
fn device() -> String {
    let config = DeviceConfig {
        flash: FlashImage::Memory,
        sealing_key: None,
        registry: Registry::default(),
    };
    let device = HostDevice::spawn(config).expect("it starts");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let writer = stream.expect("a line");
            let reader = tcp_reader(writer.try_clone().expect("cloned"));
            device.attach(reader, writer).expect("it runs");
        }
    });
    format!("tcp:{address}")
}

/// A machine with these of three devices, provisioned, and the daemon running.
fn with_lines(hsms: &[&str]) -> Machine {
    let lines = [device(), device(), device()];
    let names = [
        ("tcp:hsm-a:9000", lines[0].as_str()),
        ("tcp:hsm-b:9000", &lines[1]),
        ("tcp:hsm-c:9000", &lines[2]),
    ];
    let machine = Machine::new(hsms, &names);
    machine.run(&format!("kmsctl hsm provision --data /var/lib/strongroom {}", hsms.join(" ")));
    machine.run("sudo systemctl start strongroom");
    machine
}
