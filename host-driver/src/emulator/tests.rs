use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;

use super::*;

const LONG: Duration = Duration::from_secs(600);

/// A device whose emulator is a shell script.
struct Fake {
    directory: tempfile::TempDir,
    config: EmulatorConfig,
}

impl Fake {
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("emulator");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let firmware = directory.path().join("firmware.elf");
        fs::write(&firmware, "").unwrap();
        let mut machine = Machine::of_board("qemu_riscv32").unwrap().unwrap();
        machine.emulator = program.display().to_string();
        machine.flash.bytes = 4096;
        let config = EmulatorConfig {
            machine,
            firmware,
            directory: directory.path().join("device"),
            link: None,
            attachment: Attachment::Socket,
            arguments: Vec::new(),
        };
        Self { directory, config }
    }

    fn start(&self) -> Arc<Emulator> {
        Emulator::start(&self.config).unwrap()
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: u32) -> bool {
    // A killed process that nobody has waited for yet is a zombie, and not alive.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn killed_emulators_are_started_again_and_stopped_for_good() {
    let fake = Fake::new("exec sleep 600");
    let emulator = fake.start();
    until("it runs", || emulator.pid().is_some());
    let first = emulator.pid().unwrap();
    emulator.cut_power();
    until("it runs again", || emulator.pid().is_some_and(|pid| pid != first));
    assert_eq!(emulator.starts(), 2);
    let second = emulator.pid().unwrap();
    until("it is up", || is_alive(second));
    drop(emulator);
    assert!(!is_alive(first) && !is_alive(second));
}

#[test]
fn failing_emulators_are_started_with_growing_pauses() {
    let fake = Fake::new("echo cannot do that >&2; exit 3");
    let emulator = fake.start();
    let begin = Instant::now();
    until("it was started", || emulator.starts() >= 2);
    thread::sleep(Duration::from_millis(500));
    // Six in the half second, and less often after it.
    let most = 6 + begin.elapsed().as_millis() / 500;
    assert!(u128::from(emulator.starts()) <= most, "{}", emulator.starts());
    until("it is started again", || emulator.starts() >= 3);
    until("its output was read", || emulator.supervisor.last_output() == "cannot do that");
}

#[test]
fn a_pty_is_found_in_the_output() {
    let mut fake =
        Fake::new("echo 'char device redirected to /dev/pts/999 (label uart)'; exec sleep 600");
    fake.config.link = Some("uart".to_owned());
    fake.config.attachment = Attachment::Pty;
    let emulator = fake.start();
    until("it is known", || emulator.supervisor.pty().as_deref() == Some("/dev/pts/999"));
}

#[test]
fn the_command_line_names_the_devices_own_files() {
    let fake = Fake::new("echo \"$@\" > $(dirname $0)/arguments; exec sleep 600");
    let written = fake.directory.path().join("arguments");
    let _emulator = fake.start();
    let read = || fs::read_to_string(&written).unwrap_or_default();
    until("it has started", || !read().is_empty());
    let device = fs::canonicalize(&fake.config.directory).unwrap();
    assert!(read().contains(&format!("file={}/flash.img", device.display())), "{}", read());
}

#[test]
fn what_is_missing_is_named() {
    let mut fake = Fake::new("");
    fake.config.machine.emulator = "qemu-system-nonexistent".to_owned();
    let error = Emulator::start(&fake.config).unwrap_err().to_string();
    assert!(error.contains("apt-get install qemu-system-misc"), "{error}");

    let mut fake = Fake::new("");
    fake.config.firmware = "/nonexistent.elf".into();
    let error = Emulator::start(&fake.config).unwrap_err().to_string();
    assert!(error.contains("cargo xtask firmware"), "{error}");

    let mut fake = Fake::new("");
    fake.config.attachment = Attachment::Pty;
    assert!(matches!(Emulator::start(&fake.config), Err(EmulatorError::NoLink { .. })));
}

#[test]
fn a_device_is_emulated_once() {
    let fake = Fake::new("exec sleep 600");
    let _first = fake.start();
    assert!(matches!(Emulator::start(&fake.config), Err(EmulatorError::InUse { .. })));
}

/// The child of this test: starts an emulator, says its process id, and is killed.
#[test]
#[ignore = "run by the_emulator_dies_with_its_parent"]
fn parent_to_be_killed() {
    let fake = Fake::new("exec sleep 600");
    let emulator = fake.start();
    until("it runs", || emulator.pid().is_some());
    // With one thread the harness has begun a line.
    println!("\npid {}", emulator.pid().unwrap());
    thread::sleep(Duration::from_secs(600));
}

/// One whose parent has died before the kernel was told to end it with it.
#[cfg(target_os = "linux")]
#[test]
fn an_emulator_of_another_parent_does_not_start() {
    let run = |parent: u32| {
        let guard = ["--pdeathsig", "KILL", "--", "/bin/sh", "-c", process::ORPHAN, "sh"];
        let mut setpriv = Command::new("setpriv");
        setpriv.args(guard).arg(parent.to_string()).args(["echo", "a b"]).output().unwrap()
    };
    assert_eq!(run(std::process::id()).stdout, b"a b\n");
    let orphan = run(1);
    assert_eq!((orphan.status.code(), orphan.stdout.as_slice()), (Some(1), &b""[..]));
}

#[cfg(target_os = "linux")]
#[test]
fn the_emulator_dies_with_its_parent() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let arguments = ["--ignored", "--nocapture", "--exact", "emulator::tests::parent_to_be_killed"];
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pid = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("pid ").map(|pid| pid.parse().unwrap()))
        .unwrap();
    assert!(is_alive(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("the emulator is gone", || !is_alive(pid));
}
