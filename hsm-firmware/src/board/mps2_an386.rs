//! Arm MPS2 with the AN386 image (Cortex-M4): UART 0 as link, UART 1 as noise source, and memory
//! that the emulator keeps in a file for the records.

use hsm_core::Hsm;
use hsm_core::algorithm::Algorithm;
use hsm_core::memory::Memory;
use hsm_core::platform::{EntropyError, EntropySource, MinEntropy};
use hsm_protocol::domain::DeviceKind;
use static_cell::{ConstStaticCell, StaticCell};

use super::bare::{self, Board, EMULATED_NOISE, Machine, algorithms};
use super::room::{CoreMemory, FRAME, Heap, NO_HEAP, RECEIVE_BUFFER};
use crate::chip::an386::{self, ALARM, CLOCK, LINE, NOISE, NOISE_RING, WATCHDOG};
use crate::chip::cortex_m;
use crate::chip::mapped_nor::{BLOCK, MappedNor};
use crate::chip::uart_noise::UartNoise;
use crate::chip::uart_port::UartPort;
use crate::nv::Geometry;
use crate::serve::{Line, LineBuffers, Runtime, serve};

/// Where the records are: 2 MiB at the start of the memory.
const RECORDS: Geometry = Geometry { start: 0, segment: BLOCK, segments: 8 };

const _: () = assert!(an386::LINE_RING >= RECEIVE_BUFFER);

static BUFFERS: ConstStaticCell<LineBuffers<FRAME>> = ConstStaticCell::new(LineBuffers::new());

static MEMORY: ConstStaticCell<CoreMemory> = ConstStaticCell::new(CoreMemory::new());
static HEAP: ConstStaticCell<Heap> = ConstStaticCell::new(NO_HEAP);
static HSM: StaticCell<Hsm<Board<Mps2An386>>> = StaticCell::new();

/// Runs the firmware; the entry point of the image.
pub fn run() -> ! {
    an386::protect();
    cortex_m::open_interrupts(&an386::SOURCES, serve_interrupt);
    CLOCK.start();
    LINE.start();
    NOISE.start();

    let hsm = bare::make(&HSM, Memory::lent(MEMORY.take()), HEAP.take(), start);
    hsm.start();
    let mut port = UartPort::new(&LINE);
    serve(hsm, &mut [Line::new(&mut port, BUFFERS.take())], &mut Sleep { alarm: None });
    cortex_m::reset()
}

/// Ends the firmware after a panic or a fault: nothing is reported, and nothing is left in RAM.
pub fn halt() -> ! {
    WATCHDOG.wipe_and_bite()
}

fn start() -> Board<Mps2An386> {
    Board::new(Noise(UartNoise::new(&NOISE, &CLOCK, &ALARM)), an386::flash(), RECORDS)
}

/// This machine.
struct Mps2An386;

impl Machine for Mps2An386 {
    const NAME: &'static str = "mps2_an386";
    const KIND: DeviceKind = DeviceKind::Emulated;
    type Noise = Noise;
    type Flash = MappedNor;

    fn algorithms() -> &'static [&'static dyn Algorithm] {
        algorithms!(cortex_m4)
    }

    fn now_us() -> u64 {
        CLOCK.now_us()
    }
}

/// The source at UART 1.
struct Noise(UartNoise<NOISE_RING>);

impl EntropySource for Noise {
    const MIN_ENTROPY: MinEntropy = EMULATED_NOISE;

    fn fill_raw(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(out).map_err(|_| EntropyError)
    }
}

/// Waiting on this board.
struct Sleep {
    /// When the timer will end a sleep, in microseconds since boot.
    alarm: Option<u64>,
}

impl Runtime for Sleep {
    fn wait(&mut self, alarm: Option<u64>) {
        // Every byte of the line ends a sleep, so an alarm that is set stays set. The noise source
        // uses the same timer, and stops it.
        if alarm != self.alarm || !ALARM.is_running() {
            match alarm {
                Some(time) => ALARM.start(CLOCK.ticks_until(time)),
                None => ALARM.stop(),
            }
            self.alarm = alarm;
        }
        cortex_m::wait();
    }

    fn should_stop(&mut self) -> bool {
        bare::is_reset_wanted()
    }
}

fn serve_interrupt(source: u32) {
    match source {
        _ if an386::LINE_SOURCES.contains(&source) => LINE.interrupt(),
        an386::NOISE_SOURCE => NOISE.interrupt(),
        an386::CLOCK_SOURCE => CLOCK.interrupt(),
        an386::ALARM_SOURCE => ALARM.interrupt(),
        _ => {}
    }
}
