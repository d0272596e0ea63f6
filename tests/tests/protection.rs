//! Memory protection of the emulated boards, on the images as they are shipped: a debugger has the
//! processor do what it must not be able to. Each time the firmware must wipe RAM and end.

use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use hsm_protocol::channel::Initiator;
use hsm_protocol::frame::{FrameKind, Header};
use hsm_tests::emulator::{Attachment, Emulator};
use hsm_tests::probe::{Debugger, End, Monitor, Symbols};
use hsm_tests::testbed::Testbed;
use hsm_tests::wire::{Wire, encoded, host_key};

/// How long a device may take to wipe its RAM and end.
const PATIENCE: Duration = Duration::from_secs(20);
/// A device that has not ended after this goes on.
const GOES_ON: Duration = Duration::from_millis(700);

const BOARDS: [Attachment; 2] = [Attachment::Console, Attachment::ArmSocket];

/// What a debugger needs to know of a processor.
#[derive(Clone, Copy)]
struct Processor {
    /// Numbers of the stack pointer, the program counter, and the first register of arguments.
    registers: [u8; 3],
    /// Stores a word where the first argument points, and goes round in circles.
    store: &'static [u8],
    /// Loads a word from there, and goes round in circles.
    load: &'static [u8],
    /// Runs what is there.
    jump: &'static [u8],
    /// Goes round in circles.
    circle: &'static [u8],
    /// Added to the address of code that is jumped to.
    mode: u32,
}

const RISC_V: Processor = Processor {
    registers: [2, 32, 10],
    store: &[0x23, 0x20, 0x05, 0x00, 0x6f, 0x00, 0x00, 0x00], // sw zero, 0(a0); j .
    load: &[0x83, 0x25, 0x05, 0x00, 0x6f, 0x00, 0x00, 0x00],  // lw a1, 0(a0); j .
    jump: &[0x67, 0x00, 0x05, 0x00],                          // jr a0
    circle: &[0x6f, 0x00, 0x00, 0x00],                        // j .
    mode: 0,
};
const CORTEX_M: Processor = Processor {
    registers: [13, 15, 0],
    store: &[0x01, 0x60, 0xfe, 0xe7], // str r1, [r0]; b .
    load: &[0x01, 0x68, 0xfe, 0xe7],  // ldr r1, [r0]; b .
    jump: &[0x00, 0x47],              // bx r0
    circle: &[0xfe, 0xe7],            // b .
    mode: 1,
};

/// A device of which everything is known, ready to be led astray.
struct Subject {
    board: Attachment,
    testbed: Testbed,
    monitor: Monitor,
    processor: Processor,
    symbols: Symbols,
}

impl Subject {
    fn new(board: Attachment) -> Self {
        let testbed = Testbed::examined(board, None);
        let monitor = Monitor::open(testbed.directory(), board);
        let processor = match board {
            Attachment::ArmSocket => CORTEX_M,
            _ => RISC_V,
        };
        Self { board, testbed, monitor, processor, symbols: Symbols::read(&board.firmware()) }
    }

    /// Where a request is answered: code that certainly may run.
    fn respond(&self) -> u32 {
        self.symbols.function(&["hsm_core", "hsm", "Hsm", "respond"])
    }

    /// Has the processor read, write or run what is at an address; whether the firmware has ended.
    fn access(&mut self, access: &str, address: u32, patience: Duration) -> bool {
        let mut debugger = Debugger::open(self.testbed.directory());
        let Processor { registers, store, load, jump, circle, mode } = self.processor;
        let (code, argument) = match access {
            "write" => (store, address),
            "read" => (load, address),
            _ => {
                debugger.write(address, circle); // what is run there does nothing but go on
                (jump, address + mode)
            }
        };
        let place = self.respond();
        let [_, program_counter, first] = registers;
        debugger.write(place, code);
        debugger.set_register(first, argument);
        debugger.set_register(program_counter, place);
        debugger.run();
        self.monitor.halts_within(patience)
    }

    /// Asserts that stack and variables are zero.
    fn assert_wiped(&mut self, why: &str) {
        let [start, end] =
            ["__stack_bottom", "__bss_end"].map(|symbol| self.symbols.address(symbol));
        let ram = self.monitor.ram();
        let bytes = ram.at(start, usize::try_from(end - start).expect("a length"));
        let left = bytes.iter().filter(|byte| **byte != 0).count();
        assert_eq!(left, 0, "{:?}: bytes left after {why}", self.board);
    }
}

