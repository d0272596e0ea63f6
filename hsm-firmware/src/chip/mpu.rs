//! Memory protection unit of Armv7-M (Architecture Reference Manual, B3.5).
//!
//! Once it is on, what is in no region may not be accessed at all, but for the core's own registers,
//! which it does not guard (B3.5.1). It is off in the handler of faults, which wipes RAM and ends.

use core::arch::asm;

use super::register::Register;

const CTRL: usize = 0xE000_ED94;
const RBAR: usize = 0xE000_ED9C;
const RASR: usize = 0xE000_EDA0;

/// On, also for privileged code without a region, which faults; off in the handler of faults.
const CTRL_ENABLE: u32 = 1;
/// The low bits of the base address name the region.
const RBAR_VALID: u32 = 1 << 4;
const RASR_NO_EXECUTE: u32 = 1 << 28;
const RASR_READ_WRITE: u32 = 0b001 << 24;
const RASR_READ_ONLY: u32 = 0b101 << 24;
const RASR_CACHEABLE: u32 = 1 << 17;
const RASR_DEVICE: u32 = 1 << 16;
const RASR_ENABLE: u32 = 1;

/// Parts of a region that can be left out.
const PARTS: u32 = 8;

/// What a region holds, and so what may be done with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Code and constants: reading and running.
    Code,
    /// Variables and stack: reading and writing.
    Memory,
    /// Registers: reading and writing, in order.
    Device,
}

/// A region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Its address, a multiple of its size.
    pub base: u32,
    /// Its size, 2 to this power: 8 at least.
    pub log_size: u32,
    /// Bytes of it, from the base, that are used: what lies behind the eighth that holds the last one
    /// may not be accessed.
    pub used: u32,
    /// What it holds.
    pub kind: Kind,
}

impl Region {
    /// Attributes and size (B3.5.9).
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

/// Allows these regions, at most 8, and nothing else.
///
/// # Safety
/// They must have the code, the stack, every variable, and every device that is used.
pub unsafe fn protect(regions: &[Region]) {
    for (number, region) in (0u32..).zip(regions) {
        // SAFETY: these are the registers' addresses in every Armv7-M core that has the unit.
        unsafe {
            Register::<u32>::new(RBAR).write(region.base | RBAR_VALID | number);
            Register::<u32>::new(RASR).write(region.attributes());
        }
    }
    // SAFETY: as above; the caller answers for what becomes forbidden. The barriers have the next
    // access and the next instruction checked (B3.5.6).
    unsafe {
        asm!("dsb", options(nostack));
        Register::<u32>::new(CTRL).write(CTRL_ENABLE);
        asm!("dsb", "isb", options(nostack));
    }
}
