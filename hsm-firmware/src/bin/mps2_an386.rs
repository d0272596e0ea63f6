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

// SAFETY: the trap entries go to the one function of this name when the processor reports a fault.
#[unsafe(no_mangle)]
extern "C" fn halt() -> ! {
    board::halt()
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    board::halt()
}
