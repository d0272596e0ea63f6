//! Register access: the only place of the crate that may be `unsafe`.
//!
//! Drivers are safe to use once constructed; the unsafe constructors ask for nothing but the right
//! address. Nothing here polls a register in a tight loop, but where the hardware answers within
//! microseconds: a driver starts something, and `hart::wait` or `cortex_m::wait` sleeps until an
//! interrupt.
#![allow(unsafe_code)]

#[cfg(all(feature = "mps2_an386", target_arch = "arm"))]
pub mod an386;
#[cfg(all(feature = "mps2_an505", target_arch = "arm"))]
pub mod an505;
#[cfg(all(feature = "verified-boot", target_os = "none"))]
pub mod boot_report;
#[cfg(target_arch = "riscv32")]
pub mod cfi_flash;
#[cfg(target_arch = "riscv32")]
pub mod clint;
#[cfg(all(any(feature = "mps2_an386", feature = "mps2_an505"), target_arch = "arm"))]
pub mod cmsdk_timer;
#[cfg(all(any(feature = "mps2_an386", feature = "mps2_an505"), target_arch = "arm"))]
pub mod cmsdk_uart;
#[cfg(target_arch = "arm")]
pub mod cortex_m;
#[cfg(target_arch = "riscv32")]
pub mod finisher;
#[cfg(any(test, target_os = "none"))]
mod flash_words;
#[cfg(target_arch = "riscv32")]
pub mod hart;
#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_os = "none")]
pub mod image;
#[cfg(all(feature = "verified-boot", target_arch = "arm"))]
pub mod loaded;
#[cfg(any(test, all(any(feature = "mps2_an386", feature = "mps2_an505"), target_arch = "arm")))]
pub mod mapped_nor;
#[cfg(all(any(feature = "mps2_an386", feature = "mps2_an505"), target_arch = "arm"))]
pub mod mps2;
#[cfg(target_arch = "arm")]
pub mod mpu;
#[cfg(all(feature = "rp2040", target_arch = "arm"))]
mod multiply;
#[cfg(any(test, all(any(feature = "rp2040", feature = "rp2350"), target_arch = "arm")))]
pub mod pico;
#[cfg(all(any(feature = "rp2040", feature = "rp2350"), target_arch = "arm"))]
pub mod pl011;
#[cfg(target_arch = "riscv32")]
pub mod plic;
#[cfg(target_arch = "riscv32")]
pub mod pmp;
#[cfg(feature = "host")]
pub mod program;
#[cfg(any(test, target_os = "none"))]
pub mod register;
#[cfg(target_os = "none")]
pub mod retained;
pub mod ring;
#[cfg(all(feature = "rp2040", target_arch = "arm"))]
pub mod rp2040;
#[cfg(any(test, all(feature = "rp2350", target_arch = "arm")))]
pub mod rp2350;
#[cfg(target_os = "none")]
pub mod stack;
#[cfg(any(test, feature = "host"))]
pub mod thread_stack;
#[cfg(target_arch = "riscv32")]
pub mod uart16550;
#[cfg(all(any(feature = "mps2_an386", feature = "mps2_an505"), target_arch = "arm"))]
pub mod uart_noise;
#[cfg(target_os = "none")]
pub mod uart_port;
#[cfg(all(feature = "rp2350", target_arch = "arm"))]
mod usb_serial;
#[cfg(target_arch = "riscv32")]
pub mod virt;
#[cfg(target_arch = "riscv32")]
pub mod virtio;
#[cfg(all(any(feature = "mps2_an386", feature = "mps2_an505"), target_arch = "arm"))]
pub mod watchdog;
