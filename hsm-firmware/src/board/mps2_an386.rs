//! Arm MPS2 with the AN386 image (Cortex-M4): UART 0 as link, UART 1 as noise source, and memory
//! that the emulator keeps in a file for the records.
//!
//! The board has no place for a key that only this firmware could read, so records are stored
//! unsealed: whoever has the file has the device's keys (see `docs/threat-model.md`).

use core::sync::atomic::{AtomicBool, Ordering};

use hsm_core::Hsm;
use hsm_core::algorithm::{Algorithm, CORTEX_M4};
use hsm_core::platform::{EntropyError, EntropySource, MinEntropy, Platform};
use hsm_core::self_test::measure;
use hsm_protocol::attestation::Measurement;
use hsm_protocol::domain::DeviceKind;
use static_cell::{ConstStaticCell, StaticCell};

use crate::chip::an386::{self, ALARM, CLOCK, LINE, NOISE, NOISE_RING, WATCHDOG};
use crate::chip::cmsdk_uart::UartPort;
use crate::chip::cortex_m;
use crate::chip::heap::HEAP;
use crate::chip::mapped_nor::{BLOCK, MappedNor};
use crate::chip::uart_noise::UartNoise;
use crate::chip::{image, stack};
use crate::nv::{Geometry, RecordLog};
use crate::serve::{Line, LineBuffers, Runtime, serve};

/// Where the records are: 2 MiB at the start of the memory.
const RECORDS: Geometry = Geometry { start: 0, segment: BLOCK, segments: 8 };

/// What the link buffers.
const RECEIVE_BUFFER: u32 = 64 * 1024;
const _: () = assert!(an386::LINE_RING == RECEIVE_BUFFER as usize);

/// Bytes of the heap.
const ARENA: usize = 64 * 1024;

static HEAP_MEMORY: ConstStaticCell<[u64; ARENA / size_of::<u64>()]> =
    ConstStaticCell::new([0; ARENA / size_of::<u64>()]);
static BUFFERS: ConstStaticCell<LineBuffers> = ConstStaticCell::new(LineBuffers::new());

/// Off the stack, which is measured for each command and erased.
static HSM: StaticCell<Hsm<Board>> = StaticCell::new();

/// Set when the core has asked for a reset.
static RESET: AtomicBool = AtomicBool::new(false);

/// Runs the firmware; the entry point of the image.
pub fn run() -> ! {
    an386::protect();
    HEAP.start(HEAP_MEMORY.take());
    cortex_m::open_interrupts(&an386::SOURCES, serve_interrupt);
    CLOCK.start();
    LINE.start();
    NOISE.start();

    let hsm = make();
    hsm.start();
    let mut port = UartPort::new(&LINE);
    serve(hsm, &mut [Line::new(&mut port, BUFFERS.take())], &mut Sleep { alarm: None });
    cortex_m::reset()
}

/// Makes the HSM where it stays; it holds no secret yet. A function of its own, so that no frame below
/// keeps a place for parts of it.
#[inline(never)]
fn make() -> &'static mut Hsm<Board> {
    HSM.init_with(|| Hsm::new(Board::start()))
}

/// Ends the firmware after a panic or a fault: nothing is reported, and nothing is left in RAM.
pub fn halt() -> ! {
    WATCHDOG.wipe_and_bite()
}

/// The core's platform.
struct Board {
    noise: Noise,
    records: RecordLog<MappedNor>,
    /// Of the image, at the start: before anything could have changed it.
    measurement: Measurement,
}

impl Board {
    fn start() -> Self {
        let noise = Noise(UartNoise::new(&NOISE, &CLOCK, &ALARM));
        let records = RecordLog::new(an386::flash(), RECORDS);
        Self { noise, records, measurement: measure(image::bytes()) }
    }
}

impl Platform for Board {
    type Entropy = Noise;
    type Storage = RecordLog<MappedNor>;

    fn entropy(&mut self) -> &mut Noise {
        &mut self.noise
    }

    fn storage(&mut self) -> &mut RecordLog<MappedNor> {
        &mut self.records
    }

    fn monotonic_us(&self) -> u64 {
        CLOCK.now_us()
    }

    fn algorithms(&self) -> &'static [&'static dyn Algorithm] {
        CORTEX_M4
    }

    fn sealing_key(&self) -> Option<&[u8; 32]> {
        None
    }

    fn board(&self) -> &'static str {
        "mps2_an386"
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Emulated
    }

    fn measurement(&self) -> Option<Measurement> {
        Some(self.measurement)
    }

    fn image(&self) -> &'static [u8] {
        image::bytes()
    }

    fn reset(&mut self) {
        RESET.store(true, Ordering::Relaxed);
    }

    fn receive_buffer(&self) -> u32 {
        RECEIVE_BUFFER
    }

    fn stack_peak(&self) -> u32 {
        stack::peak()
    }

    fn heap_peak(&self) -> u32 {
        HEAP.peak()
    }

    fn restart_peaks(&mut self) {
        stack::restart_peak();
        HEAP.restart_peak();
    }

    fn erase_stack(&mut self) {
        stack::erase();
    }
}

/// The source at UART 1.
struct Noise(UartNoise<NOISE_RING>);

impl EntropySource for Noise {
    // The emulator passes on its host's generator, whose output cannot be told from full entropy.
    // Half of that is claimed, as nothing here can assess what is behind it.
    const MIN_ENTROPY: MinEntropy = MinEntropy::from_millibits(4000);

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
        RESET.load(Ordering::Relaxed)
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
