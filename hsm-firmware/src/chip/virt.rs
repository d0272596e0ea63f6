//! QEMU's `virt` machine, riscv32: what is where (`hw/riscv/virt.c`, `virt_memmap`).

use super::cfi_flash::CfiFlash;
use super::clint::Clint;
use super::finisher::Finisher;
use super::plic::Plic;
use super::pmp::{self, Access};
use super::ring::Ring;
use super::uart16550::{self, Uart};
use super::virtio::{DeviceKind, Transport};

/// Interrupt source of the UART.
pub const UART_SOURCE: u32 = 10;
/// Interrupt sources of the virtio transports: this one and those after it.
pub const VIRTIO_SOURCE: u32 = 1;
/// Virtio transports.
pub const VIRTIO_COUNT: u32 = 8;
/// All of these sources.
pub const SOURCES: [u32; VIRTIO_COUNT as usize + 1] = [1, 2, 3, 4, 5, 6, 7, 8, UART_SOURCE];

/// Apart from the UART, so that it is zeroed memory and not part of the image.
static UART_RING: Ring<{ uart16550::RING }> = Ring::new();

const FINISHER_ADDRESS: usize = 0x10_0000;
const FLASH_SIZE: usize = 32 << 20;

/// Test finisher.
// SAFETY: this is its address.
pub const FINISHER: Finisher = unsafe { Finisher::new(FINISHER_ADDRESS) };
/// Timer, 10 MHz.
// SAFETY: this is its address.
pub const CLINT: Clint = unsafe { Clint::new(0x200_0000, 10) };
/// Interrupt controller.
// SAFETY: this is its address, and the machine has one hart.
pub const PLIC: Plic = unsafe { Plic::new(0xC00_0000) };
/// UART.
// SAFETY: this is its address.
pub static UART: Uart = unsafe { Uart::new(0x1000_0000, &UART_RING) };

/// Start of the reset code in ROM, which a reset of the machine runs before the locked protection is
/// gone.
const ROM: usize = 0x1000;
const ROM_END: usize = 0x1_0000;

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __guard_bottom: u8;
    static __stack_bottom: u8;
    static __free_start: u8;
}

/// From now on code cannot be written, nothing else runs, and what is below the stack or unused cannot
/// be accessed: see the memory map. Whatever tries ends the firmware.
pub fn protect() {
    // SAFETY: so the memory map lays out the image, stack and variables; devices are below the RAM.
    unsafe {
        pmp::protect(&[
            (ROM, Access::None),
            (ROM_END, Access::ReadExecute),
            ((&raw const __image_start).addr(), Access::ReadWrite),
            ((&raw const __text_end).addr(), Access::ReadExecute),
            ((&raw const __guard_bottom).addr(), Access::Read),
            ((&raw const __stack_bottom).addr(), Access::None),
            ((&raw const __free_start).addr(), Access::ReadWrite),
            (usize::MAX, Access::None),
        ]);
    }
}

/// The second flash; the first is where the machine would boot from.
#[must_use]
pub fn flash() -> CfiFlash {
    // SAFETY: this is its address; it is two 16-bit chips, and nothing else uses it.
    unsafe { CfiFlash::new(0x2200_0000, FLASH_SIZE) }
}

/// A virtio transport, 0 to [`VIRTIO_COUNT`] - 1.
#[must_use]
pub fn virtio(slot: u32) -> Transport {
    // SAFETY: these are the addresses of the eight transports.
    unsafe { Transport::new(0x1000_1000 + (slot % VIRTIO_COUNT) as usize * 0x1000) }
}

/// The first transport with a device of this kind.
#[must_use]
pub fn find_virtio(kind: DeviceKind) -> Option<Transport> {
    (0..VIRTIO_COUNT).map(virtio).find(|transport| transport.is(kind))
}

/// Wipes RAM and ends the emulator with this exit status.
///
/// For when nothing is to be trusted any more: a reset from here could fail again for ever, while
/// whoever supervises the emulator sees the status and can wait longer each time.
pub fn wipe_and_exit(status: u16) -> ! {
    // SAFETY: this command ends the emulator.
    unsafe { super::stack::wipe_and(FINISHER_ADDRESS, Finisher::exit_command(status)) }
}
