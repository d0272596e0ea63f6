//! Raspberry Pi Pico, a board with an RP2040: UART 0 as link, the ring oscillator as noise source, and the end of
//! the flash for the records.
//!
//! The chip has no place for a secret, does not check what it boots, and its flash can be read by whoever has
//! the board. It has been run in an emulator only (see `docs/boards.md`).

use hsm_core::Hsm;
use hsm_core::algorithm::Algorithm;
use hsm_core::memory::Memory;
use hsm_core::platform::{EntropyError, EntropySource, MinEntropy};
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::reset::ResetReason;
use static_cell::{ConstStaticCell, StaticCell};

use super::bare::{self, Board, Machine, algorithms};
use super::no_update::NoUpdate;
use super::pico::{self, ROUNDS, Sleep};
use super::room::{CoreMemory, FRAME, Heap, RECEIVE_BUFFER, no_heap};
use crate::chip::retained;
use crate::chip::rp2040::{BLOCK, DEVICES, Flash, LINE_RING, WATCHDOG};
use crate::chip::uart_port::UartPort;
use crate::nv::Geometry;
use crate::serve::{Line, LineBuffers, serve};

/// Where the records are: the last 512 KiB of the flash.
const RECORDS: Geometry = Geometry { start: 0, segment: BLOCK, segments: 8 };

const _: () = assert!(LINE_RING >= RECEIVE_BUFFER);

static MEMORY: ConstStaticCell<CoreMemory> = ConstStaticCell::new(CoreMemory::new());
static HEAP: ConstStaticCell<Heap> = ConstStaticCell::new(no_heap());
static BUFFERS: ConstStaticCell<LineBuffers<FRAME>> = ConstStaticCell::new(LineBuffers::new());
static HSM: StaticCell<Hsm<Board<Rp2040>>> = StaticCell::new();

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
    let mut port = UartPort::new(&DEVICES.line);
    let mut lines = [Line::new(&mut port, BUFFERS.take())];
    serve(hsm, &mut lines, &mut Sleep::new(&DEVICES.timer));
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
struct Rp2040;

impl Machine for Rp2040 {
    const NAME: &'static str = "rp2040";
    const KIND: DeviceKind = DeviceKind::Hardware;
    type Noise = Noise;
    type Flash = Flash;
    type Update = NoUpdate;

    fn algorithms() -> &'static [&'static dyn Algorithm] {
        algorithms!(portable)
    }

    fn now_us() -> u64 {
        DEVICES.timer.now_us()
    }
}

/// The ring oscillator.
struct Noise;

impl EntropySource for Noise {
    /// A sixteenth of a bit for each bit. That is a guess on the safe side, not an assessment: none was made,
    /// and the data sheet advises against the source.
    const MIN_ENTROPY: MinEntropy = MinEntropy::from_millibits(500);

    fn fill_raw(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        DEVICES.noise.fill(&DEVICES.timer, out).map_err(|_| EntropyError)
    }
}
