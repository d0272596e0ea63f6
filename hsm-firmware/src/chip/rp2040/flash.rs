//! The flash outside of the chip, a W25Q16JV, through functions of the boot ROM (2.8.3.1.3).
//!
//! While it is erased or programmed it cannot be read, and the code is in it. So a routine in RAM calls the
//! ROM, with interrupts closed. After that it runs the second stage of the boot once more, from a copy in RAM,
//! which has the flash read as memory again, in four lines at a time.

use core::arch::global_asm;
use core::mem;
use core::ptr;

use embedded_storage::nor_flash::NorFlashErrorKind;

use super::super::cortex_m;
use super::super::mpu::{Kind, Region};
use super::super::pico::flash::{PAGE, PagedFlash, Programmer, SECTOR};
use super::BOOT2;

/// Bytes of a word.
const WORD: usize = size_of::<u32>();
/// Bytes of a block, which is erased at once in 0.15 to 2 seconds (W25Q16JV data sheet, 9.6).
pub const BLOCK: u32 = 64 * 1024;
/// The command that erases a block.
const BLOCK_ERASE: usize = 0xD8;

/// Where the flash is mapped past the cache; addresses within the flash count from here (2.6.3).
const UNCACHED: u32 = 0x1300_0000;

/// Where the boot ROM has the addresses of its table of functions, and of what looks one up, 16 bits each
/// (2.8.3).
const ROM_FUNCTIONS: usize = 0x14;
const ROM_LOOKUP: usize = 0x18;

/// What the routine in RAM is to call, in this order.
#[repr(C)]
struct Operation {
    connect_flash: usize,
    exit_xip: usize,
    function: usize,
    flush_cache: usize,
    boot2: usize,
    /// Of `function`.
    arguments: [usize; 4],
}

