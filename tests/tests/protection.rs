//! Memory protection and watchdog of the emulated boards, on the images as they are shipped: a debugger has
//! the processor do what it must not be able to, panic, or hang. Each time the firmware must wipe RAM, start
//! again, and say why.

use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use hsm_protocol::channel::Initiator;
use hsm_protocol::command::decode;
use hsm_protocol::command::system::{LastReset, ModuleStatus, ResetReport};
use hsm_protocol::frame::{FrameKind, Header};
use hsm_protocol::reset::ResetReason;
use hsm_tests::emulator::{Attachment, Emulator};
use hsm_tests::on_every_board;
use hsm_tests::patience::PATIENCE;
use hsm_tests::probe::{self, Debugger, Monitor, Symbols};
use hsm_tests::wire::{Wire, encoded, host_key};
use tempfile::TempDir;

/// A device that has not ended after this goes on. A slow one may end later and not be caught here: no
/// good firmware fails for that.
const GOES_ON: Duration = Duration::from_millis(700);

on_every_board! {
    attached:
    what_is_forbidden_wipes,
    what_is_allowed_goes_on,
    a_stack_that_overflows_wipes,
    a_fault_wipes_and_is_reported_after,
    a_panic_wipes_and_is_reported_after,
    a_hang_wipes_and_is_reported_after,
}

/// What a debugger needs to know of a processor.
#[derive(Clone, Copy)]
struct Processor {
    /// Numbers of the stack pointer, the program counter, and the first two registers of arguments.
    registers: [u8; 4],
    /// Stores the second argument where the first one points, and goes round in circles.
    store: &'static [u8],
    /// Loads a word from there, and goes round in circles.
    load: &'static [u8],
    /// Runs what is there.
    jump: &'static [u8],
    /// Masks interrupts, and goes round in circles; `None` if the watchdog is one of them.
    mask: Option<&'static [u8]>,
    /// Goes round in circles.
    circle: &'static [u8],
    /// Added to the address of code that is jumped to.
    mode: u32,
}

const RISC_V: Processor = Processor {
    registers: [2, 32, 10, 11],
    store: &[0x23, 0x20, 0xb5, 0x00, 0x6f, 0x00, 0x00, 0x00], // sw a1, 0(a0); j .
    load: &[0x83, 0x25, 0x05, 0x00, 0x6f, 0x00, 0x00, 0x00],  // lw a1, 0(a0); j .
    jump: &[0x67, 0x00, 0x05, 0x00],                          // jr a0
    mask: None,
    circle: &[0x6f, 0x00, 0x00, 0x00], // j .
    mode: 0,
};
const CORTEX_M: Processor = Processor {
    registers: [13, 15, 0, 1],
    store: &[0x01, 0x60, 0xfe, 0xe7],      // str r1, [r0]; b .
    load: &[0x01, 0x68, 0xfe, 0xe7],       // ldr r1, [r0]; b .
    jump: &[0x00, 0x47],                   // bx r0
    mask: Some(&[0x72, 0xb6, 0xfe, 0xe7]), // cpsid i; b .
    circle: &[0xfe, 0xe7],                 // b .
    mode: 1,
};

impl Processor {
    fn of(board: Attachment) -> Self {
        let target = board.machine()["target"].as_str().expect("a target");
        match target {
            _ if target.starts_with("riscv32") => RISC_V,
            _ if target.starts_with("thumb") => CORTEX_M,
            _ => panic!("{target} is of no processor that this test knows"),
        }
    }
}

/// A device of which everything is known, stopped as it begins to answer a request.
struct Subject {
    board: Attachment,
    _emulator: Emulator,
    wire: Wire,
    /// Of the boot in which it is stopped.
    epoch: u64,
    monitor: Monitor,
    debugger: Debugger,
    processor: Processor,
    symbols: Symbols,
    /// Where it is stopped: code that certainly may run.
    place: u32,
    _directory: TempDir,
}

