//! Arm MPS2 with the AN386 image: what is where (Arm DAI 0386; QEMU's `hw/arm/mps2.c`).

use super::mps2::{Map, Mps2};
use super::mpu;

const MAP: Map = Map {
    timers: [0x4000_0000, 0x4000_1000],
    timer_sources: [8, 9],
    ticks_per_us: 25,
    uarts: [0x4000_4000, 0x4000_5000],
    line_sources: [0, 1],
    noise_source: 2,
    watchdog: 0x4000_8000,
    psram: 0x2100_0000,
    devices: 0x1_0000,
    protect: mpu::v7::protect,
};

/// The devices.
// SAFETY: this is their map, and they are used by nothing else.
pub static DEVICES: Mps2 = unsafe { Mps2::new(&MAP) };
