//! Arm MPS2 with the AN505 image: what is where (Arm DAI 0505 and ECM 0601256; QEMU's `hw/arm/mps2-tz.c`
//! and `hw/arm/armsse.c`).
//!
//! The core starts Secure, and everything stays so: the Security Attribution Unit is off, which makes all
//! addresses Secure (Armv8-M Architecture Reference Manual, SAU_CTRL), and the memory and peripheral
//! protection controllers let Secure accesses through as they are after reset. Devices and memories are
//! at their Secure addresses; the PSRAM has one address and no controller.

use super::mps2::{Map, Mps2};
use super::mpu;

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
