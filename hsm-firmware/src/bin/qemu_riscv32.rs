//! Firmware image for QEMU's riscv32 `virt` machine.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

use core::{arch::global_asm, panic::PanicInfo, ptr};

// One hart runs; stack and zeroed variables are set up before any Rust code.
global_asm!(
    r#"
    .section .text.start, "ax"
    .globl _start
_start:
    .option push
    .option norelax
    la   gp, __global_pointer$
    .option pop
    csrw mie, zero
    la   sp, __stack_top
    la   t0, __bss_start
    la   t1, __bss_end
1:  bgeu t0, t1, 2f
    sw   zero, 0(t0)
    addi t0, t0, 4
    j    1b
2:  call main
3:  wfi
    j    3b
"#
);

/// Test finisher of the machine: ends the emulator.
const FINISHER: *mut u32 = ptr::without_provenance_mut(0x10_0000);

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    finish(0x5555)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    finish(1 << 16 | 0x3333)
}

fn finish(code: u32) -> ! {
    // SAFETY: the finisher register is mapped at this address on `-M virt`.
    unsafe { FINISHER.write_volatile(code) };
    loop {
        core::hint::spin_loop();
    }
}
