//! The unit of Armv7-M (Architecture Reference Manual, B3.5): regions whose size is a power of two, of
//! which each eighth can be left out. That of Armv6-M (Architecture Reference Manual, B3.5) has the same registers.

use super::super::register::Register;
use super::{Kind, RBAR, Region, enable};

const RASR: usize = 0xE000_EDA0;

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
/// The smallest region that has them.
const SMALLEST: u32 = 256;

/// Returns the value of the register for attributes and size (B3.5.9).
fn attributes(region: &Region) -> u32 {
    let access = match region.kind {
        Kind::Code => RASR_READ_ONLY | RASR_CACHEABLE,
        Kind::Constants => RASR_READ_ONLY | RASR_NO_EXECUTE | RASR_CACHEABLE,
        Kind::Memory => RASR_READ_WRITE | RASR_NO_EXECUTE | RASR_CACHEABLE,
        Kind::Device => RASR_READ_WRITE | RASR_NO_EXECUTE | RASR_DEVICE,
    };
    let size = region.used.next_power_of_two().max(SMALLEST);
    let parts = region.used.div_ceil(size / PARTS);
    let left_out = (0xFF << parts) & 0xFF;
    access | left_out << 8 | (size.ilog2() - 1) << 1 | RASR_ENABLE
}

/// Allows access to these regions, at most 8, and to nothing else. Where two overlap, the later one counts.
///
/// # Safety
/// The regions must cover the code, the stack, every variable, and every device that is used. Each must
/// start at a multiple of the power of two that holds it.
pub unsafe fn protect(regions: &[Region]) {
    for (number, region) in (0u32..).zip(regions.iter().filter(|region| region.used > 0)) {
        // SAFETY: these are the registers' addresses in every Armv7-M core that has the unit.
        unsafe {
            Register::<u32>::new(RBAR).write(region.base | RBAR_VALID | number);
            Register::<u32>::new(RASR).write(attributes(region));
        }
    }
    // SAFETY: the caller guarantees that whatever becomes inaccessible is not used.
    unsafe { enable() };
}
