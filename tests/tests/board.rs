//! What is particular to the emulated boards: their links, their start, their flash, their images.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hsm_protocol::command::decode;
use hsm_protocol::command::system::{LastReset, ResetReport, Status};
use hsm_protocol::frame::{FrameKind, Header};
use hsm_protocol::reset::ResetReason;
use hsm_protocol::{ErrorCode, ModuleState};
use hsm_tests::emulator::{Attachment, Emulator};
use hsm_tests::patience::{PATIENCE, until};
use hsm_tests::process::Process;
use hsm_tests::signed::Release;
use hsm_tests::wire::{Wire, encoded, request};
use hsm_tests::{environment, on_every_board, programs, seed};

on_every_board! {
    attached:
    an_idle_device_uses_no_processor_time,
    an_idle_device_feeds_the_watchdog,
    a_device_killed_while_it_starts_starts_again,
    a_damaged_image_is_the_error_state,
    a_start_takes_little_stack,
}

/// Requests that a host may have unanswered.
const WINDOW: u32 = 32;

/// Opens the line as a host does: a delimiter first, as a UART that starts may lose a byte.
fn open(emulator: &Emulator) -> Wire {
    let mut wire = Wire::new(emulator.connect());
    wire.send_bytes(&[0]);
    wire
}

fn plain(sequence: u32) -> Header {
    Header { kind: FrameKind::PlainRequest, session: 0, sequence }
}

#[test]
fn a_whole_window_is_answered_in_order_on_every_link() {
    for link in Attachment::all() {
        let directory = tempfile::tempdir().expect("a directory");
        let emulator = Emulator::boot(directory.path(), link);
        let mut wire = open(&emulator);
        wire.status(); // it is up
        let begin = Instant::now();
        let rounds = 20;
        for round in 0..rounds {
            let burst: Vec<u8> =
                (0..WINDOW).flat_map(|n| encoded(plain(n), &request(&Status, None, 1))).collect();
            wire.send_bytes(&burst);
            for n in 0..WINDOW {
                let answer = wire.receive(PATIENCE).expect("every request gets an answer");
                let expected = Header { kind: FrameKind::PlainResponse, ..plain(n) };
                assert_eq!(answer.header, expected, "{link:?}, round {round}");
            }
        }
        let rate = f64::from(rounds * WINDOW) / begin.elapsed().as_secs_f64();
        eprintln!("{link:?}: {rate:.0} requests/s, {WINDOW} outstanding");
    }
}

#[test]
fn garbage_for_ten_seconds_costs_nothing_but_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = seed::random("garbage");
    for link in [Attachment::CONSOLE, Attachment::UART_PTY] {
        let emulator = Emulator::boot(directory.path(), link);
        let mut wire = open(&emulator);
        let before = wire.status();
        let end = Instant::now() + Duration::from_secs(10);
        let mut sent = 0;
        while Instant::now() < end {
            let noise: Vec<u8> = (0..random.usize(1..4096)).map(|_| random.u8(..)).collect();
            wire.send_bytes(&noise);
            sent += noise.len();
            // Half-way between "as fast as it goes" and the pace of the line.
            thread::sleep(Duration::from_millis(random.u64(0..25)));
        }
        // What is queued in between is served first, at the pace of a UART.
        let after = wire.try_status(PATIENCE).expect("the next good request");
        assert_eq!((after.device, after.epoch), (before.device, before.epoch), "{link:?}");
        eprintln!("{link:?}: {sent} bytes of garbage");
    }
}

fn an_idle_device_uses_no_processor_time(board: Attachment) {
    let used = |process: u32| {
        let path = format!("/proc/{process}/stat");
        let stat = fs::read_to_string(path).expect("a running process");
        // Fields after the name, which ends with a parenthesis: user and system time, in ticks.
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split(' ').collect();
        [12, 13].map(|field: usize| fields[field].parse::<u32>().expect("a number")).iter().sum()
    };
    let directory = tempfile::tempdir().expect("a directory");
    let mut emulator = Emulator::boot(directory.path(), board);
    open(&emulator).status();
    // Beside a program that never waits, which gets what this machine has left for one: a device
    // that does not sleep gets as much.
    let mut busy = Process::start(Command::new("sh").args(["-c", "while :; do :; done"]));
    let processes = [emulator.process().id(), busy.id()];
    let before: [u32; 2] = processes.map(used);
    until("it has had two seconds of a processor", || used(busy.id()) - before[1] >= 200);
    let [idle, all] = [0, 1].map(|index| used(processes[index]) - before[index]);
    busy.kill();
    // The emulator's own house-keeping is allowed a few ticks.
    assert!(idle <= all / 20, "{board:?}: {idle} ticks beside {all}");
}

