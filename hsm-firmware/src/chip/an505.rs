//! Arm MPS2 with the AN505 image: what is where (Arm DAI 0505 and ECM 0601256; QEMU's `hw/arm/mps2-tz.c`
//! and `hw/arm/armsse.c`).
//!
//! The core starts Secure, and everything stays so: the Security Attribution Unit is off, which makes all
//! addresses Secure (Armv8-M Architecture Reference Manual, SAU_CTRL), and the memory and peripheral
//! protection controllers let Secure accesses through as they are after reset. Devices and memories are
//! at their Secure addresses; the PSRAM has one address and no controller.

use hsm_boot::ResetReason;

use super::loaded::ImageMemory;
use super::mps2::{Map, Mps2};
use super::mpu;
use super::register::Register;

const MAP: Map = Map {
    timers: [0x5000_0000, 0x5000_1000],
    timer_sources: [3, 4],
    ticks_per_us: 20,
    uarts: [0x5020_0000, 0x5020_1000],
    line_sources: [32, 33],
    noise_source: 34,
    // The Secure one.
    watchdog: 0x5008_1000,
    psram: 0x8000_0000,
    devices: 0x20_2000,
    protect: mpu::v8::protect,
};

/// The devices.
// SAFETY: this is their map, and they are used by nothing else.
pub static DEVICES: Mps2 = unsafe { Mps2::new(&MAP) };

/// RESET_SYNDROME of the system control (Arm DDI 0571, 3.10): why the core was reset.
const RESET_SYNDROME: usize = 0x5002_1100;
const POWER_ON: u32 = 1 << 0;
const WATCHDOGS: u32 = 0b110;
const SYSTEM_RESET_REQUESTS: u32 = 0b11 << 4;
const LOCKUPS: u32 = 0b11 << 8;

/// Takes why the core was reset; the register keeps it until it is cleared.
#[must_use]
pub fn reset_reason() -> ResetReason {
    // SAFETY: this is the register's address.
    let register = unsafe { Register::<u32>::new(RESET_SYNDROME) };
    let syndrome = register.read();
    register.write(0);
    match syndrome {
        syndrome if syndrome & WATCHDOGS != 0 => ResetReason::Watchdog,
        syndrome if syndrome & LOCKUPS != 0 => ResetReason::Fault,
        syndrome if syndrome & SYSTEM_RESET_REQUESTS != 0 => ResetReason::Software,
        syndrome if syndrome & POWER_ON != 0 => ResetReason::PowerOn,
        _ => ResetReason::Other,
    }
}

/// Returns the memory that the second stage loads the image into. To be called once, there.
#[must_use]
pub fn image_memory() -> ImageMemory {
    // SAFETY: the second stage calls this once.
    unsafe { ImageMemory::take() }
}