impl Subject {
    fn new(board: Attachment) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let emulator = Emulator::boot_examined(directory.path(), board, None);
        let monitor = Monitor::open(directory.path(), board);
        let processor = Processor::of(board);
        let symbols = Symbols::read(&board.firmware());
        let place = symbols.function(&["hsm_core", "hsm", "Hsm", "respond"]);
        let mut wire = Wire::new(emulator.connect());
        wire.synchronise();
        let ModuleStatus { epoch, .. } = wire.status();
        // A stranger's first message: it costs the device three multiplications on the curve.
        let device = wire.identity().link;
        let (_, message) =
            Initiator::start(&host_key(), &device, &mut UnwrapErr(SysRng)).expect("a point");
        let header = Header { kind: FrameKind::Handshake1, session: 0, sequence: 1 };
        let handshake = encoded(header, &message);
        let mut debugger = Debugger::open(directory.path());
        // A processor that sleeps would not run what it is told to.
        let stopped = debugger.run_to(place, PATIENCE, || wire.send_bytes(&handshake));
        assert!(stopped, "{board:?}: a request is answered");
        let _directory = directory;
        Self {
            board,
            _emulator: emulator,
            wire,
            epoch,
            monitor,
            debugger,
            processor,
            symbols,
            place,
            _directory,
        }
    }

    /// Has the processor read, write or run what is at an address; whether the firmware wipes its
    /// RAM because of that.
    fn access(&mut self, access: &str, address: u32, patience: Duration) -> bool {
        let Processor { registers, store, load, jump, circle, mode, .. } = self.processor;
        let (code, argument) = match access {
            "write" => (store, address),
            "read" => (load, address),
            _ => {
                // What is run there does nothing but go on.
                self.debugger.write(address, circle);
                (jump, address + mode)
            }
        };
        let [_, program_counter, first, _] = registers;
        self.debugger.write(self.place, code);
        self.debugger.set_register(first, argument);
        self.debugger.set_register(program_counter, self.place);
        self.wipes(patience)
    }

    /// Has the processor run code up to the branch to itself at its end.
    fn run_code(&mut self, code: &[u8]) {
        let Processor { registers: [_, program_counter, ..], circle, .. } = self.processor;
        let end = self.place + u32::try_from(code.len() - circle.len()).expect("a length");
        self.debugger.write(self.place, code);
        self.debugger.set_register(program_counter, self.place);
        assert!(self.debugger.run_to(end, PATIENCE, || {}), "{:?}: the code ran", self.board);
    }

    /// Has the main loop hang, with interrupts masked if the watchdog is not one, and the time of the watchdog
    /// be over soon, as the machine description says.
    fn hang(&mut self) {
        let Processor { registers: [_, _, first, second], store, mask, .. } = self.processor;
        if let Some(mask) = mask {
            self.run_code(mask);
        }
        for [address, value] in probe::hurry(self.board) {
            self.debugger.set_register(first, address);
            self.debugger.set_register(second, value);
            self.run_code(store);
        }
    }

    /// Whether the firmware gets to where it has wiped its RAM.
    fn wipes(&mut self, patience: Duration) -> bool {
        let wiped = self.symbols.address("wiped") & !1;
        self.debugger.run_to(wiped, patience, || {})
    }

    /// Asserts that stack, variables and heap are zero.
    fn assert_wiped(&mut self, why: &str) {
        let [start, end] =
            ["__stack_bottom", "__bss_end"].map(|symbol| self.symbols.address(symbol));
        let ram = self.monitor.ram();
        let bytes = ram.at(start, usize::try_from(end - start).expect("a length"));
        let left = bytes.iter().filter(|byte| **byte != 0).count();
        assert_eq!(left, 0, "bytes left after {why}");
    }

    /// Asserts that the firmware, which is about to wipe its RAM, does so, starts again, and says why, to
    /// whoever asks and in the chain of its next boot.
    fn assert_reports(mut self, reason: ResetReason) {
        let board = self.board;
        assert!(self.wipes(PATIENCE), "{board:?}: {reason}");
        self.assert_wiped(&format!("{board:?}: {reason}"));
        self.debugger.run();
        self.wire.synchronise();
        let report = self.wire.plain(&LastReset).expect("it is answered in every state");
        let expected = ResetReport { reason, failures: 1 };
        assert_eq!(decode::<ResetReport>(&report), Ok(expected), "{board:?}");
        let status = self.wire.status();
        assert_eq!((status.epoch, status.audit_entries), (self.epoch + 1, 1), "{board:?}");
    }
}

