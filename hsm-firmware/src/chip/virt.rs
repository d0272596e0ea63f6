//! QEMU's `virt` machine, riscv32: addresses and interrupt sources (`hw/riscv/virt.c`,
//! `virt_memmap`).

use super::cfi_flash::CfiFlash;
use super::clint::Clint;
use super::finisher::{self, Finisher};
use super::plic::Plic;
use super::pmp::{self, Access};
use super::ring::Ring;
use super::uart16550::{self, Uart};
use super::virtio::{DeviceKind, Transport};

/// Interrupt source of the UART.
pub const UART_SOURCE: u32 = 10;
/// Interrupt source of the first virtio transport; the others follow.
pub const VIRTIO_SOURCE: u32 = 1;
/// Number of virtio transports.
pub const VIRTIO_COUNT: u32 = 8;
/// All of these interrupt sources.
pub const SOURCES: [u32; VIRTIO_COUNT as usize + 1] = [1, 2, 3, 4, 5, 6, 7, 8, UART_SOURCE];

/// Separate from the UART, so that it is zeroed memory and not part of the image.
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

/// Start of the reset code in ROM. A reset of the machine runs this code while the locked
/// protection still applies.
const ROM: usize = 0x1000;
const ROM_END: usize = 0x1_0000;

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __guard_bottom: u8;
    static __stack_bottom: u8;
    static __free_start: u8;
}

/// Makes code read-only, everything else non-executable, and the memory below the stack and the
/// unused memory inaccessible; see the memory map. A violation ends the firmware.
pub fn protect() {
    // SAFETY: the memory map lays out image, stack and variables like this; devices are below the
    // RAM.
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

/// Returns the second flash; the machine would boot from the first.
#[must_use]
pub fn flash() -> CfiFlash {
    // SAFETY: this is its address; it consists of two 16-bit chips, and nothing else uses it.
    unsafe { CfiFlash::new(0x2200_0000, FLASH_SIZE) }
}

/// Returns a virtio transport, 0 to [`VIRTIO_COUNT`] - 1.
#[must_use]
pub fn virtio(slot: u32) -> Transport {
    // SAFETY: these are the addresses of the eight transports.
    unsafe { Transport::new(0x1000_1000 + (slot % VIRTIO_COUNT) as usize * 0x1000) }
}

/// Returns the first transport with a device of this kind.
#[must_use]
pub fn find_virtio(kind: DeviceKind) -> Option<Transport> {
    (0..VIRTIO_COUNT).map(virtio).find(|transport| transport.is(kind))
}

/// Wipes RAM and resets the machine. For use when nothing can be trusted any more: not even the address
/// is read from RAM.
pub fn wipe_and_reset() -> ! {
    // SAFETY: this command resets the machine.
    unsafe { super::stack::wipe_and(FINISHER_ADDRESS, finisher::RESET) }
}
