//! NOR flash made of plain memory that outlives power, such as a file that an emulator maps.
//!
//! It has the rules of NOR cells, which the record log relies on and is tested with: programming
//! clears bits only, and erasing sets those of a whole block.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

use super::flash_words::{FlashWords, WORD, words};

/// Bytes of an erase block.
pub const BLOCK: u32 = 256 * 1024;

/// The memory.
#[derive(Debug)]
pub struct MappedNor(FlashWords);

impl MappedNor {
    /// The memory at a base address.
    ///
    /// # Safety
    /// `base` to `base + size` must be memory that nothing else uses, aligned to a word.
    #[must_use]
    pub const unsafe fn new(base: usize, size: usize) -> Self {
        // SAFETY: the caller promises what is asked for there.
        Self(unsafe { FlashWords::new(base, size) })
    }
}

impl ErrorType for MappedNor {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for MappedNor {
    const READ_SIZE: usize = WORD;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        self.0.read(offset, bytes);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.size()
    }
}

impl NorFlash for MappedNor {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = BLOCK as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for offset in (from as usize..to as usize).step_by(WORD) {
            self.0.word(offset).write(u32::MAX);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let offset = offset as usize;
        self.0.check_programming(offset, bytes)?;
        for (at, word) in words(offset, bytes) {
            self.0.word(at).write(word);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programming_clears_bits_and_erasing_sets_them() {
        let size = 2 * BLOCK as usize;
        let memory = std::vec![u32::MAX; size / WORD].leak();
        // SAFETY: leaked memory of this size, which is not looked at otherwise.
        let mut nor = unsafe { MappedNor::new(memory.as_mut_ptr().expose_provenance(), size) };
        let mut found = [0; 8];
        nor.write(4, &[0xF0; 8]).unwrap();
        nor.write(4, &[0x30, 0xF0, 0xF0, 0xF0]).unwrap();
        assert_eq!(nor.write(4, &[0x31, 0xF0, 0xF0, 0xF0]), Err(NorFlashErrorKind::Other));
        nor.read(4, &mut found).unwrap();
        assert_eq!(found, [0x30, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0]);
        nor.write(BLOCK, &[0; 4]).unwrap();
        nor.erase(0, BLOCK).unwrap();
        nor.read(4, &mut found).unwrap();
        assert_eq!(found, [0xFF; 8]);
        nor.read(BLOCK, &mut found).unwrap();
        assert_eq!(found, [0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert!(nor.write(2, &[0; 4]).is_err());
        assert!(nor.erase(0, 4).is_err());
        assert!(nor.read(2 * BLOCK, &mut found).is_err());
    }
}
