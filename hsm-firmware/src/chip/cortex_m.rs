//! The Cortex-M core (Armv6-M, Armv7-M, and Armv8-M with the Main Extension): vectors, reset entry, interrupts, sleeping.
//!
//! Interrupts are open while the firmware works, so that receive buffers are drained, and closed
//! round the decision to sleep, so that none is missed.
//!
//! `cortex-m-rt` 0.7 is not used: it would take the place of the two loops below and of nothing else. Its
//! handler of hard faults runs Rust on the stack that has just overflowed; this one gives up the stack first.

use core::arch::{asm, global_asm};
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use hsm_protocol::reset::ResetReason;

use super::register::Register;
use super::stack;

/// External interrupts of the vector table: enough for every board.
const SOURCES: usize = 64;
/// Exception number of external interrupt 0 (Armv7-M Architecture Reference Manual, B1.5.2).
const FIRST_SOURCE: u32 = 16;

/// Interrupt set-enable register of sources 0 to 31 (B3.4.4); those of further sources follow. Writing
/// zeros changes nothing.
const NVIC_ISER0: usize = 0xE000_E100;
/// Vector table offset register (B3.2.5).
#[cfg(feature = "verified-boot")]
const VTOR: usize = 0xE000_ED08;
/// Application interrupt and reset control register (B3.2.6).
const AIRCR: usize = 0xE000_ED0C;
/// The key without which writes are ignored, and SYSRESETREQ.
const AIRCR_RESET: u32 = 0x05FA_0004;

// Reset: the core has set the stack pointer. The stack is painted, so that its deepest use can be
// told later, variables get their first values from where the image has them (where a loader has put them in
// place already, each from itself), and zeroed variables are zeroed, all before any Rust code. Of the
// instructions, those that Armv6-M has as well.
//
// Handlers of interrupts are Rust functions: the core itself saves what the calling convention lets a
// function change (B1.5.6). An NMI comes only from the watchdog: the main loop hangs.
//
// Any other exception is a fault: a bug, broken memory, or an access that the `mpu` forbids, such as
// one below the stack. Also when the core finds no stack to save registers on, the handler is entered
// (B1.5.11); so the whole stack is given up before anything is called: `halt` of the image notes the
// reason, wipes RAM and resets.
global_asm!(
    r#"
    .section .vectors, "a"
    .word __stack_top
    .word _start
    .word hang
    .rept 13
    .word fault
    .endr
    .rept {sources}
    .word {interrupt}
    .endr

    .section .text.start, "ax"
    .thumb_func
    .globl _start
    .type _start, %function
_start:
    ldr  r0, =__stack_bottom
    mov  r1, sp
    ldr  r2, ={paint}
1:  str  r2, [r0]
    adds r0, #4
    cmp  r0, r1
    blo  1b
    ldr  r0, =__data_start
    ldr  r1, =__data_end
    ldr  r2, =__data_load
2:  cmp  r0, r1
    bhs  3f
    ldr  r3, [r2]
    str  r3, [r0]
    adds r0, #4
    adds r2, #4
    b    2b
3:  ldr  r0, =__bss_start
    ldr  r1, =__bss_end
    movs r2, #0
4:  cmp  r0, r1
    bhs  5f
    str  r2, [r0]
    adds r0, #4
    b    4b
5:  bl   main
    .thumb_func
    .type fault, %function
fault:
    movs r0, #{fault}
    b    6f
    .thumb_func
    .type hang, %function
hang:
    movs r0, #{watchdog}
6:  ldr  r1, =__stack_top
    mov  sp, r1
    bl   halt
    .ltorg
"#,
    interrupt = sym handle_interrupt,
    sources = const SOURCES,
    paint = const stack::PAINT,
    fault = const ResetReason::FAULT.0,
    watchdog = const ResetReason::WATCHDOG.0,
);

/// Set by each interrupt, cleared by [`wait`].
static EVENT: AtomicBool = AtomicBool::new(false);
/// What serves interrupts: a `fn(u32)`, or null.
static HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Opens the interrupts of these sources, 0 to 63. `handler` gets the source of each, and must take
/// away its reason.
pub fn open_interrupts(sources: &[u32], handler: fn(u32)) {
    HANDLER.store(handler as *mut (), Ordering::Release);
    for source in sources {
        let register = NVIC_ISER0 + (*source as usize % SOURCES) / 32 * size_of::<u32>();
        // SAFETY: this is the register's address in every core, and the handler is set.
        unsafe { Register::<u32>::new(register) }.write(1 << (source % 32));
    }
}

