//! Firmware that is replaced over the line, on each emulated board whose second stage verifies it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use host_driver::device::{Device, Options};
use host_driver::endpoint::{Endpoint, Line};
use host_driver::error::CallError;
use host_driver::firmware::{SignedImage, UpdateError};
use host_driver::host_key::HostKey;
use hsm_protocol::command::firmware::{FirmwareState, OtherImage, StartMode};
use hsm_protocol::reset::ResetReason;
use hsm_protocol::{ErrorCode, ModuleState};
use hsm_tests::board::Board;
use hsm_tests::calls::{self, StoredKey};
use hsm_tests::emulator::Attachment;
use hsm_tests::patience::PATIENCE;
use hsm_tests::probe::{self, Symbols};
use hsm_tests::signed::Release;
use hsm_tests::{daemon, environment, seed};
use serde_json::Value;
use tempfile::TempDir;

/// Signers that are enough.
const SIGNERS: &[u8] = &[0, 2];

/// A device in service, and its operator.
struct Bench {
    board: Board,
    attachment: Attachment,
    data: TempDir,
}

impl Bench {
    fn new(attachment: Attachment) -> Self {
        let bench = Self { board: Board::new(attachment), attachment, data: daemon::private_dir() };
        let output = bench.run(&["provision", &bench.board.line()]);
        assert!(output.status.success(), "{output:?}");
        bench
    }

