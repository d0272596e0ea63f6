//! The unit of Armv8-M (Architecture Reference Manual, DDI 0553, registers MPU_RNR, MPU_RBAR, MPU_RLAR and
//! MPU_MAIR0): regions from any multiple of 32 bytes to any other. Beside it, the core checks each new
//! value of the stack pointer against a limit (MSPLIM).
//!
//! With the Security Extension, code that starts Secure sees the Secure instances of these registers.

use core::arch::asm;

use super::super::register::Register;
use super::super::stack;
use super::{Kind, RBAR, Region, enable};

const RNR: usize = 0xE000_ED98;
const RLAR: usize = 0xE000_EDA0;
const MAIR0: usize = 0xE000_EDC0;

/// Only privileged code may read and write; all of this firmware is privileged.
const RBAR_READ_WRITE: u32 = 0b00 << 1;
/// Only privileged code may read.
const RBAR_READ_ONLY: u32 = 0b10 << 1;
const RBAR_NO_EXECUTE: u32 = 1 << 0;
const RLAR_ENABLE: u32 = 1 << 0;

/// Attributes of memory, by number: normal and cached, written through; device, in program order and
/// acknowledged (nGnRE).
const ATTRIBUTES: u32 = 0x04_AA;
/// Number of the attributes of a region, in MPU_RLAR.
const RLAR_NORMAL: u32 = 0 << 1;
const RLAR_DEVICE: u32 = 1 << 1;

/// Bytes that the unit tells apart.
const GRANULE: u32 = 32;

/// Returns the values of the registers for base and limit.
fn registers(region: &Region) -> [u32; 2] {
    let (access, attributes) = match region.kind {
        Kind::Code => (RBAR_READ_ONLY, RLAR_NORMAL),
        Kind::Constants => (RBAR_READ_ONLY | RBAR_NO_EXECUTE, RLAR_NORMAL),
        Kind::Memory => (RBAR_READ_WRITE | RBAR_NO_EXECUTE, RLAR_NORMAL),
        Kind::Device => (RBAR_READ_WRITE | RBAR_NO_EXECUTE, RLAR_DEVICE),
    };
    // The limit is the last granule's first address.
    let last = (region.base + (region.used - 1)) & !(GRANULE - 1);
    [region.base | access, last | attributes | RLAR_ENABLE]
}

/// Allows access to these regions, at most 8, and to nothing else; and no stack below its bottom.
///
/// # Safety
/// The regions must cover the code, the stack, every variable, and every device that is used. They must
/// start at multiples of 32 and not overlap.
pub unsafe fn protect(regions: &[Region]) {
    // SAFETY: these are the registers' addresses in every Armv8-M core that has the unit.
    unsafe { Register::<u32>::new(MAIR0).write(ATTRIBUTES) };
    for (number, region) in (0u32..).zip(regions.iter().filter(|region| region.used > 0)) {
        let [base, limit] = registers(region);
        // SAFETY: as above.
        unsafe {
            Register::<u32>::new(RNR).write(number);
            Register::<u32>::new(RBAR).write(base);
            Register::<u32>::new(RLAR).write(limit);
        }
    }
    // SAFETY: the stack has its linker's bounds, and is in them. The caller guarantees that whatever
    // becomes inaccessible is not used.
    unsafe {
        // msr MSPLIM, r0: the target's assembler is that of Armv7-M.
        asm!(".inst.w 0xF380880A", in("r0") stack::bottom(), options(nostack, preserves_flags));
        enable();
    }
}
