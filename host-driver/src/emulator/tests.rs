//! The supervisor with a program that stands in for QEMU.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A machine whose emulator is a shell script; returns it with its directory, which must be on
/// the path by absolute name.
fn machine(directory: &Path, script: &str) -> Machine {
    let program = directory.join("emulator.sh");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!(
        "board = 'b'\nemulator = '{}'\ndebian_package = 'p'\nargs = []\n\
         flash = {{ bytes = 4096, erased = 255 }}\n\
         link.console = {{ socket = [], none = [] }}\nlink.uart = {{ pty = [], none = [] }}\n",
        program.display()
    );
    Machine::parse(&text).unwrap()
}

fn options(directory: &Path, script: &str, attachment: Attachment) -> Options {
    let firmware = directory.join("firmware.elf");
    fs::write(&firmware, "").unwrap();
    Options {
        machine: machine(directory, script),
        firmware,
        directory: directory.join("device"),
        attachment,
        extra: Vec::new(),
    }
}

fn wait_for<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let by = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < by, "nothing happened in time");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_blank_flash_is_made_and_kept_private() {
    let directory = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(options(directory.path(), "exec sleep 60", Attachment::Console));
    drop(emulator.unwrap());
    let flash = directory.path().join("device/flash.img");
    assert_eq!(fs::read(&flash).unwrap(), [0xff; 4096]);
    assert_eq!(fs::metadata(&flash).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&flash, "short").unwrap();
    let refused = Emulator::start(options(directory.path(), "", Attachment::Console)).err();
    assert!(refused.unwrap().to_string().contains("restore the image"));
}

#[test]
fn an_emulator_that_dies_is_started_again_and_stops_with_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), "exec sleep 60", Attachment::Console);
    let emulator = Emulator::start(options.clone()).unwrap();
    let first = wait_for(|| emulator.process());
    let in_use = Emulator::start(options).err().unwrap().to_string();
    assert!(in_use.contains("in use"), "{in_use}");
    Command::new("kill").args(["-9", &first.to_string()]).status().unwrap();
    let second = wait_for(|| emulator.process().filter(|process| *process != first));
    drop(emulator);
    assert!(!Path::new(&format!("/proc/{second}")).exists());
}

#[test]
fn the_pseudo_terminal_is_read_from_what_qemu_says() {
    let line = "char device redirected to /dev/pts/7 (label uart)";
    assert_eq!(pty_path(line), Some(PathBuf::from("/dev/pts/7")));
    assert_eq!(pty_path("something else"), None);
}

#[test]
fn what_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(directory.path(), "", Attachment::Console);
    options.machine.emulator = "qemu-system-none".to_owned();
    let missing = Emulator::start(options.clone()).err().unwrap().to_string();
    assert!(missing.contains("apt-get install p"), "{missing}");
    options.firmware = directory.path().join("none.elf");
    let missing = Emulator::start(options).err().unwrap().to_string();
    assert!(missing.contains("cargo xtask firmware"), "{missing}");
}