/// Takes two periods of the watchdog.
fn an_idle_device_feeds_the_watchdog(board: Attachment) {
    if let Err(reason) = programs::nightly() {
        programs::skip(&format!("two idle minutes of {board:?}"), &reason);
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let emulator = Emulator::boot(directory.path(), board);
    let mut wire = open(&emulator);
    wire.synchronise();
    let epoch = wire.status().epoch;
    thread::sleep(Duration::from_secs(130));
    let report = wire.plain(&LastReset).expect("it is answered in every state");
    let expected = ResetReport { reason: ResetReason::POWER_ON, failures: 0 };
    assert_eq!((wire.status().epoch, decode(&report)), (epoch, Ok(expected)), "{board:?}");
}

fn a_start_takes_little_stack(board: Attachment) {
    let path = environment::root().join("hsm-firmware/boards.toml");
    let rows: toml::Table = fs::read_to_string(&path).expect("a file").parse().expect("TOML");
    let most = rows[board.board()]["start_stack"].as_integer().expect("a number");
    let directory = tempfile::tempdir().expect("a directory");
    // The first start makes an identity, the second one finds it.
    for start in ["first", "second"] {
        let mut emulator = Emulator::boot(directory.path(), board);
        let status = open(&emulator).status();
        emulator.kill();
        let peak = status.stack_peak;
        eprintln!("{board:?}: {peak} bytes of stack in its {start} start");
        assert!((1..=most).contains(&i64::from(peak)), "{board:?}: {peak} in its {start} start");
    }
}

fn a_device_killed_while_it_starts_starts_again(board: Attachment) {
    // Other boards differ in less than they share.
    let rounds = if board == Attachment::CONSOLE { 100 } else { 30 };
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = seed::random("killed_while_it_starts");
    let mut known = None;
    let mut epoch = 0;
    for round in 0..rounds {
        let mut emulator = Emulator::boot(directory.path(), board);
        if round % 3 == 0 {
            let status = open(&emulator).status();
            assert_eq!(status.error, None, "round {round}");
            assert_eq!(*known.get_or_insert(status.device), status.device, "round {round}");
            assert!(status.epoch > epoch, "round {round}");
            epoch = status.epoch;
        } else {
            // It writes from about 50 to 150 ms after the emulator's start.
            thread::sleep(Duration::from_micros(random.u64(10_000..200_000)));
        }
        emulator.kill();
    }
}

/// A changed image starts, as nothing but itself checks it here, and refuses everything. What a second stage
/// verifies is signed again, so that it is started.
fn a_damaged_image_is_the_error_state(board: Attachment) {
    let directory = tempfile::tempdir().expect("a directory");
    if board.machine().contains_key("boot") {
        let mut release = Release::of(board);
        let name = board.board().as_bytes();
        let image = release.image.clone();
        let name = image.windows(name.len()).position(|bytes| bytes == name).expect("a name");
        for at in [name, image.len() - 1] {
            release.image.clone_from(&image);
            release.image[at] ^= 0x20;
            let directory = tempfile::tempdir().expect("a directory");
            let damaged = release.place(board, directory.path());
            assert_integrity_failed(directory.path(), board, &damaged);
        }
        return;
    }
    let firmware = fs::read(board.firmware()).expect("the firmware");
    let damaged = directory.path().join("damaged.elf");

    // A constant that does no harm: a letter of the board's name.
    let name = board.board().as_bytes();
    let name = firmware.windows(name.len()).position(|bytes| bytes == name).expect("a name");
    let mut image = firmware.clone();
    image[name] ^= 0x20;
    fs::write(&damaged, &image).expect("written");
    assert_integrity_failed(directory.path(), board, &damaged);

    // The integrity value itself, the last bytes of the segment that is loaded last within the image.
    let end = end_of_image(&firmware);
    let mut image = firmware;
    image[end - 1] ^= 1;
    fs::write(&damaged, &image).expect("written");
    assert_integrity_failed(directory.path(), board, &damaged);
}

/// Where in an ELF file the image ends: after the code and, where they are loaded behind it, variables and the
/// integrity value. Program headers are 32 bytes (Tool Interface Standard, ELF 1.2, 2-2).
fn end_of_image(elf: &[u8]) -> usize {
    let table = usize::try_from(number(elf, 28)).expect("an offset");
    let count = usize::from(u16::from_le_bytes([elf[44], elf[45]]));
    let field = |header: usize, at| number(elf, table + 32 * header + at);
    // Offset, physical address and size in the file.
    let parts = |header: usize| [4, 12, 16].map(|at| u64::from(field(header, at)));
    let [mut offset, mut at, mut size] = parts(0);
    for next in (1..count).map(parts).filter(|[.., size]| *size > 0) {
        if next[1] == at + size {
            [offset, at, size] = next;
        }
    }
    usize::try_from(offset + size).expect("an offset")
}

/// A little-endian field of a 32-bit ELF.
fn number(elf: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(elf[at..at + 4].try_into().expect("four bytes"))
}

fn assert_integrity_failed(directory: &Path, board: Attachment, image: &Path) {
    let emulator = Emulator::boot_image(directory, board, image);
    let mut wire = open(&emulator);
    let status = wire.status();
    assert_eq!(status.state, ModuleState::Error);
    assert_eq!(status.error, Some(ErrorCode::INTEGRITY_FAILED));
}
