//! The stack: how deep it went, and wiping all of RAM at the end.

use core::arch::asm;
use core::ptr;

/// What unused stack is filled with at reset.
pub(super) const PAINT: u32 = 0xC5C5_C5C5;

unsafe extern "C" {
    static __stack_bottom: u32;
    static __stack_top: u32;
    static __bss_end: u32;
}

/// Deepest use of the stack since reset, in bytes.
#[must_use]
pub fn peak() -> u32 {
    let bottom = &raw const __stack_bottom;
    let top = &raw const __stack_top;
    let words = (top.addr() - bottom.addr()) / size_of::<u32>();
    // SAFETY: the linker reserves these words for the stack and nothing else. Reading those in use
    // is harmless, as they are only compared.
    let unused = (0..words).take_while(|at| unsafe { bottom.add(*at).read_volatile() } == PAINT);
    u32::try_from((words - unused.count()) * size_of::<u32>()).unwrap_or(u32::MAX)
}

/// Begins to measure anew: fills the unused stack again.
pub fn repaint() {
    let bottom = &raw const __stack_bottom as *mut u32;
    let end: usize;
    // SAFETY: reads the stack pointer. It stays where it is until this function returns, whatever
    // it is inlined into, as nothing is called below.
    unsafe {
        #[cfg(target_arch = "arm")]
        asm!("mov {0}, sp", out(reg) end, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "riscv32")]
        asm!("mv {0}, sp", out(reg) end, options(nomem, nostack, preserves_flags));
    }
    let words = end.saturating_sub(bottom.addr()) / size_of::<u32>();
    for at in 0..words {
        // SAFETY: neither calling convention has live data below the stack pointer. Interrupt
        // handlers, which run on the same stack, have returned before the next word is written.
        unsafe { bottom.add(at).write_volatile(PAINT) }
    }
}

/// Whether the stack has ever been full. What lies below it may have been overwritten then.
#[must_use]
pub fn has_overflowed() -> bool {
    // SAFETY: the lowest word of the stack, as in `peak`.
    unsafe { ptr::read_volatile(&raw const __stack_bottom) != PAINT }
}

/// Wipes stack and variables, and so every secret in RAM, and writes `command` to the register at
/// address `then`, which ends the program.
///
/// # Safety
/// `then` must be the address of a register, and writing `command` must stop or reset the machine.
pub unsafe fn wipe_and(then: usize, command: u32) -> ! {
    #[cfg(target_arch = "arm")]
    // SAFETY: as below; an interrupt, closed before anything else, would find no stack contents.
    unsafe {
        asm!(
            "cpsid i",
            "2: str {zero}, [{at}], #4",
            "cmp {at}, {end}",
            "blo 2b",
            "dsb",
            "str {command}, [{then}]",
            "3: wfi",
            "b 3b",
            at = in(reg) &raw const __stack_bottom,
            end = in(reg) &raw const __bss_end,
            zero = in(reg) 0,
            command = in(reg) command,
            then = in(reg) then,
            options(noreturn)
        )
    }
    #[cfg(target_arch = "riscv32")]
    // SAFETY: from the first store on only registers are used and nothing returns, so it does not
    // matter that this takes away the stack and all variables. Interrupts are closed first.
    unsafe {
        asm!(
            "csrci mstatus, 8",
            "2: sw zero, 0({at})",
            "addi {at}, {at}, 4",
            "bltu {at}, {end}, 2b",
            "fence",
            "sw {command}, 0({then})",
            "3: wfi",
            "j 3b",
            at = in(reg) &raw const __stack_bottom,
            end = in(reg) &raw const __bss_end,
            command = in(reg) command,
            then = in(reg) then,
            options(noreturn)
        )
    }
}
