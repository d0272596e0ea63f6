//! The end of the flash, which is a chip of its own behind the QSPI memory interface, for the records.
//!
//! It is programmed and erased by a function of the boot ROM, `flash_op` (5.4.8): this runs from ROM, gives the
//! commands in the interface's direct mode, waits for the flash, and leaves the mode in which code is read as it was.
//! The boot ROM does not put the flash in a mode that has to be left first. Meanwhile no code can be read, so
//! interrupts are held off: for 0.4 to 3 ms for a page, 45 to 400 ms for a sector (data sheet of the W25Q32JV, AC characteristics). The links hold the host
//! off by themselves, and the other core does not run.
//!
//! It is read where neither the cache nor address translation is in between (2.2, 4.4).

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use zeroize::Zeroize;

use super::super::cortex_m;
use super::super::flash_words::{FlashWords, WORD};
use super::super::register::Register;
use super::pages::{PAGE, pages};

/// Bytes of a sector, the least that is erased.
const SECTOR: u32 = 4096;

/// Where storage begins that is read uncached and not translated.
const WINDOW: usize = 0x1C00_0000;
/// Where the boot ROM counts storage addresses from.
const STORAGE: u32 = 0x1000_0000;

// Of the boot ROM (5.4): its version, and where its table of functions can be asked from version 2 on.
const ROM_VERSION: usize = 0x13;
const ROM_LOOKUP: usize = 0x16;
const FIRST_VERSION: u8 = 2;
/// Asks for a function for Secure Arm code.
const ARM_SECURE: u32 = 0x0004;
const FLASH_OP: u32 = u16::from_le_bytes(*b"FO") as u32;

// Flags of the function: storage addresses, asked by Secure code; what is to be done.
const BY_SECURE: u32 = 1 << 8;
const ERASE: u32 = BY_SECURE;
const PROGRAM: u32 = 1 << 16 | BY_SECURE;

type Lookup = unsafe extern "C" fn(code: u32, mask: u32) -> usize;
type FlashOp = unsafe extern "C" fn(flags: u32, address: u32, size: u32, bytes: *mut u8) -> i32;

/// Part of the flash.
#[derive(Debug)]
pub struct Flash {
    words: FlashWords,
    /// Storage address of the first byte.
    start: u32,
    /// `None` if the boot ROM does not have the function.
    op: Option<FlashOp>,
}

impl Flash {
    /// The flash at an address in the window that is read uncached and not translated. Reads the boot ROM's
    /// table, so memory must not be protected yet.
    ///
    /// # Safety
    /// Nothing else may use these bytes, whole sectors, and there must be an RP2350 around.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // addresses have 32 bits
    pub(super) unsafe fn new(window: usize, size: usize) -> Self {
        let start = STORAGE + (window - WINDOW) as u32;
        // SAFETY: the caller promises that nothing else uses them.
        Self { words: unsafe { FlashWords::new(window, size) }, start, op: find() }
    }

    /// Has the boot ROM do something with bytes from an offset on.
    fn run(
        &self,
        flags: u32,
        offset: u32,
        size: u32,
        bytes: *mut u8,
    ) -> Result<(), NorFlashErrorKind> {
        let op = self.op.ok_or(NorFlashErrorKind::Other)?;
        // SAFETY: the function has this signature. Callers have checked offset and size, `new` was promised that
        // part of the flash, and `bytes` has `size` bytes if the flags say program. Nothing that is read from
        // flash runs meanwhile: this core waits for the function, and interrupts are closed.
        let status =
            cortex_m::without_interrupts(|| unsafe { op(flags, self.start + offset, size, bytes) });
        if status == 0 { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }
}

/// Looks up the function in the boot ROM.
fn find() -> Option<FlashOp> {
    // SAFETY: these are addresses of the boot ROM, which can always be read. From this version on there is a
    // function of this signature at the second.
    unsafe {
        if Register::<u8>::new(ROM_VERSION).read() < FIRST_VERSION {
            return None;
        }
        let [low, high] = [0, 1].map(|at| Register::<u8>::new(ROM_LOOKUP + at).read());
        let lookup = usize::from(u16::from_le_bytes([low, high]));
        let lookup = core::mem::transmute::<usize, Lookup>(lookup);
        match lookup(FLASH_OP, ARM_SECURE) {
            0 => None,
            function => Some(core::mem::transmute::<usize, FlashOp>(function)),
        }
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
        // One at a time, so that interrupts are served in between.
        (from..to)
            .step_by(SECTOR as usize)
            .try_for_each(|sector| self.run(ERASE, sector, SECTOR, core::ptr::null_mut()))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        self.words.check_programming(offset as usize, bytes)?;
        // What is programmed as ones stays as it is (data sheet of the W25Q32JV, Page Program).
        let mut buffer = [0xFF; PAGE as usize];
        let mut program = |(page, place, part): (u32, usize, &[u8])| {
            buffer.fill(0xFF);
            for (byte, place) in part.iter().zip(buffer.iter_mut().skip(place)) {
                *place = *byte;
            }
            self.run(PROGRAM, page, PAGE, buffer.as_mut_ptr())
        };
        let result = pages(offset, bytes).try_for_each(&mut program);
        buffer.zeroize();
        result
    }
}
