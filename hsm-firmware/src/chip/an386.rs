//! Arm MPS2 with the AN386 image: what is where (Arm DAI 0386; QEMU's `hw/arm/mps2.c`).

use super::cmsdk_timer::{Alarm, Clock};
use super::cmsdk_uart::Uart;
use super::mapped_nor::MappedNor;
use super::mpu::{self, Kind, Region};
use super::ring::Ring;
use super::watchdog::Watchdog;

/// Bytes of the receive ring of the line, as many as the device announces in `rx_bytes`.
pub const LINE_RING: usize = 64 * 1024;
/// Bytes of noise that are fetched ahead.
pub const NOISE_RING: usize = 256;

/// Interrupt sources of UART 0: received, transmitted.
pub const LINE_SOURCES: [u32; 2] = [0, 1];
/// Interrupt source of UART 1: received.
pub const NOISE_SOURCE: u32 = 2;
/// Interrupt source of timer 0.
pub const CLOCK_SOURCE: u32 = 8;
/// Interrupt source of timer 1.
pub const ALARM_SOURCE: u32 = 9;
/// All of these sources.
pub const SOURCES: [u32; 5] =
    [LINE_SOURCES[0], LINE_SOURCES[1], NOISE_SOURCE, CLOCK_SOURCE, ALARM_SOURCE];

// Apart from the UARTs, so that they are zeroed memory and not part of the image.
static LINE_BYTES: Ring<LINE_RING> = Ring::new();
static NOISE_BYTES: Ring<NOISE_RING> = Ring::new();

/// Timer 0, 25 MHz.
// SAFETY: this is its address.
pub static CLOCK: Clock = unsafe { Clock::new(0x4000_0000, 25) };
/// Timer 1, 25 MHz.
// SAFETY: this is its address.
pub static ALARM: Alarm = unsafe { Alarm::new(0x4000_1000) };
/// UART 0: the line to the host.
// SAFETY: this is its address.
pub static LINE: Uart<LINE_RING> = unsafe { Uart::new(0x4000_4000, &LINE_BYTES) };
/// UART 1: the noise source.
// SAFETY: this is its address.
pub static NOISE: Uart<NOISE_RING> = unsafe { Uart::new(0x4000_5000, &NOISE_BYTES) };
/// The watchdog.
// SAFETY: this is its address, and it resets the machine.
pub const WATCHDOG: Watchdog = unsafe { Watchdog::new(0x4000_8000) };

const PSRAM: u32 = 0x2100_0000;
const PSRAM_SIZE: u32 = 16 << 20;

/// The 16 MiB of PSRAM, which the emulator maps to a file.
#[must_use]
pub fn flash() -> MappedNor {
    // SAFETY: this is its address; the memory map gives it to nothing else.
    unsafe { MappedNor::new(PSRAM as usize, PSRAM_SIZE as usize) }
}

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
    static __stack_bottom: u8;
    static __bss_end: u8;
}

/// From now on code and constants cannot be written, nothing else runs, and what is below the stack or
/// unused cannot be accessed: see the memory map. Whatever tries ends the firmware.
#[allow(clippy::cast_possible_truncation)] // addresses have 32 bits
pub fn protect() {
    let region = |start: *const u8, end: *const u8, log_size, kind| Region {
        base: start.addr() as u32,
        log_size,
        used: (end.addr() - start.addr()) as u32,
        kind,
    };
    // SAFETY: so the memory map lays out the image, stack and variables, and here are the devices.
    unsafe {
        mpu::protect(&[
            region(&raw const __image_start, &raw const __image_end, 22, Kind::Code),
            region(&raw const __stack_bottom, &raw const __bss_end, 21, Kind::Memory),
            Region { base: PSRAM, log_size: 24, used: PSRAM_SIZE, kind: Kind::Memory },
            Region { base: 0x4000_0000, log_size: 16, used: 0x1_0000, kind: Kind::Device },
        ]);
    }
}
