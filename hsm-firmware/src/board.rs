//! Boards: what a platform of the core is on each.

#[cfg(target_os = "none")]
mod bare;
#[cfg(feature = "host")]
pub mod host;
#[cfg(all(any(feature = "mps2_an386", feature = "mps2_an505"), target_arch = "arm"))]
mod mps2;
#[cfg(all(feature = "mps2_an386", target_arch = "arm"))]
pub mod mps2_an386;
#[cfg(all(feature = "mps2_an505", target_arch = "arm"))]
pub mod mps2_an505;
#[cfg(all(target_os = "none", not(feature = "verified-boot")))]
mod no_update;
#[cfg(all(any(feature = "rp2040", feature = "rp2350"), target_arch = "arm"))]
mod pico;
#[cfg(all(feature = "qemu_riscv32", target_arch = "riscv32"))]
pub mod qemu_riscv32;
#[cfg(target_os = "none")]
mod room;
#[cfg(all(feature = "rp2040", target_arch = "arm"))]
pub mod rp2040;
#[cfg(all(feature = "rp2350", target_arch = "arm"))]
pub mod rp2350;
