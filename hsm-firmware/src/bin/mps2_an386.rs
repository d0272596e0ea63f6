//! Firmware image for Arm's MPS2 board with the AN386 image, and for QEMU's machine of that name.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use hsm_firmware::board::mps2_an386 as board;

// SAFETY: the start-up code calls the one function of this name, once, and never returns to Rust.
#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    board::run()
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    board::halt()
}
