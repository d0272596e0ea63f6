//! Memory protection unit of a Cortex-M core.
//!
//! Once the unit is on, addresses outside all regions cannot be accessed, except the core's own
//! registers, which it does not guard. It is off in the fault handler, which wipes RAM and ends.
//!
//! Architectures differ in what their unit can tell apart: see the modules.

use core::arch::asm;

use super::register::Register;

#[cfg(any(feature = "mps2_an386", feature = "rp2040"))]
pub mod v7;
#[cfg(any(feature = "mps2_an505", feature = "rp2350"))]
pub mod v8;

// The same in both architectures.
const CTRL: usize = 0xE000_ED94;
const RBAR: usize = 0xE000_ED9C;

/// On, with a fault for privileged code outside all regions; off in the fault handler.
const CTRL_ENABLE: u32 = 1;

/// What a region holds, which determines how it may be accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Code: may be read and executed.
    Code,
    /// Constants: may be read.
    Constants,
    /// Variables and stack: may be read and written.
    Memory,
    /// Registers: may be read and written, in program order.
    Device,
}

/// A region of addresses with the same access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// First address.
    pub base: u32,
    /// Bytes in use, counted from the base. As few after the last of them as the unit can tell apart
    /// can be accessed too. A region of 0 bytes is left out.
    pub used: u32,
    /// What it holds.
    pub kind: Kind,
}

/// Puts the regions in force: with the barriers, the next access and the next instruction are already
/// checked.
///
/// # Safety
/// Whatever becomes inaccessible must not be used.
unsafe fn enable() {
    // SAFETY: this is the register's address in every core that has the unit; the rest is the caller's
    // promise.
    unsafe {
        asm!("dsb", options(nostack));
        Register::<u32>::new(CTRL).write(CTRL_ENABLE);
        asm!("dsb", "isb", options(nostack));
    }
}
