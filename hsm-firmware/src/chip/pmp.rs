//! Physical memory protection of the RISC-V hart (privileged specification, 3.7).
//!
//! The firmware runs in machine mode, which only locked entries bind. They stay until reset, so no bug
//! can take them back.

use core::arch::asm;

/// What may be done with a range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nothing.
    None,
    /// Reading: constants.
    Read,
    /// Reading and writing: variables, stack, devices.
    ReadWrite,
    /// Reading and running: code.
    ReadExecute,
}

impl Access {
    /// The configuration of a locked entry for all addresses from the one before it to its own.
    const fn locked(self) -> u32 {
        const LOCKED: u32 = 1 << 7;
        const TOP_OF_RANGE: u32 = 1 << 3;
        let access = match self {
            Self::None => 0b000,
            Self::Read => 0b001,
            Self::ReadWrite => 0b011,
            Self::ReadExecute => 0b101,
        };
        LOCKED | TOP_OF_RANGE | access
    }
}

/// Ranges of [`protect`]: the entries of two configuration registers.
pub const RANGES: usize = 8;

/// Divides the address space into ranges, each up to but without its address, in ascending order. The
/// first begins at 0; the last must be for all that is left, and its address is not looked at.
///
/// # Safety
/// Code must be allowed to run where it is, and the stack and every variable to be written.
pub unsafe fn protect(ranges: &[(usize, Access); RANGES]) {
    /// Stands for the end of the address space.
    const END: usize = usize::MAX;
    let [a, b, c, d, e, f, g, _] = ranges.map(|(end, _)| end >> 2);
    let [low, high] = [0, 4].map(|first: usize| {
        let entries = ranges.iter().skip(first).take(4);
        entries.rev().fold(0, |entries, (_, access)| entries << 8 | access.locked())
    });
    // SAFETY: writes the registers of the entries, addresses first, as a locked entry locks the
    // address before it too. The caller answers for what they forbid.
    unsafe {
        asm!(
            "csrw pmpaddr0, {a}",
            "csrw pmpaddr1, {b}",
            "csrw pmpaddr2, {c}",
            "csrw pmpaddr3, {d}",
            "csrw pmpaddr4, {e}",
            "csrw pmpaddr5, {f}",
            "csrw pmpaddr6, {g}",
            "csrw pmpaddr7, {end}",
            "csrw pmpcfg0, {low}",
            "csrw pmpcfg1, {high}",
            a = in(reg) a,
            b = in(reg) b,
            c = in(reg) c,
            d = in(reg) d,
            e = in(reg) e,
            f = in(reg) f,
            g = in(reg) g,
            end = in(reg) END,
            low = in(reg) low,
            high = in(reg) high,
            options(nostack)
        );
    }
}
