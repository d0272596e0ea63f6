//! Memory protection unit of Armv7-M (Architecture Reference Manual, B3.5).
//!
//! Once the unit is on, addresses outside all regions cannot be accessed, except the core's own
//! registers, which it does not guard (B3.5.1). It is off in the fault handler, which wipes RAM and
//! ends.

use core::arch::asm;

use super::register::Register;

const CTRL: usize = 0xE000_ED94;
const RBAR: usize = 0xE000_ED9C;
const RASR: usize = 0xE000_EDA0;

/// On, with a fault for privileged code outside all regions; off in the fault handler.
const CTRL_ENABLE: u32 = 1;
/// The low bits of the base address select the region.
const RBAR_VALID: u32 = 1 << 4;
const RASR_NO_EXECUTE: u32 = 1 << 28;
const RASR_READ_WRITE: u32 = 0b001 << 24;
const RASR_READ_ONLY: u32 = 0b101 << 24;
const RASR_CACHEABLE: u32 = 1 << 17;
const RASR_DEVICE: u32 = 1 << 16;
const RASR_ENABLE: u32 = 1;

/// Subregions of a region, each of which can be disabled.
const PARTS: u32 = 8;

/// What a region holds, which determines how it may be accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Code and constants: may be read and executed.
    Code,
    /// Variables and stack: may be read and written.
    Memory,
    /// Registers: may be read and written, in program order.
    Device,
}

/// A region of addresses with the same access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// First address, a multiple of the region's size.
    pub base: u32,
    /// Base-2 logarithm of the size in bytes; at least 8.
    pub log_size: u32,
    /// Bytes in use, counted from the base. The eighths of the region after the last of them cannot
    /// be accessed.
    pub used: u32,
    /// What it holds.
    pub kind: Kind,
}

impl Region {
    /// Returns the value of the register for attributes and size (B3.5.9).
    fn attributes(self) -> u32 {
        let access = match self.kind {
            Kind::Code => RASR_READ_ONLY | RASR_CACHEABLE,
            Kind::Memory => RASR_READ_WRITE | RASR_NO_EXECUTE | RASR_CACHEABLE,
            Kind::Device => RASR_READ_WRITE | RASR_NO_EXECUTE | RASR_DEVICE,
        };
        let part = (1 << self.log_size) / PARTS;
        let parts = self.used.div_ceil(part).min(PARTS);
        let left_out = (0xFF << parts) & 0xFF;
        access | left_out << 8 | (self.log_size - 1) << 1 | RASR_ENABLE
    }
}

/// Allows access to these regions, at most 8, and to nothing else.
///
/// # Safety
/// The regions must cover the code, the stack, every variable, and every device that is used.
pub unsafe fn protect(regions: &[Region]) {
    for (number, region) in (0u32..).zip(regions) {
        // SAFETY: these are the registers' addresses in every Armv7-M core that has the unit.
        unsafe {
            Register::<u32>::new(RBAR).write(region.base | RBAR_VALID | number);
            Register::<u32>::new(RASR).write(region.attributes());
        }
    }
    // SAFETY: as above; the caller guarantees that whatever becomes inaccessible is not used. With
    // the barriers, the next access and the next instruction are already checked (B3.5.6).
    unsafe {
        asm!("dsb", options(nostack));
        Register::<u32>::new(CTRL).write(CTRL_ENABLE);
        asm!("dsb", "isb", options(nostack));
    }
}