/// What a processor may not do, and where.
fn forbidden(symbols: &Symbols) -> Vec<(&'static str, &'static str, u32)> {
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
    // What only some boards' memory maps tell apart.
    if symbols.find("__executable_end").or(symbols.find("__text_end")) < Some(constant) {
        cases.push(("run", "a constant", constant));
    }
    for (what, symbol) in
        [("memory that is not used", "__free_start"), ("far below the stack", "__guard_bottom")]
    {
        cases.extend(symbols.find(symbol).map(|address| ("write", what, address)));
    }
    cases
}

fn what_is_forbidden_wipes(board: Attachment) {
    for (access, what, address) in forbidden(&Symbols::read(&board.firmware())) {
        let mut subject = Subject::new(board);
        let case = format!("{board:?}: {access} {what} at {address:#x}");
        assert!(subject.access(access, address, PATIENCE), "{case} was possible");
        subject.assert_wiped(&case);
    }
}

fn a_fault_wipes_and_is_reported_after(board: Attachment) {
    let mut subject = Subject::new(board);
    let Processor { registers: [_, program_counter, first, _], jump, .. } = subject.processor;
    subject.debugger.write(subject.place, jump);
    let variable = subject.symbols.address("__bss_end") - 0x100;
    subject.debugger.set_register(first, variable + subject.processor.mode);
    subject.debugger.set_register(program_counter, subject.place);
    subject.assert_reports(ResetReason::FAULT);
}

fn a_panic_wipes_and_is_reported_after(board: Attachment) {
    let mut subject = Subject::new(board);
    let handler = subject.symbols.function(&["rust_begin_unwind"]);
    let Processor { registers: [_, program_counter, ..], .. } = subject.processor;
    subject.debugger.set_register(program_counter, handler);
    subject.assert_reports(ResetReason::PANIC);
}

/// The watchdog is fed by the main loop alone: in a hang interrupts are served, or masked, and do not help.
fn a_hang_wipes_and_is_reported_after(board: Attachment) {
    let mut subject = Subject::new(board);
    subject.hang();
    subject.assert_reports(ResetReason::WATCHDOG);
}

/// The same instructions go through where they may: it is the protection that ends the firmware.
fn what_is_allowed_goes_on(board: Attachment) {
    for access in ["write", "read", "run"] {
        let mut subject = Subject::new(board);
        let address = match access {
            "run" => subject.symbols.address("__image_start") + 0x400,
            _ => subject.symbols.address("__stack_bottom"),
        };
        let ended = subject.access(access, address, GOES_ON);
        assert!(!ended, "{board:?}: {access} at {address:#x} ended it");
    }
}

/// A request is answered with next to no stack left. Wherever it ends, code and constants stay as they
/// are, and the firmware wipes its RAM.
fn a_stack_that_overflows_wipes(board: Attachment) {
    // Enough for some frames, for an interrupt, for part of one, and for nothing at all.
    for left in [2048, 512, 72, 8, 0] {
        let mut subject = Subject::new(board);
        let [bottom, start, end] = ["__stack_bottom", "__image_start", "__image_end"]
            .map(|symbol| subject.symbols.address(symbol));
        let length = usize::try_from(end - start).expect("a length");
        let image = subject.monitor.ram().at(start, length).to_vec();
        let [stack_pointer, ..] = subject.processor.registers;
        subject.debugger.set_register(stack_pointer, bottom + left);
        assert!(subject.wipes(PATIENCE), "{board:?}: {left} bytes were enough");
        let ram = subject.monitor.ram();
        assert!(ram.at(start, length) == image, "{board:?}: the image was written to");
        subject.assert_wiped(&format!("an overflow of {board:?} with {left} bytes left"));
    }
}
