//! QEMU's riscv32 `virt` machine: UART and virtio console as links, virtio entropy device, CFI
//! flash for the records.
//!
//! The board has no place for a key that only this firmware could read, so records are stored
//! unsealed: whoever has the flash image has the device's keys (see `docs/threat-model.md`).

use core::sync::atomic::{AtomicBool, Ordering};

use heapless::Vec;
use static_cell::ConstStaticCell;

use crate::chip::cfi_flash::{BLOCK, CfiFlash};
use crate::chip::hart::{self, Interrupt};
use crate::chip::uart16550::UartPort;
use crate::chip::virt::{self, CLINT, FINISHER, PLIC, UART};
use crate::chip::virtio::console::{Console, ConsoleMemory};
use crate::chip::virtio::entropy::{Entropy, EntropyMemory};
use crate::chip::virtio::DeviceKind;
use crate::chip::{image, stack};
use crate::nv::{Geometry, RecordLog};
use crate::serve::{Line, LineBuffers, Runtime, serve};

/// Exit status of the emulator after a panic.
const PANIC_STATUS: u16 = 101;

/// Where the records are: 2 MiB at the start of the flash.
const RECORDS: Geometry = Geometry { start: 0, segment: BLOCK as u32, segments: 8 };

static CONSOLE_MEMORY: ConstStaticCell<ConsoleMemory> = ConstStaticCell::new(ConsoleMemory::new());
static ENTROPY_MEMORY: ConstStaticCell<EntropyMemory> = ConstStaticCell::new(EntropyMemory::new());
static BUFFERS: ConstStaticCell<[LineBuffers; 2]> =
    ConstStaticCell::new([const { LineBuffers::new() }; 2]);

/// Set when the core has asked for a reset.
static RESET: AtomicBool = AtomicBool::new(false);

struct Echo;
impl crate::serve::Responder for Echo {
    fn process(&mut self, frame: hsm_protocol::frame::Frame<'_>, reply: &mut [u8]) -> usize {
        hsm_protocol::frame::encode(frame.header, frame.payload, reply).unwrap_or(0)
    }
}

/// Runs the firmware; the entry point of the image.
pub fn run() -> ! {
    UART.start();
    let sources: Vec<u32, { virt::VIRTIO_COUNT as usize + 1 }> =
        (0..virt::VIRTIO_COUNT).map(|slot| virt::VIRTIO_SOURCE + slot).chain([virt::UART_SOURCE]).collect();
    PLIC.enable_only(&sources);
    hart::open_interrupts(serve_interrupt);

    let mut hsm = Echo;
    let [first, second] = BUFFERS.take();
    let mut uart = UartPort::new(&UART);
    let mut console = virt::find_virtio(DeviceKind::Console)
        .and_then(|transport| Console::start(transport, CONSOLE_MEMORY.take()).ok());
    let mut lines = Vec::<Line<'_>, 2>::new();
    let _ = lines.push(Line::new(&mut uart, first));
    if let Some(console) = &mut console {
        let _ = lines.push(Line::new(console, second));
    }
    serve(&mut hsm, &mut lines, &mut Sleep);
    FINISHER.reset()
}

/// Ends the firmware after a panic: nothing is reported, and nothing is left in RAM.
pub fn halt() -> ! {
    virt::wipe_and_exit(PANIC_STATUS)
}

/// Waiting on this board.
struct Sleep;

impl Runtime for Sleep {
    fn wait(&mut self) {
        assert!(!stack::has_overflowed(), "stack overflow");
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
                    Some(slot) if slot < virt::VIRTIO_COUNT => virt::virtio(slot).acknowledge_interrupt(),
                    _ if source == virt::UART_SOURCE => UART.interrupt(),
                    _ => {}
                }
                PLIC.complete(source);
            }
        }
    }
}