// It is copied, so it must not depend on its address.
global_asm!(
    r#"
    .section .rodata.flash_routine, "a"
    .p2align 2
    .thumb
    .globl flash_routine
flash_routine:
    push {{r3, r4, r5, r6, r7, lr}}
    mov  r4, r0
    ldr  r3, [r4, #0]
    blx  r3
    ldr  r3, [r4, #4]
    blx  r3
    ldr  r0, [r4, #20]
    ldr  r1, [r4, #24]
    ldr  r2, [r4, #28]
    ldr  r3, [r4, #32]
    ldr  r5, [r4, #8]
    blx  r5
    ldr  r3, [r4, #12]
    blx  r3
    ldr  r3, [r4, #16]
    blx  r3
    pop  {{r3, r4, r5, r6, r7, pc}}
    .p2align 2
    .globl flash_routine_end
flash_routine_end:
"#
);

unsafe extern "C" {
    static flash_routine: u32;
    static flash_routine_end: u32;
    static mut __ram_code: [u32; 1024];
}

/// The RAM that the routine and the copy of the second stage are in.
pub(super) fn routine_region() -> Region {
    let base = u32::try_from((&raw const __ram_code).addr()).unwrap_or(u32::MAX);
    Region { base, used: SECTOR, kind: Kind::Code }
}

/// The functions of the boot ROM.
#[derive(Clone, Copy, Debug)]
struct Functions {
    connect_flash: usize,
    exit_xip: usize,
    erase: usize,
    program: usize,
    flush_cache: usize,
}

impl Functions {
    fn find() -> Self {
        // SAFETY: the ROM has two addresses of 16 bits there, of its table and of a function of this type.
        let [table, lookup] = unsafe {
            [ROM_FUNCTIONS, ROM_LOOKUP]
                .map(|at| usize::from(ptr::with_exposed_provenance::<u16>(at).read_volatile()))
        };
        // SAFETY: see above; the lowest bit says that it is Thumb code, as all is.
        let lookup = unsafe {
            let lookup = ptr::with_exposed_provenance::<()>(lookup);
            mem::transmute::<*const (), extern "C" fn(usize, u32) -> usize>(lookup)
        };
        let function = |code: [u8; 2]| lookup(table, u32::from(u16::from_le_bytes(code)));
        Self {
            connect_flash: function(*b"IF"),
            exit_xip: function(*b"EX"),
            erase: function(*b"RE"),
            program: function(*b"RP"),
            flush_cache: function(*b"FC"),
        }
    }
}

/// The part of the flash that is for the records.
pub type Flash = PagedFlash<Rom>;

/// The part between two addresses, at which it is read past the cache. Fills the RAM of the routine.
///
/// # Safety
/// The part must be within the flash, begin and end with a sector, and nothing else may use it. The RAM at
/// `__ram_code` must not be write-protected yet.
pub(super) unsafe fn part(start: *const u8, end: *const u8) -> Flash {
    let size = end.addr() - start.addr();
    let start = start.expose_provenance();
    let within = u32::try_from(start).unwrap_or(u32::MAX) - UNCACHED;
    // SAFETY: the caller promises what is asked for there.
    unsafe { PagedFlash::new(start, size, Rom::new(within)) }
}

/// The boot ROM, which programs a part of the flash.
#[derive(Debug)]
pub struct Rom {
    functions: Functions,
    /// Of the part, within the flash.
    start: u32,
    /// The routine in RAM.
    routine: extern "C" fn(&Operation),
    /// The second stage in RAM.
    boot2: usize,
}

impl Rom {
    /// For the part that begins at `start` within the flash. Fills the RAM of the routine.
    ///
    /// # Safety
    /// The RAM at `__ram_code` must not be write-protected yet.
    unsafe fn new(start: u32) -> Self {
        let from = &raw const flash_routine;
        let words = ((&raw const flash_routine_end).addr() - from.addr()) / WORD;
        let ram = (&raw mut __ram_code).cast::<u32>();
        // SAFETY: the memory map keeps this RAM for that, and both fit; the caller lets it be written. What
        // is copied runs at any address.
        let (boot2, routine) = unsafe {
            ptr::copy_nonoverlapping(from, ram, words);
            let boot2 = ram.add(words);
            ptr::copy_nonoverlapping((&raw const BOOT2).cast::<u8>(), boot2.cast(), BOOT2.len());
            let entry = ram.cast::<u8>().cast_const().wrapping_add(1).cast::<()>();
            (boot2, mem::transmute::<*const (), extern "C" fn(&Operation)>(entry))
        };
        let boot2 = boot2.expose_provenance() + 1;
        Self { functions: Functions::find(), start, routine, boot2 }
    }

    /// Has the ROM work on the flash.
    fn operate(&mut self, function: usize, arguments: [usize; 4]) {
        let Functions { connect_flash, exit_xip, flush_cache, .. } = self.functions;
        let boot2 = self.boot2;
        let operation =
            Operation { connect_flash, exit_xip, function, flush_cache, boot2, arguments };
        cortex_m::without_interrupts(|| (self.routine)(&operation));
    }

    fn address(&self, offset: u32) -> usize {
        (self.start + offset) as usize
    }
}

impl Programmer for Rom {
    /// The ROM erases a block at once, which is faster than sector by sector.
    const STEP: u32 = BLOCK;

    fn erase(&mut self, offset: u32, size: u32) -> Result<(), NorFlashErrorKind> {
        let arguments = [self.address(offset), size as usize, BLOCK as usize, BLOCK_ERASE];
        self.operate(self.functions.erase, arguments);
        Ok(())
    }

    /// From RAM, where the page is.
    fn program(
        &mut self,
        offset: u32,
        page: &mut [u8; PAGE as usize],
    ) -> Result<(), NorFlashErrorKind> {
        let arguments = [self.address(offset), page.as_ptr().expose_provenance(), page.len(), 0];
        self.operate(self.functions.program, arguments);
        Ok(())
    }
}
