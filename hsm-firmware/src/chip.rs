//! Register access: the only place of the crate that may be `unsafe`.
//!
//! Drivers are safe to use once constructed; the unsafe constructors ask for nothing but the right
//! address. Nothing here polls a register in a tight loop, but where the hardware answers within
//! microseconds: a driver starts something, and `hart::wait` sleeps until an interrupt.
#![allow(unsafe_code)]

#[cfg(target_arch = "riscv32")]
pub mod cfi_flash;
#[cfg(target_arch = "riscv32")]
pub mod clint;
#[cfg(target_arch = "riscv32")]
pub mod finisher;
#[cfg(target_arch = "riscv32")]
pub mod hart;
#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_arch = "riscv32")]
pub mod image;
#[cfg(target_arch = "riscv32")]
pub mod plic;
#[cfg(target_arch = "riscv32")]
pub mod register;
pub mod ring;
#[cfg(target_arch = "riscv32")]
pub mod stack;
#[cfg(target_arch = "riscv32")]
pub mod uart16550;
#[cfg(target_arch = "riscv32")]
pub mod virt;
#[cfg(target_arch = "riscv32")]
pub mod virtio;
