//! QEMU's riscv32 `virt` machine: UART and virtio console as links, virtio entropy device, CFI
//! flash for the records.

use heapless::Vec;
use hsm_core::Hsm;
use hsm_core::algorithm::Algorithm;
use hsm_core::memory::Memory;
use hsm_core::platform::{EntropyError, EntropySource, MinEntropy};
use hsm_protocol::domain;
use hsm_protocol::reset::ResetReport;
use static_cell::{ConstStaticCell, StaticCell};

use super::bare::{
    self, Board, EMULATED_NOISE, LONGEST_SLEEP_US, Machine, Stability, WATCHDOG_US, algorithms,
};
use super::no_update::NoUpdate;
use super::room::{CoreMemory, FRAME, Heap, RECEIVE_BUFFER, no_heap};
use crate::ResetReason;
use crate::chip::cfi_flash::{BLOCK, CfiFlash};
use crate::chip::hart::{self, Interrupt};
use crate::chip::retained;
use crate::chip::uart_port::UartPort;
use crate::chip::uart16550;
use crate::chip::virt::{self, CLINT, FINISHER, PLIC, UART};
use crate::chip::virtio::DeviceKind;
use crate::chip::virtio::console::{self, Console, ConsoleMemory};
use crate::chip::virtio::entropy::{Entropy, EntropyMemory};
use crate::nv::Geometry;
use crate::rounds::Rounds;
use crate::serve::{Line, LineBuffers, Runtime, serve};

/// Where the records are: 2 MiB at the start of the flash.
const RECORDS: Geometry = Geometry { start: 0, segment: BLOCK, segments: 8 };

const _: () = assert!(
    uart16550::RING >= RECEIVE_BUFFER && console::RX_BUFFERS * console::RX_BUFFER >= RECEIVE_BUFFER
);

static CONSOLE_MEMORY: ConstStaticCell<ConsoleMemory> = ConstStaticCell::new(ConsoleMemory::new());
static ENTROPY_MEMORY: ConstStaticCell<EntropyMemory> = ConstStaticCell::new(EntropyMemory::new());
static BUFFERS: ConstStaticCell<[LineBuffers<FRAME>; 2]> =
    ConstStaticCell::new([const { LineBuffers::new() }; 2]);

static MEMORY: ConstStaticCell<CoreMemory> = ConstStaticCell::new(CoreMemory::new());
static HEAP: ConstStaticCell<Heap> = ConstStaticCell::new(no_heap());
static HSM: StaticCell<Hsm<Board<QemuRiscv32>>> = StaticCell::new();
/// The machine has no watchdog but behind PCI; the timer's interrupt takes its place.
static ROUNDS: Rounds = Rounds::new(WATCHDOG_US);

/// Runs the firmware; the entry point of the image.
pub fn run() -> ! {
    let last = retained::begin(ResetReason::OTHER);
    virt::protect();
    UART.start();
    PLIC.enable_only(&virt::SOURCES);
    let begin = CLINT.now_us().saturating_add(bare::pause_us(last));
    ROUNDS.start(begin);
    hart::open_interrupts(serve_interrupt);
    while CLINT.now_us() < begin {
        CLINT.set_alarm_us(begin);
        hart::wait();
    }

    let hsm = bare::make(&HSM, Memory::lent(MEMORY.take()), HEAP.take(), || start(last));
    hsm.start();
    let mut uart = UartPort::new(&UART);
    let mut console = virt::find_virtio(DeviceKind::Console)
        .and_then(|transport| Console::start(transport, CONSOLE_MEMORY.take()).ok());

    let [first, second] = BUFFERS.take();
    let mut lines: Vec<Line<'_, FRAME>, 2> = Vec::new();
    let _ = lines.push(Line::new(&mut uart, first));
    if let Some(console) = &mut console {
        let _ = lines.push(Line::new(console, second));
    }
    serve(hsm, &mut lines, &mut Sleep(Stability::new()));
    retained::record(ResetReason::SOFTWARE);
    FINISHER.reset()
}

/// Ends the firmware after a failure: nothing but the reason is left in RAM.
pub fn halt(reason: ResetReason) -> ! {
    retained::record(reason);
    virt::wipe_and_reset()
}

fn start(last: ResetReport) -> Board<QemuRiscv32> {
    let entropy = virt::find_virtio(DeviceKind::Entropy)
        .and_then(|transport| Entropy::start(transport, ENTROPY_MEMORY.take(), CLINT).ok());
    Board::new(Noise(entropy), virt::flash(), RECORDS, last)
}

/// This machine.
struct QemuRiscv32;

impl Machine for QemuRiscv32 {
    const NAME: &'static str = "qemu_riscv32";
    const KIND: domain::DeviceKind = domain::DeviceKind::Emulated;
    type Noise = Noise;
    type Flash = CfiFlash;
    type Update = NoUpdate;

    fn algorithms() -> &'static [&'static dyn Algorithm] {
        algorithms!(portable)
    }

    fn now_us() -> u64 {
        CLINT.now_us()
    }
}

/// The virtio entropy device; `None` if the machine has none, which is the module's failure.
struct Noise(Option<Entropy>);

impl EntropySource for Noise {
    const MIN_ENTROPY: MinEntropy = EMULATED_NOISE;

    fn fill_raw(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        let device = self.0.as_mut().ok_or(EntropyError)?;
        device.fill(out).map_err(|_| EntropyError)
    }
}

/// Waiting on this board.
struct Sleep(Stability);

impl Runtime for Sleep {
    fn wait(&mut self, alarm: Option<u64>) {
        let now = CLINT.now_us();
        self.0.at(now);
        let longest = now.saturating_add(LONGEST_SLEEP_US);
        CLINT.set_alarm_us(alarm.unwrap_or(u64::MAX).min(longest));
        hart::wait();
    }

    fn feed_watchdog(&mut self) {
        ROUNDS.count();
    }

    fn should_stop(&mut self) -> bool {
        bare::is_reset_wanted()
    }
}

fn serve_interrupt(interrupt: Interrupt) {
    match interrupt {
        // An alarm that has passed is replaced; that of the watchdog is always set.
        Interrupt::Timer => {
            if ROUNDS.hangs(CLINT.now_us()) {
                halt(ResetReason::WATCHDOG);
            }
            CLINT.set_alarm_us(ROUNDS.next_us());
        }
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
