//! The end of the flash, which is a chip of its own behind the QSPI memory interface, for the records.
//!
//! It is programmed and erased by a function of the boot ROM, `flash_op` (5.4.8): this runs from ROM, gives the
//! commands in the interface's direct mode, waits for the flash, and leaves the mode in which code is read as it was.
//! The boot ROM does not put the flash in a mode that has to be left first. Meanwhile no code can be read, so
//! interrupts are held off: for 0.4 to 3 ms for a page, 45 to 400 ms for a sector (data sheet of the W25Q32JV, AC characteristics). The links hold the host
//! off by themselves, and the other core does not run.
//!
//! It is read where neither the cache nor address translation is in between (2.2, 4.4).

use embedded_storage::nor_flash::NorFlashErrorKind;

use super::super::cortex_m;
use super::super::pico::flash::{PAGE, PagedFlash, Programmer, SECTOR};
use super::super::register::Register;

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

/// The part of the flash that is for the records.
pub type Flash = PagedFlash<Rom>;

/// The part at an address in the window that is read uncached and not translated. Reads the boot ROM's table, so
/// memory must not be protected yet.
///
/// # Safety
/// Nothing else may use these bytes, whole sectors, and there must be an RP2350 around.
#[allow(clippy::cast_possible_truncation)] // addresses have 32 bits
pub(super) unsafe fn part(window: usize, size: usize) -> Flash {
    let start = STORAGE + (window - WINDOW) as u32;
    // SAFETY: the caller promises that nothing else uses them.
    unsafe { PagedFlash::new(window, size, Rom { start, op: find() }) }
}

/// The boot ROM, which programs a part of the flash.
#[derive(Debug)]
pub struct Rom {
    /// Storage address of the first byte of the part.
    start: u32,
    /// `None` if the boot ROM does not have the function.
    op: Option<FlashOp>,
}

impl Rom {
    /// Has the boot ROM do something with bytes from an offset on.
    fn run(
        &self,
        flags: u32,
        offset: u32,
        size: u32,
        bytes: *mut u8,
    ) -> Result<(), NorFlashErrorKind> {
        let op = self.op.ok_or(NorFlashErrorKind::Other)?;
        // SAFETY: the function has this signature. `PagedFlash` has checked offset and size, `part` was promised that
        // part of the flash, and `bytes` has `size` bytes if the flags say program. Nothing that is read from
        // flash runs meanwhile: this core waits for the function, and interrupts are closed.
        let status =
            cortex_m::without_interrupts(|| unsafe { op(flags, self.start + offset, size, bytes) });
        if status == 0 { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }
}

impl Programmer for Rom {
    const STEP: u32 = SECTOR;

    fn erase(&mut self, offset: u32, size: u32) -> Result<(), NorFlashErrorKind> {
        self.run(ERASE, offset, size, core::ptr::null_mut())
    }

    /// What is programmed as ones stays as it is (data sheet of the W25Q32JV, Page Program).
    fn program(
        &mut self,
        offset: u32,
        page: &mut [u8; PAGE as usize],
    ) -> Result<(), NorFlashErrorKind> {
        self.run(PROGRAM, offset, PAGE, page.as_mut_ptr())
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