    /// Each board with a second stage.
    fn each(test: impl FnMut(Self)) {
        let boards = Attachment::boards().into_iter();
        let with: Vec<_> = boards.filter(|board| board.machine().contains_key("boot")).collect();
        assert!(!with.is_empty(), "a board with a second stage");
        with.into_iter().map(Self::new).for_each(test);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(environment::kmsctl());
        command.arg("hsm").args(arguments).arg("--data").arg(self.data.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("kmsctl runs")
    }

    fn file(&self, signed: &[u8]) -> PathBuf {
        let path = self.data.path().join("image.signed");
        fs::write(&path, signed).expect("written");
        path
    }

    fn update(&self, signed: &[u8], further: &[&str]) -> Output {
        let (line, file) = (self.board.line(), self.file(signed));
        self.run(&[&["update", &line, file.to_str().expect("UTF-8"), "--json"], further].concat())
    }

    /// An update that has to succeed.
    fn updated(&self, signed: &[u8], further: &[&str]) -> Value {
        let output = self.update(signed, further);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("one document")
    }

    /// One that has to fail, and say this.
    fn refused(&self, signed: &[u8], because: &str) {
        let output = self.update(signed, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(because), "{because}: {said}");
    }

    fn start(&self, signed: &[u8]) -> Child {
        let (line, file) = (self.board.line(), self.file(signed));
        let mut command = self.command(&["update", &line, file.to_str().expect("UTF-8")]);
        command.spawn().expect("kmsctl runs")
    }

    fn device(&self) -> Device {
        let Ok(Endpoint::Line(line)) = self.board.line().parse() else { panic!("a line") };
        let connector = Line::connector(&line);
        let options = Options { patience: PATIENCE, deadline: PATIENCE };
        let device = Device::open(&*connector, None, options).expect("it introduces itself");
        let host = self.data.path().join("hosts/crypto-user.pem");
        let host = HostKey::load_or_generate(&host).expect("a host key");
        device.authenticate(&host).expect("it knows the host");
        device
    }

    fn firmware(&self) -> FirmwareState {
        self.device().firmware().expect("a second stage")
    }

    fn key(&self) -> StoredKey {
        calls::symmetric(&self.device(), 1)
    }
}

#[test]
fn new_firmware_is_tried_and_confirmed_and_keys_stay() {
    Bench::each(|bench| {
        let first = bench.firmware();
        assert_eq!(
            (first.slot, first.mode, first.other),
            (1, StartMode::Confirmed, OtherImage::Empty)
        );
        let key = bench.key();
        let sealed = calls::encrypt(&bench.device(), &key, b"", b"before the update");
        let identity = bench.device().id();

        let next = Release::of(bench.attachment).marked(&[1; 5]).version("0.2.0", 2);
        let done = bench.updated(&next.sign(SIGNERS), &[]);
        assert_eq!((&done["state"], &done["version"]), (&"confirmed".into(), &"0.2.0".into()));

        let now = bench.firmware();
        assert_eq!((now.slot, now.mode, now.other), (2, StartMode::Confirmed, OtherImage::Former));
        assert_eq!((now.security_version, now.floor), (2, 2));
        assert_ne!(now.measurement, first.measurement);
        // What vouches for the device has the measurement of the second stage.
        let device = bench.device();
        let status = device.status().expect("a status");
        assert_eq!(
            (status.measurement, status.state),
            (Some(now.measurement), ModuleState::Operational)
        );
        assert_eq!(device.id(), identity);
        assert_eq!(calls::decrypt(&device, &key, b"", &sealed), b"before the update");
        drop(device);

        let done = bench.updated(&next.sign(SIGNERS), &[]);
        assert_eq!(done["state"], "unchanged");
        // An older image with a known hole is refused, whoever has signed it.
        bench.refused(&Release::of(bench.attachment).sign(SIGNERS), "security version");
        let after = bench.firmware();
        assert_eq!(FirmwareState { permitted: now.permitted, ..after }, now);
    });
}

#[test]
fn nothing_that_the_signers_or_the_domain_have_not_released_is_taken() {
    Bench::each(|bench| {
        let before = bench.firmware();
        let release = Release::of(bench.attachment).marked(b"next");
        // The permission is of operators; no host has it by itself.
        let signed = release.marked(b"unpermitted").sign(SIGNERS);
        let image = SignedImage::parse(&signed).expect("a signed image");
        match bench.device().send_firmware(&image, &mut |_, _| {}) {
            Err(UpdateError::Call(CallError::Refused { code, .. })) => {
                assert_eq!(code, ErrorCode::FIRMWARE_NOT_PERMITTED);
            }
            other => panic!("sent without a permission: {other:?}"),
        }
        bench.refused(&release.sign(&[1]), "firmware signers");
        let mut forged = release.sign(SIGNERS);
        forged[100] ^= 1;
        bench.refused(&forged, "firmware signers");
        let mut damaged = release.sign(SIGNERS);
        *damaged.last_mut().expect("bytes") ^= 1;
        bench.refused(&damaged, "damaged");
        bench.refused(&damaged[..damaged.len() / 2], "cut short");
        let mut foreign = release.clone();
        foreign.body.board = hsm_boot::manifest::Name::new("toaster").expect("a name");
        bench.refused(&foreign.sign(SIGNERS), "another board");
        let mut moved = release.clone();
        moved.body.address += 0x100;
        bench.refused(&moved.sign(SIGNERS), "another board");
        let vast = release.marked(&vec![0; 2 << 20]);
        bench.refused(&vast.sign(SIGNERS), "longer than the room");
        let after = bench.firmware();
        assert_eq!((after.other, after.measurement), (OtherImage::Empty, before.measurement));
    });
}

#[test]
fn firmware_that_does_not_work_is_left_again() {
    Bench::each(|bench| {
        let before = bench.firmware();
        // Its integrity value is wrong, so that it refuses to work; and one that does not even start.
        let mut broken = Release::of(bench.attachment);
        *broken.image.last_mut().expect("bytes") ^= 1;
        bench.refused(&broken.version("0.2.0", 9).sign(SIGNERS), "returned to the firmware");
        let now = bench.firmware();
        assert_eq!((now.measurement, now.other), (before.measurement, OtherImage::Failed));
        assert_eq!(now.floor, before.floor, "what did not work outlaws nothing");
    });
}

/// It hangs before it can start a watchdog itself: that of the second stage ends the trial, with nobody at the device.
#[test]
fn a_trial_that_hangs_ends_by_itself() {
    // `b .`, and before it `str r1, [r0]`.
    const CIRCLE: [u8; 2] = [0xfe, 0xe7];
    const STORE: [u8; 4] = [0x01, 0x60, 0xfe, 0xe7];
    const PROGRAM_COUNTER: u8 = 15;
    Bench::each(|mut bench| {
        let before = bench.firmware();
        let mut hanging = Release::of(bench.attachment).version("0.2.0", 9);
        let start = Symbols::read(&bench.attachment.firmware()).address("_start") & !1;
        let at = usize::try_from(start - hanging.body.address).expect("an offset");
        hanging.image[at..at + CIRCLE.len()].copy_from_slice(&CIRCLE);
        bench.updated(&hanging.sign(SIGNERS), &["--no-restart"]);
        bench.board.unplug();
        let mut debugger = bench.board.plug_examined();
        assert!(debugger.run_to(start, PATIENCE, || {}), "the trial began");
        debugger.write(start, &STORE);
        for [address, value] in probe::hurry(bench.attachment) {
            for (register, value) in [(0, address), (1, value), (PROGRAM_COUNTER, start)] {
                debugger.set_register(register, value);
            }
            assert!(debugger.run_to(start + 2, PATIENCE, || {}), "stored");
        }
        debugger.run();
        bench.board.await_start();
        let device = bench.device();
        let last = device.last_reset().expect("answered").expect("firmware that knows why");
        assert_eq!((last.reason, last.failures), (ResetReason::WATCHDOG, 1));
        let now = device.firmware().expect("a second stage");
        assert_eq!((now.slot, now.measurement), (before.slot, before.measurement));
        assert_eq!(now.other, OtherImage::Failed);
        drop(device);
        let mut status = Command::new(environment::kmsctl());
        status.args(["hsm", "status", &bench.board.line()]);
        let output = status.output().expect("kmsctl runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said: Vec<_> = said.lines().map(str::trim).collect();
        for line in ["reset     the firmware hung", "failures  1 in a row"] {
            assert!(said.contains(&line), "{line}: {output:?}");
        }
    });
}

#[test]
fn an_image_that_was_sent_can_be_given_up_or_wait_for_the_next_start() {
    Bench::each(|mut bench| {
        let next = Release::of(bench.attachment).marked(b"waits").version("0.2.0", 1).sign(SIGNERS);
        let mut update = bench.start(&next);
        thread::sleep(Duration::from_secs(3));
        update.kill().expect("a child");
        update.wait().expect("a child");
        let line = bench.board.line();
        assert!(bench.run(&["update", &line, "--cancel"]).status.success());
        assert_eq!(bench.firmware().other, OtherImage::Empty);
        assert_eq!(bench.updated(&next, &["--no-restart"])["state"], "staged");
        assert_eq!(bench.firmware().other, OtherImage::Staged);
        bench.board.unplug();
        bench.board.plug();
        // The session that asks confirms it.
        let now = bench.firmware();
        assert_eq!((now.slot, now.mode), (2, StartMode::Confirmed));
    });
}

/// The emulator is killed at any time of an update, as a power cut would end it.
#[test]
fn no_power_cut_costs_more_than_the_update() {
    let mut random = seed::random("no_power_cut_costs_more_than_the_update");
    let rounds = if hsm_tests::programs::nightly().is_ok() { 40 } else { 2 };
    Bench::each(|mut bench| {
        let key = bench.key();
        let sealed = calls::encrypt(&bench.device(), &key, b"", b"through it all");
        let identity = bench.device().id();
        let release = Release::of(bench.attachment);
        let mut wanted = bench.firmware().measurement;
        for round in 0..rounds {
            let next = release.marked(&[round; 7]).sign(SIGNERS);
            let image = SignedImage::parse(&next).expect("a signed image").measurement();
            let mut update = bench.start(&next);
            thread::sleep(Duration::from_millis(random.u64(50..15_000)));
            bench.board.unplug();
            update.kill().expect("a child");
            update.wait().expect("a child");
            bench.board.plug();
            // A session confirms what was tried.
            let now = bench.firmware();
            assert!([wanted, image].contains(&now.measurement), "round {round}: {now:?}");
            assert_eq!(now.mode, StartMode::Confirmed, "round {round}");
            bench.updated(&next, &[]);
            wanted = image;
            assert_eq!(bench.firmware().measurement, wanted, "round {round}");
        }
        let device = bench.device();
        assert_eq!(device.id(), identity);
        assert_eq!(calls::decrypt(&device, &key, b"", &sealed), b"through it all");
    });
}
