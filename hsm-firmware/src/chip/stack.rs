//! The stack: how deep it went, erasing what it was used for, and wiping all of RAM at the end.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering};

/// What unused stack is filled with, at reset and when it is erased.
pub(super) const PAINT: u32 = 0xC5C5_C5C5;

unsafe extern "C" {
    static __stack_bottom: u32;
    static __stack_top: u32;
    static __bss_end: u32;
}

/// Deepest use that [`erase`] has found since reset or [`take_peak`], in bytes. Only the main loop uses it,
/// so it needs no compare-and-swap, which some processors lack.
static PEAK: AtomicU32 = AtomicU32::new(0);

/// Deepest use of the stack that [`erase`] has found since reset or [`take_peak`], in bytes. What was used
/// after it is not in there: looking for it takes a read of each word of the stack.
#[must_use]
pub fn peak() -> u32 {
    PEAK.load(Ordering::Relaxed)
}

/// Looks for the deepest use since reset or the last call, in bytes, and begins to measure anew.
pub fn take_peak() -> u32 {
    erase();
    let peak = peak();
    PEAK.store(0, Ordering::Relaxed);
    peak
}

/// Erases what calls that have returned have left: fills the unused stack again, from the deepest
/// place that was used. A megabyte of which nothing was used costs a read of each word.
#[inline(never)]
pub fn erase() {
    let lowest = lowest_used();
    PEAK.store(PEAK.load(Ordering::Relaxed).max(depth(lowest)), Ordering::Relaxed);
    let end: usize;
    // SAFETY: reads the stack pointer. It stays where it is until this function returns, as nothing
    // is called below.
    unsafe {
        #[cfg(target_arch = "arm")]
        asm!("mov {0}, sp", out(reg) end, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "riscv32")]
        asm!("mv {0}, sp", out(reg) end, options(nomem, nostack, preserves_flags));
    }
    let words = end.saturating_sub(lowest.addr()) / size_of::<u32>();
    for at in 0..words {
        // SAFETY: these words are of the stack. Neither calling convention has live data below the
        // stack pointer. Interrupt handlers, which run on the same stack, have returned before the
        // next word is written.
        unsafe { lowest.add(at).write_volatile(PAINT) }
    }
}

/// The lowest word of the stack that has been written to, by what it holds.
fn lowest_used() -> *mut u32 {
    /// Words that are compared at a time; a multiple of them is the stack.
    const STRIDE: usize = 8;
    let bottom = (&raw const __stack_bottom).cast_mut();
    let words = ((&raw const __stack_top).addr() - bottom.addr()) / size_of::<u32>();
    // SAFETY: the linker reserves these words for the stack and nothing else. Reading those in use
    // is harmless, as they are only compared.
    let is_used = |at: usize| unsafe { bottom.add(at).read_volatile() } != PAINT;
    let strides = words / STRIDE;
    let used = (0..strides)
        .find(|stride| (0..STRIDE).fold(false, |used, at| used | is_used(stride * STRIDE + at)));
    let from = used.unwrap_or(strides) * STRIDE;
    let at = (from..words).find(|at| is_used(*at)).unwrap_or(words);
    // SAFETY: at most one past the last word of the stack.
    unsafe { bottom.add(at) }
}

/// Returns the address below which the stack must not grow.
#[cfg(any(feature = "mps2_an505", feature = "rp2350"))]
pub(super) fn bottom() -> usize {
    (&raw const __stack_bottom).addr()
}

/// Bytes from a word of the stack to its top.
fn depth(lowest: *mut u32) -> u32 {
    let depth = (&raw const __stack_top).addr().saturating_sub(lowest.addr());
    u32::try_from(depth).unwrap_or(u32::MAX)
}

// Only registers are used from the first store on, and nothing returns, so it does not matter that this
// takes away the stack and all variables; an interrupt, closed before anything else, would find none. At
// `wiped` a debugger can look whether anything is left.
#[cfg(target_arch = "arm")]
global_asm!(
    r#"
    .section .text.wipe, "ax"
    .thumb_func
    .globl wipe_and_end
    .type wipe_and_end, %function
wipe_and_end:
    cpsid i
    ldr  r2, =__stack_bottom
    ldr  r3, =__bss_end
    movs r4, #0
1:  str  r4, [r2]
    adds r2, #4
    cmp  r2, r3
    blo  1b
    dsb
    .thumb_func
    .globl wiped
    .type wiped, %function
wiped:
    str  r1, [r0]
2:  wfi
    b    2b
    .ltorg
"#
);
#[cfg(target_arch = "riscv32")]
global_asm!(
    r#"
    .section .text.wipe, "ax"
    .globl wipe_and_end
wipe_and_end:
    csrci mstatus, 8
    .option push
    .option norelax
    la   t0, __stack_bottom
    la   t1, __bss_end
    .option pop
1:  sw   zero, 0(t0)
    addi t0, t0, 4
    bltu t0, t1, 1b
    fence
    .globl wiped
wiped:
    sw   a1, 0(a0)
2:  wfi
    j    2b
"#
);

unsafe extern "C" {
    fn wipe_and_end(then: usize, command: u32) -> !;
}

/// Wipes stack and variables, the heap among them, and so every secret in RAM, and writes `command` to
/// the register at address `then`, which ends the program.
///
/// # Safety
/// `then` must be the address of a register, and writing `command` must stop or reset the machine.
pub unsafe fn wipe_and(then: usize, command: u32) -> ! {
    // SAFETY: nothing of this program goes on; the rest is the caller's promise.
    unsafe { wipe_and_end(then, command) }
}
