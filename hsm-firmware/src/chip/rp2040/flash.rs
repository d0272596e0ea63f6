//! The flash outside of the chip, a W25Q16JV, through functions of the boot ROM (2.8.3.1.3).
//!
//! While it is erased or programmed it cannot be read, and the code is in it. So a routine in RAM calls the
//! ROM, with interrupts closed. After that it runs the second stage of the boot once more, from a copy in RAM,
//! which has the flash read as memory again, in four lines at a time.

use core::arch::global_asm;
use core::mem;
use core::ptr;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

use super::super::cortex_m;
use super::super::flash_words::{FlashWords, WORD};
use super::super::mpu::{Kind, Region};
use super::BOOT2;

/// Bytes of a sector, the least that is erased.
const SECTOR: u32 = 4096;
/// Bytes of a block, which is erased at once in 0.15 to 2 seconds (W25Q16JV data sheet, 9.6).
pub const BLOCK: u32 = 64 * 1024;
/// Bytes that are programmed at a time.
const PAGE: usize = 256;
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
struct Rom {
    connect_flash: usize,
    exit_xip: usize,
    erase: usize,
    program: usize,
    flush_cache: usize,
}

impl Rom {
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

/// A part of the flash, addressed from its start.
#[derive(Debug)]
pub struct Flash {
    words: FlashWords,
    /// Of the part, within the flash.
    start: u32,
    rom: Rom,
    /// The routine in RAM.
    routine: extern "C" fn(&Operation),
    /// The second stage in RAM.
    boot2: usize,
}

impl Flash {
    /// The part between two addresses, at which it is read past the cache. Fills the RAM of the routine.
    ///
    /// # Safety
    /// The part must be within the flash, begin and end with a sector, and nothing else may use it. The RAM at
    /// `__ram_code` must not be write-protected yet.
    #[must_use]
    pub unsafe fn new(start: *const u8, end: *const u8) -> Self {
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
        let size = end.addr() - start.addr();
        let start = start.expose_provenance();
        Self {
            // SAFETY: the caller promises what is asked for there.
            words: unsafe { FlashWords::new(start, size) },
            start: u32::try_from(start).unwrap_or(u32::MAX) - UNCACHED,
            rom: Rom::find(),
            routine,
            boot2: boot2.expose_provenance() + 1,
        }
    }

    /// Has the ROM work on the flash.
    fn operate(&mut self, function: usize, arguments: [usize; 4]) {
        let Rom { connect_flash, exit_xip, flush_cache, .. } = self.rom;
        let boot2 = self.boot2;
        let operation =
            Operation { connect_flash, exit_xip, function, flush_cache, boot2, arguments };
        cortex_m::without_interrupts(|| (self.routine)(&operation));
    }

    fn address(&self, offset: u32) -> usize {
        (self.start + offset) as usize
    }
}

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = WORD;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        self.words.read(offset, bytes);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.words.size()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        let mut at = from;
        while at < to {
            // A block at most, so that interrupts are open in between.
            let end = to.min((at / BLOCK + 1) * BLOCK);
            let arguments = [self.address(at), (end - at) as usize, BLOCK as usize, BLOCK_ERASE];
            self.operate(self.rom.erase, arguments);
            at = end;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        self.words.check_programming(offset as usize, bytes)?;
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            // The ROM programs whole pages, from RAM. Ones change nothing.
            let mut page = [0xFF; PAGE];
            let within = at as usize % PAGE;
            let (now, later) = rest.split_at(rest.len().min(PAGE - within));
            for (cell, byte) in page.iter_mut().skip(within).zip(now) {
                *cell = *byte;
            }
            let start = self.address(at) - within;
            let data = page.as_ptr().expose_provenance();
            self.operate(self.rom.program, [start, data, PAGE, 0]);
            at += u32::try_from(now.len()).map_err(|_| NorFlashErrorKind::Other)?;
            rest = later;
        }
        Ok(())
    }
}
