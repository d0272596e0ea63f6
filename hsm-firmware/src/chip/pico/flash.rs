//! A part of a flash that is erased in sectors and programmed in pages by functions of the boot ROM, and read as
//! memory.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use zeroize::Zeroize;

use super::super::flash_words::{FlashWords, WORD};
use super::pages::pages;

pub use super::pages::PAGE;

/// Bytes of a sector, the least that is erased.
pub const SECTOR: u32 = 4096;

/// What erases and programs the flash. Offsets are from the start of the part, and were checked.
pub trait Programmer {
    /// Bytes that are erased in one step: whole sectors. Interrupts are served between steps.
    const STEP: u32;

    /// Erases the sectors from an offset on, at most [`Self::STEP`] bytes.
    ///
    /// # Errors
    /// [`NorFlashErrorKind::Other`] if the flash cannot be erased.
    fn erase(&mut self, offset: u32, size: u32) -> Result<(), NorFlashErrorKind>;

    /// Programs a page, which starts at an offset. Ones change nothing.
    ///
    /// # Errors
    /// [`NorFlashErrorKind::Other`] if the flash cannot be programmed.
    fn program(
        &mut self,
        offset: u32,
        page: &mut [u8; PAGE as usize],
    ) -> Result<(), NorFlashErrorKind>;
}

/// A part of the flash, addressed from its start.
#[derive(Debug)]
pub struct PagedFlash<P> {
    words: FlashWords,
    programmer: P,
}

impl<P> PagedFlash<P> {
    /// The part of `size` bytes that is read at the address `start`.
    ///
    /// # Safety
    /// The part must be of the flash that `programmer` programs, begin and end with a sector, and nothing else may use
    /// it.
    #[must_use]
    pub unsafe fn new(start: usize, size: usize, programmer: P) -> Self {
        // SAFETY: the caller promises what is asked for there.
        Self { words: unsafe { FlashWords::new(start, size) }, programmer }
    }
}

impl<P> ErrorType for PagedFlash<P> {
    type Error = NorFlashErrorKind;
}

impl<P> ReadNorFlash for PagedFlash<P> {
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

impl<P: Programmer> NorFlash for PagedFlash<P> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        let mut at = from;
        while at < to {
            let end = to.min((at / P::STEP + 1) * P::STEP);
            self.programmer.erase(at, end - at)?;
            at = end;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        self.words.check_programming(offset as usize, bytes)?;
        let mut buffer = [0xFF; PAGE as usize];
        let mut program = |(page, place, part): (u32, usize, &[u8])| {
            buffer.fill(0xFF);
            for (byte, place) in part.iter().zip(buffer.iter_mut().skip(place)) {
                *place = *byte;
            }
            self.programmer.program(page, &mut buffer)
        };
        let result = pages(offset, bytes).try_for_each(&mut program);
        buffer.zeroize();
        result
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// Programs and erases memory as a chip would, and keeps the steps.
    #[derive(Default)]
    struct Chip {
        base: usize,
        erased: Vec<(u32, u32)>,
        programmed: Vec<u32>,
        is_broken: bool,
    }

    impl Chip {
        fn cell(&self, offset: u32) -> *mut u8 {
            core::ptr::with_exposed_provenance_mut(self.base + offset as usize)
        }
    }

    impl Programmer for Chip {
        const STEP: u32 = 2 * SECTOR;

        fn erase(&mut self, offset: u32, size: u32) -> Result<(), NorFlashErrorKind> {
            self.erased.push((offset, size));
            // SAFETY: the memory that the test has leaked, of which `PagedFlash` has checked the range.
            (offset..offset + size).for_each(|at| unsafe { self.cell(at).write_volatile(0xFF) });
            Ok(())
        }

        fn program(
            &mut self,
            offset: u32,
            page: &mut [u8; PAGE as usize],
        ) -> Result<(), NorFlashErrorKind> {
            if self.is_broken {
                return Err(NorFlashErrorKind::Other);
            }
            self.programmed.push(offset);
            for (at, byte) in (offset..).zip(&*page) {
                // SAFETY: see above.
                unsafe {
                    let cell = self.cell(at);
                    cell.write_volatile(cell.read_volatile() & byte);
                }
            }
            Ok(())
        }
    }

    fn flash() -> PagedFlash<Chip> {
        let size = 5 * SECTOR as usize;
        let memory = std::vec![0x5A5A_5A5A_u32; size / WORD].leak();
        let base = memory.as_mut_ptr().expose_provenance();
        // SAFETY: leaked memory of this size, which is not looked at otherwise.
        unsafe { PagedFlash::new(base, size, Chip { base, ..Chip::default() }) }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_beside_it_changes() {
        let mut flash = flash();
        flash.erase(0, 5 * SECTOR).unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(600).collect();
        flash.write(PAGE - 8, &bytes).unwrap();
        assert_eq!(flash.programmer.programmed, [0, PAGE, 2 * PAGE, 3 * PAGE]);
        let mut found = std::vec![0; 616];
        flash.read(PAGE - 16, &mut found).unwrap();
        assert_eq!(found[8..608], bytes);
        assert!(found[..8].iter().chain(&found[608..]).all(|byte| *byte == 0xFF));
        let set = flash.write(PAGE - 8, &[0xFF; 4]);
        assert_eq!(set, Err(NorFlashErrorKind::Other), "bits are not set");
    }

    #[test]
    fn erasing_goes_in_steps_and_takes_nothing_else_along() {
        let mut flash = flash();
        flash.erase(SECTOR, 4 * SECTOR).unwrap();
        let steps = [(SECTOR, SECTOR), (2 * SECTOR, 2 * SECTOR)];
        assert_eq!(flash.programmer.erased, steps);
        let mut found = [0; WORD];
        for (offset, byte) in [(SECTOR - 4, 0x5A), (SECTOR, 0xFF), (4 * SECTOR, 0x5A)] {
            flash.read(offset, &mut found).unwrap();
            assert_eq!(found, [byte; WORD], "{offset:#x}");
        }
        assert!(flash.erase(0, PAGE).is_err(), "not whole sectors");
    }

    #[test]
    fn a_page_that_cannot_be_programmed_is_told() {
        let mut flash = flash();
        flash.erase(0, SECTOR).unwrap();
        flash.programmer.is_broken = true;
        assert_eq!(flash.write(0, &[0; 4]), Err(NorFlashErrorKind::Other));
    }
}
