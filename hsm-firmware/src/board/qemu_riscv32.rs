//! QEMU's riscv32 `virt` machine: UART and virtio console as links, virtio entropy device, CFI
//! flash for the records.
//!
//! The board has no place for a key that only this firmware could read, so records are stored
//! unsealed: whoever has the flash image has the device's keys (see `docs/threat-model.md`).

use core::sync::atomic::{AtomicBool, Ordering};

use heapless::Vec;
use hsm_core::Hsm;
use hsm_core::algorithm::{Algorithm, PORTABLE};
use hsm_core::platform::{EntropyError, EntropySource, MinEntropy, Platform};
use hsm_core::self_test::measure;
use hsm_protocol::attestation::Measurement;
use hsm_protocol::domain;
use static_cell::{ConstStaticCell, StaticCell};

use crate::chip::cfi_flash::{BLOCK, CfiFlash};
use crate::chip::hart::{self, Interrupt};
use crate::chip::heap::HEAP;
use crate::chip::uart16550::{self, UartPort};
use crate::chip::virt::{self, CLINT, FINISHER, PLIC, UART};
use crate::chip::virtio::DeviceKind;
use crate::chip::virtio::console::{self, Console, ConsoleMemory};
use crate::chip::virtio::entropy::{Entropy, EntropyMemory};
use crate::chip::{image, stack};
use crate::nv::{Geometry, RecordLog};
use crate::serve::{Line, LineBuffers, Runtime, serve};

/// Exit status of the emulator after a panic.
const PANIC_STATUS: u16 = 101;

/// Where the records are: 2 MiB at the start of the flash.
const RECORDS: Geometry = Geometry { start: 0, segment: BLOCK, segments: 8 };

/// What either link buffers.
const RECEIVE_BUFFER: u32 = 64 * 1024;
const _: () = assert!(
    uart16550::RING == RECEIVE_BUFFER as usize
        && console::RX_BUFFERS * console::RX_BUFFER == RECEIVE_BUFFER as usize
);

/// Bytes of the heap.
const ARENA: usize = 64 * 1024;

static HEAP_MEMORY: ConstStaticCell<[u64; ARENA / size_of::<u64>()]> =
    ConstStaticCell::new([0; ARENA / size_of::<u64>()]);
static CONSOLE_MEMORY: ConstStaticCell<ConsoleMemory> = ConstStaticCell::new(ConsoleMemory::new());
static ENTROPY_MEMORY: ConstStaticCell<EntropyMemory> = ConstStaticCell::new(EntropyMemory::new());
static BUFFERS: ConstStaticCell<[LineBuffers; 2]> =
    ConstStaticCell::new([const { LineBuffers::new() }; 2]);

/// Off the stack, which is measured for each command and erased.
static HSM: StaticCell<Hsm<Board>> = StaticCell::new();

/// Set when the core has asked for a reset.
static RESET: AtomicBool = AtomicBool::new(false);

/// Runs the firmware; the entry point of the image.
pub fn run() -> ! {
    virt::protect();
    HEAP.start(HEAP_MEMORY.take());
    UART.start();
    PLIC.enable_only(&virt::SOURCES);
    hart::open_interrupts(serve_interrupt);

    let hsm = make();
    hsm.start();
    let mut uart = UartPort::new(&UART);
    let mut console = virt::find_virtio(DeviceKind::Console)
        .and_then(|transport| Console::start(transport, CONSOLE_MEMORY.take()).ok());

    let [first, second] = BUFFERS.take();
    let mut lines: Vec<Line<'_>, 2> = Vec::new();
    let _ = lines.push(Line::new(&mut uart, first));
    if let Some(console) = &mut console {
        let _ = lines.push(Line::new(console, second));
    }
    serve(hsm, &mut lines, &mut Sleep);
    FINISHER.reset()
}

/// Makes the HSM where it stays; it holds no secret yet. A function of its own, so that no frame below
/// keeps a place for parts of it.
#[inline(never)]
fn make() -> &'static mut Hsm<Board> {
    HSM.init_with(|| Hsm::new(Board::start()))
}

/// Ends the firmware after a panic or a fault: nothing is reported, and nothing is left in RAM.
pub fn halt() -> ! {
    virt::wipe_and_exit(PANIC_STATUS)
}

/// The core's platform.
struct Board {
    noise: Noise,
    records: RecordLog<CfiFlash>,
    /// Of the image, at the start: before anything could have changed it.
    measurement: Measurement,
}

impl Board {
    fn start() -> Self {
        let entropy = virt::find_virtio(DeviceKind::Entropy)
            .and_then(|transport| Entropy::start(transport, ENTROPY_MEMORY.take(), CLINT).ok());
        let records = RecordLog::new(virt::flash(), RECORDS);
        Self { noise: Noise(entropy), records, measurement: measure(image::bytes()) }
    }
}

impl Platform for Board {
    type Entropy = Noise;
    type Storage = RecordLog<CfiFlash>;

    fn entropy(&mut self) -> &mut Noise {
        &mut self.noise
    }

    fn storage(&mut self) -> &mut RecordLog<CfiFlash> {
        &mut self.records
    }

    fn monotonic_us(&self) -> u64 {
        CLINT.now_us()
    }

    fn algorithms(&self) -> &'static [&'static dyn Algorithm] {
        PORTABLE
    }

    fn sealing_key(&self) -> Option<&[u8; 32]> {
        None
    }

    fn board(&self) -> &'static str {
        "qemu_riscv32"
    }

    fn kind(&self) -> domain::DeviceKind {
        domain::DeviceKind::Emulated
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

/// The virtio entropy device; `None` if the machine has none, which is the module's failure.
struct Noise(Option<Entropy>);

impl EntropySource for Noise {
    // The emulator passes on its host's generator, whose output cannot be told from full entropy.
    // Half of that is claimed, as nothing here can assess what is behind it.
    const MIN_ENTROPY: MinEntropy = MinEntropy::from_millibits(4000);

    fn fill_raw(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        let device = self.0.as_mut().ok_or(EntropyError)?;
        device.fill(out).map_err(|_| EntropyError)
    }
}

/// Waiting on this board.
struct Sleep;

impl Runtime for Sleep {
    fn wait(&mut self, alarm: Option<u64>) {
        match alarm {
            Some(time) => CLINT.set_alarm_us(time),
            None => CLINT.clear_alarm(),
        }
        hart::wait();
    }

    fn should_stop(&mut self) -> bool {
        RESET.load(Ordering::Relaxed)
    }
}

fn serve_interrupt(interrupt: Interrupt) {
    match interrupt {
        Interrupt::Timer => CLINT.clear_alarm(),
        Interrupt::External => {
            while let Some(source) = PLIC.claim() {
                match source.checked_sub(virt::VIRTIO_SOURCE) {
                    Some(slot) if slot < virt::VIRTIO_COUNT => {
                        virt::virtio(slot).acknowledge_interrupt()
                    }
                    _ if source == virt::UART_SOURCE => UART.interrupt(),
                    _ => {}
                }
                PLIC.complete(source);
            }
        }
    }
}
