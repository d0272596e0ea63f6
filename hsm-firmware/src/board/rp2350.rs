//! Raspberry Pi Pico 2, a board with an RP2350 and 4 MiB of flash: USB and UART 0 as links, the chip's TRNG as noise
//! source, the end of the flash for the records, and a key in OTP to seal them.
//!
//! It has not been run on silicon (see `docs/boards.md`).

use hsm_core::Hsm;
use hsm_core::algorithm::Algorithm;
use hsm_core::memory::Memory;
use hsm_core::platform::{EntropyError, EntropySource, MinEntropy};
use hsm_protocol::command::ModuleState;
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::frame::Frame;
use hsm_protocol::reset::ResetReason;
use static_cell::{ConstStaticCell, StaticCell};

use super::bare::{self, Board, Machine, algorithms};
use super::no_update::NoUpdate;
use super::pico::{self, ROUNDS, Sleep};
use super::room::{CoreMemory, FRAME, Heap, no_heap};
use crate::chip::retained;
use crate::chip::rp2350::{DEVICES, Flash, Shown, WATCHDOG, take_sealing_key};
use crate::chip::uart_port::UartPort;
use crate::nv::Geometry;
use crate::serve::{Line, LineBuffers, Responder, serve};
use hsm_core::NextWork;

/// Where the records are in their part of the flash: 512 KiB. Sixteen sectors of a segment wear alike.
const RECORDS: Geometry = Geometry { start: 0, segment: 64 * 1024, segments: 8 };

static MEMORY: ConstStaticCell<CoreMemory> = ConstStaticCell::new(CoreMemory::new());
static HEAP: ConstStaticCell<Heap> = ConstStaticCell::new(no_heap());
static BUFFERS: ConstStaticCell<[LineBuffers<FRAME>; 2]> =
    ConstStaticCell::new([const { LineBuffers::new() }; 2]);
static HSM: StaticCell<Hsm<Board<Rp2350>>> = StaticCell::new();

/// Runs the firmware; the entry point of the image.
pub fn run() -> ! {
    let last = retained::begin(WATCHDOG.cause());
    let begin = bare::pause_us(last);
    ROUNDS.start(begin);
    DEVICES.start(serve_interrupt);
    let flash = DEVICES.flash();
    DEVICES.protect();
    pico::wait_until(&DEVICES.timer, begin);

    let board = || Board::new(Noise, flash, RECORDS, last);
    let hsm = bare::make(&HSM, Memory::lent(MEMORY.take()), HEAP.take(), board);
    hsm.start();
    let [first, second] = BUFFERS.take();
    let mut usb = UartPort::new(&DEVICES.usb);
    let mut uart = UartPort::new(&DEVICES.uart);
    let mut lines = [Line::new(&mut usb, first), Line::new(&mut uart, second)];
    serve(&mut Lit(hsm), &mut lines, &mut Sleep::new(&DEVICES.timer));
    halt(ResetReason::SOFTWARE)
}

/// Ends the firmware: nothing but the reason is left.
pub fn halt(reason: ResetReason) -> ! {
    retained::record(reason);
    WATCHDOG.wipe_and_bite()
}

fn serve_interrupt(source: u32) {
    if ROUNDS.hangs(DEVICES.timer.now_us()) {
        halt(ResetReason::WATCHDOG);
    }
    DEVICES.interrupt(source);
}

/// This machine.
struct Rp2350;

impl Machine for Rp2350 {
    const NAME: &'static str = "rp2350";
    const KIND: DeviceKind = DeviceKind::Hardware;
    type Noise = Noise;
    type Flash = Flash;
    type Update = NoUpdate;

    fn algorithms() -> &'static [&'static dyn Algorithm] {
        algorithms!(cortex_m4)
    }

    fn now_us() -> u64 {
        DEVICES.timer.now_us()
    }

    fn sealing_key() -> Option<[u8; 32]> {
        take_sealing_key()
    }
}

/// The TRNG.
struct Noise;

impl EntropySource for Noise {
    /// An eighth of a bit for each bit. That is a guess on the safe side, not an assessment: the data sheet gives no
    /// min-entropy, and none has been measured.
    const MIN_ENTROPY: MinEntropy = MinEntropy::from_millibits(1000);

    fn fill_raw(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        DEVICES.noise.fill(&DEVICES.timer, out).map_err(|_| EntropyError)
    }
}

/// The HSM, whose state the light shows.
struct Lit(&'static mut Hsm<Board<Rp2350>>);

impl Lit {
    fn show(&self, waits: bool) {
        let failed = matches!(self.0.state(), ModuleState::Error | ModuleState::Zeroised);
        DEVICES.show(Shown::of(failed, waits));
    }
}

impl Responder for Lit {
    fn process(&mut self, frame: Frame<'_>, reply: &mut [u8]) -> usize {
        self.show(false);
        let length = self.0.process(frame, reply);
        self.show(true);
        length
    }

    fn work(&mut self) -> NextWork {
        let next = self.0.work();
        // Between two steps of a long search it goes on working.
        self.show(next != NextWork::AtOnce);
        next
    }
}