/// Sleeps until an interrupt has been served since the last call; at once if one has.
///
/// So a caller that finds nothing to do and waits cannot sleep through work that arrives while it
/// looks.
pub fn wait() {
    // SAFETY: closes interrupts, and opens them again below: this is not called with interrupts
    // closed on purpose, as `without_interrupts` takes closures of this module's siblings only.
    unsafe { asm!("cpsid i", options(nostack)) };
    if !EVENT.load(Ordering::Relaxed) {
        // Wakes when an enabled interrupt is pending, also while interrupts are closed.
        // SAFETY: changes nothing.
        unsafe { asm!("dsb", "wfi", options(nostack)) };
    }
    // What is pending is served before the next instruction but one (B1.4.3).
    // SAFETY: see above.
    unsafe { asm!("cpsie i", "isb", options(nostack)) };
    EVENT.store(false, Ordering::Relaxed);
}

/// Resets the machine; RAM contents survive, the image is loaded anew.
pub fn reset() -> ! {
    // SAFETY: this is the register's address in every core.
    unsafe { Register::<u32>::new(AIRCR) }.write(AIRCR_RESET);
    loop {
        // SAFETY: changes nothing.
        unsafe { asm!("dsb", "wfi", options(nostack)) };
    }
}

/// Starts the program whose vectors are at an address: its stack pointer is the first word, its entry point the
/// second.
///
/// # Safety
/// There must be such a program, and nothing of this one may have to go on.
#[cfg(feature = "verified-boot")]
pub unsafe fn start_at(vectors: usize) -> ! {
    // SAFETY: the caller promises a program, whose vectors are words that can be read.
    let word = |offset| unsafe { Register::<u32>::new(vectors + offset) }.read();
    let (stack, entry) = (word(0), word(size_of::<u32>()));
    // SAFETY: closes interrupts, moves the vectors (VTOR, Armv8-M Architecture Reference Manual, D1.2.272) and
    // leaves this program, whose stack is given up; interrupts are opened again, as a reset leaves them.
    unsafe {
        asm!(
            "cpsid i",
            "str {vectors}, [{vtor}]",
            "msr msp, {stack}",
            "dsb",
            "isb",
            "cpsie i",
            "bx {entry}",
            vectors = in(reg) vectors,
            vtor = in(reg) VTOR,
            stack = in(reg) stack,
            entry = in(reg) entry,
            options(noreturn),
        )
    }
}

/// Wipes RAM and resets the machine. For use when nothing can be trusted any more: not even the address
/// is read from RAM.
pub fn wipe_and_reset() -> ! {
    // SAFETY: this command resets the machine, in every core.
    unsafe { stack::wipe_and(AIRCR, AIRCR_RESET) }
}

/// Runs a closure that no interrupt handler interrupts. It must not [`wait`].
pub(super) fn without_interrupts<R>(f: impl FnOnce() -> R) -> R {
    critical_section::with(|_| f())
}

struct SingleCore;
critical_section::set_impl!(SingleCore);

// SAFETY: the machine has one core, so nothing runs beside what has interrupts closed. Sections
// nest, as each restores what it found.
unsafe impl critical_section::Impl for SingleCore {
    unsafe fn acquire() -> critical_section::RawRestoreState {
        let primask: u32;
        // SAFETY: reads and sets PRIMASK only; the compiler moves no memory access across.
        unsafe { asm!("mrs {}, PRIMASK", "cpsid i", out(reg) primask, options(nostack)) };
        primask & 1 == 0
    }

    unsafe fn release(were_open: critical_section::RawRestoreState) {
        if were_open {
            // SAFETY: interrupts were open when the section was entered.
            unsafe { asm!("cpsie i", options(nostack)) };
        }
    }
}

extern "C" fn handle_interrupt() {
    let exception: u32;
    // SAFETY: reads the number of the exception that is being served.
    unsafe { asm!("mrs {}, IPSR", out(reg) exception, options(nomem, nostack)) };
    let handler = HANDLER.load(Ordering::Acquire);
    if !handler.is_null() {
        // SAFETY: only `open_interrupts` stores here, and always a `fn(u32)`.
        let handler = unsafe { mem::transmute::<*mut (), fn(u32)>(handler) };
        handler(exception.wrapping_sub(FIRST_SOURCE));
    }
    EVENT.store(true, Ordering::Relaxed);
}