/// What a processor may not do, and where.
fn forbidden(symbols: &Symbols, board: Attachment) -> Vec<(&'static str, &'static str, u32)> {
    let at = |symbol| symbols.address(symbol);
    let constant = at("__integrity") - 64;
    let mut cases = vec![
        ("write", "code", at("__image_start") + 0x400),
        ("write", "a constant", constant),
        ("write", "below the stack", at("__stack_bottom") - 4),
        ("read", "below the stack", at("__stack_bottom") - 4),
        ("read", "a null pointer", 0),
        ("run", "the stack", at("__stack_bottom") + 0x100),
        ("run", "a variable", at("__bss_end") - 0x100),
    ];
    if board != Attachment::ArmSocket {
        cases.push(("write", "memory that is not used", at("__free_start")));
        cases.push(("write", "far below the stack", at("__guard_bottom")));
        cases.push(("run", "a constant", constant));
    }
    cases
}

#[test]
fn what_is_forbidden_wipes_and_ends_on_riscv() {
    what_is_forbidden_wipes_and_ends(Attachment::Console);
}

#[test]
fn what_is_forbidden_wipes_and_ends_on_arm() {
    what_is_forbidden_wipes_and_ends(Attachment::ArmSocket);
}

fn what_is_forbidden_wipes_and_ends(board: Attachment) {
    let symbols = Symbols::read(&board.firmware());
    for (access, what, address) in forbidden(&symbols, board) {
        let mut subject = Subject::new(board);
        let hosts = subject.testbed.provision();
        drop(subject.testbed.device_as(&hosts.user));
        let case = format!("{board:?}: {access} {what} at {address:#x}");
        assert!(subject.access(access, address, PATIENCE), "{case} was possible");
        subject.assert_wiped(&case);
    }
}

/// The same instructions go through where they may: it is the protection that ends the firmware.
#[test]
fn what_is_allowed_goes_on() {
    for board in BOARDS {
        for access in ["write", "read", "run"] {
            let mut subject = Subject::new(board);
            subject.testbed.wire().status();
            let address = match access {
                "run" => subject.symbols.address("__image_start") + 0x400,
                _ => subject.symbols.address("__stack_bottom"),
            };
            let ended = subject.access(access, address, GOES_ON);
            assert!(!ended, "{board:?}: {access} at {address:#x} ended it");
        }
    }
}

/// A request is answered with next to no stack left: wherever the stack ends, nothing below it is
/// touched, all secrets are gone, and nothing is answered.
#[test]
fn a_stack_that_overflows_wipes_and_ends() {
    for board in BOARDS {
        // Enough for some frames, for an interrupt and none, and for nothing at all.
        for left in [2048, 512, 72, 8] {
            let mut subject = Subject::new(board);
            let hosts = subject.testbed.provision();
            drop(subject.testbed.device_as(&hosts.user));
            let mut wire = subject.testbed.wire();
            let [stack_pointer, ..] = subject.processor.registers;
            let [bottom, start, end] = ["__stack_bottom", "__image_start", "__image_end"]
                .map(|symbol| subject.symbols.address(symbol));
            let length = usize::try_from(end - start).expect("a length");
            let image = subject.monitor.ram().at(start, length).to_vec();
            let handshake = handshake(&mut wire);
            let mut debugger = Debugger::open(subject.testbed.directory());
            debugger.run_to(subject.respond(), || wire.send_bytes(&handshake));
            debugger.set_register(stack_pointer, bottom + left);
            debugger.run();
            assert!(subject.monitor.halts_within(PATIENCE), "{board:?}: {left} bytes were enough");
            assert_eq!(wire.receive(Duration::from_millis(100)), None, "{board:?}: answered");
            subject.assert_wiped(&format!("an overflow with {left} bytes left"));
            let ram = subject.monitor.ram();
            assert!(
                ram.at(start, length) == image,
                "{board:?}: code and constants are as they were"
            );
        }
    }
}

/// Whoever supervises the emulator sees by its status that the firmware has failed, where the board can
/// tell.
#[test]
fn an_overflow_ends_as_a_panic_does() {
    for (board, status) in [(Attachment::Console, 101), (Attachment::ArmSocket, 0)] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut emulator = Emulator::boot_examined(directory.path(), board, None, End::Ends);
        let symbols = Symbols::read(&board.firmware());
        let mut wire = Wire::new(emulator.connect());
        wire.synchronise();
        let handshake = handshake(&mut wire);
        let mut debugger = Debugger::open(directory.path());
        let respond = symbols.function(&["hsm_core", "hsm", "Hsm", "respond"]);
        debugger.run_to(respond, || wire.send_bytes(&handshake));
        let [stack_pointer, ..] = if status == 0 { CORTEX_M } else { RISC_V }.registers;
        debugger.set_register(stack_pointer, symbols.address("__stack_bottom") + 72);
        debugger.run();
        assert_eq!(emulator.process().wait(PATIENCE).code(), Some(status), "{board:?}");
    }
}

/// A stranger's first message: it costs the device three multiplications on the curve.
fn handshake(wire: &mut Wire) -> Vec<u8> {
    let device = wire.identity().link;
    let (_, message) =
        Initiator::start(&host_key(), &device, &mut UnwrapErr(SysRng)).expect("a point");
    encoded(Header { kind: FrameKind::Handshake1, session: 0, sequence: 1 }, &message)
}
