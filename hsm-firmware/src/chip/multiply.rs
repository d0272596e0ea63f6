//! Multiplication of 64-bit numbers on a Cortex-M0+, which multiplies 32 bits by 32 and keeps 32.
//!
//! The arithmetic of P-256 and Ed25519 consists of these multiplications. That of `compiler_builtins`, a weak symbol
//! whose place this takes, keeps its values on the stack and takes twice the time. Neither has branches, so the
//! time does not depend on the numbers: on this core `muls` takes one cycle (RP2040 data sheet, 2.4.1.1).

use core::arch::global_asm;

// Run-time ABI for the Arm Architecture (IHI 0043), 5.1: r1:r0 times r3:r2, to r1:r0.
//
// With halves a and b of 16 bits of the low words: the low words' product is
// a0*b0 + (a1*b0 + a0*b1) * 2^16 + a1*b1 * 2^32, and the high words add to its high word.
global_asm!(
    r#"
    .section .text.__aeabi_lmul, "ax"
    .thumb_func
    .globl __aeabi_lmul
    .type __aeabi_lmul, %function
__aeabi_lmul:
    push {{r4, lr}}
    muls r1, r2, r1
    muls r3, r0, r3
    adds r1, r1, r3
    mov  r12, r1
    lsrs r3, r0, #16
    uxth r0, r0
    lsrs r1, r2, #16
    uxth r2, r2
    mov  r4, r0
    muls r4, r2, r4
    muls r2, r3, r2
    muls r3, r1, r3
    muls r1, r0, r1
    adds r2, r2, r1
    movs r1, #0
    adcs r1, r1
    lsls r1, r1, #16
    adds r3, r3, r1
    lsls r0, r2, #16
    lsrs r1, r2, #16
    adds r0, r0, r4
    adcs r1, r3
    add  r1, r12
    pop  {{r4, pc}}
    .size __aeabi_lmul, . - __aeabi_lmul
"#
);
