//! Firmware image for QEMU's riscv32 `virt` machine.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use hsm_firmware::board::qemu_riscv32 as board;

// SAFETY: the start-up code calls the one function of this name, once, and never returns to Rust.
#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    board::run()
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    board::halt()
}
