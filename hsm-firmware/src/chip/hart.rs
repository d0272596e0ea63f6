//! The RISC-V hart: reset entry, traps, sleeping.
//!
//! Interrupts are open while the firmware works, so that receive buffers are drained, and closed
//! round the decision to sleep, so that none is missed.
//!
//! `riscv-rt` 0.18 is not used: it would take the place of the two loops below and of nothing else. Its trap
//! entry saves registers on the stack that has just overflowed; here every fault gives up the stack first, so
//! that RAM is wiped.

use core::arch::global_asm;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use hsm_protocol::reset::ResetReason;
use riscv::register::{mcause, mie, mstatus};

use super::stack;

// Reset: one hart runs. Traps are answered from the start. The stack is painted, so that its
// deepest use can be told later, and zeroed variables are zeroed before any Rust code.
//
// Traps are vectored (privileged specification, 3.1.7): exceptions come to the first entry, the timer
// interrupt, 7, and the external one, 11, to theirs. All else is a fault.
//
// Fault: a bug, broken memory, or an access that `pmp` forbids, such as one below the stack. The stack
// pointer is of no use then, so the whole stack is given up before anything is called: `halt` of the
// image notes the reason, wipes RAM and resets. An interrupt for which there is no stack left faults when it saves
// registers, and so comes here too.
//
// Interrupt: saves what the calling convention lets a function change, and nothing else; the handler
// runs on the stack of what it interrupted.
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
    la   t0, trap_vectors
    ori  t0, t0, 1
    csrw mtvec, t0
    la   t0, __stack_bottom
    la   t1, __stack_top
    li   t2, {paint}
1:  sw   t2, 0(t0)
    addi t0, t0, 4
    bltu t0, t1, 1b
    mv   sp, t1
    la   t0, __bss_start
    la   t1, __bss_end
2:  bgeu t0, t1, 3f
    sw   zero, 0(t0)
    addi t0, t0, 4
    j    2b
3:  call main
4:  wfi
    j    4b

    .section .text.trap, "ax"
    .balign 256
    .option push
    .option norvc
trap_vectors:
    j    fault
    .rept 6
    j    fault
    .endr
    j    trap_entry
    .rept 3
    j    fault
    .endr
    j    trap_entry
    .option pop

fault:
    .option push
    .option norelax
    la   gp, __global_pointer$
    la   sp, __stack_top
    .option pop
    li   a0, {fault}
    call halt
5:  j    5b

    .balign 4
trap_entry:
    addi sp, sp, -64
    sw   ra, 0(sp)
    sw   t0, 4(sp)
    sw   t1, 8(sp)
    sw   t2, 12(sp)
    sw   t3, 16(sp)
    sw   t4, 20(sp)
    sw   t5, 24(sp)
    sw   t6, 28(sp)
    sw   a0, 32(sp)
    sw   a1, 36(sp)
    sw   a2, 40(sp)
    sw   a3, 44(sp)
    sw   a4, 48(sp)
    sw   a5, 52(sp)
    sw   a6, 56(sp)
    sw   a7, 60(sp)
    call {handler}
    lw   ra, 0(sp)
    lw   t0, 4(sp)
    lw   t1, 8(sp)
    lw   t2, 12(sp)
    lw   t3, 16(sp)
    lw   t4, 20(sp)
    lw   t5, 24(sp)
    lw   t6, 28(sp)
    lw   a0, 32(sp)
    lw   a1, 36(sp)
    lw   a2, 40(sp)
    lw   a3, 44(sp)
    lw   a4, 48(sp)
    lw   a5, 52(sp)
    lw   a6, 56(sp)
    lw   a7, 60(sp)
    addi sp, sp, 64
    mret
"#,
    handler = sym handle_trap,
    paint = const stack::PAINT,
    fault = const ResetReason::FAULT.0,
);

/// Set by each interrupt, cleared by [`wait`].
static EVENT: AtomicBool = AtomicBool::new(false);
/// What serves interrupts: a `fn(Interrupt)`, or null.
static HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Why the hart was interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// The time of an alarm has come.
    Timer,
    /// The interrupt controller has something to claim.
    External,
}

/// Opens interrupts, external and timer. `handler` runs in each of them, with interrupts closed,
/// and must take away its reason.
pub fn open_interrupts(handler: fn(Interrupt)) {
    HANDLER.store(handler as *mut (), Ordering::Release);
    // SAFETY: the start-up code has set the trap vector, and the handler it calls is set now.
    unsafe {
        mie::set_mext();
        mie::set_mtimer();
        mstatus::set_mie();
    }
}

/// Sleeps until an interrupt has been served since the last call; at once if one has.
///
/// So a caller that finds nothing to do and waits cannot sleep through work that arrives while it
/// looks.
pub fn wait() {
    riscv::interrupt::machine::disable();
    if !EVENT.swap(false, Ordering::Relaxed) {
        // Wakes when an enabled interrupt is pending, also while interrupts are closed.
        riscv::asm::wfi();
    }
    // SAFETY: this is not called with interrupts closed on purpose: `without_interrupts` takes
    // closures of this module's siblings only, none of which sleeps.
    unsafe { riscv::interrupt::machine::enable() };
    EVENT.store(false, Ordering::Relaxed);
}

/// Sleeps until some interrupt is pending.
pub(super) fn sleep() {
    riscv::asm::wfi();
}

/// Runs a closure that no interrupt handler interrupts. It must not [`wait`].
pub(super) fn without_interrupts<R>(f: impl FnOnce() -> R) -> R {
    riscv::interrupt::machine::free(f)
}

extern "C" fn handle_trap() {
    /// Exception codes of interrupts (privileged specification, table 14).
    const MACHINE_TIMER: usize = 7;
    const MACHINE_EXTERNAL: usize = 11;

    let cause = mcause::read();
    let interrupt = match (cause.is_interrupt(), cause.code()) {
        (true, MACHINE_TIMER) => Interrupt::Timer,
        (true, MACHINE_EXTERNAL) => Interrupt::External,
        #[allow(clippy::panic)] // the vectors let no other trap through
        _ => panic!("trap"),
    };
    let handler = HANDLER.load(Ordering::Acquire);
    if !handler.is_null() {
        // SAFETY: only `open_interrupts` stores here, and always a `fn(Interrupt)`.
        let handler = unsafe { mem::transmute::<*mut (), fn(Interrupt)>(handler) };
        handler(interrupt);
    }
    EVENT.store(true, Ordering::Relaxed);
}
