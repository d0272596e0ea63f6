//! Flash that is read as memory: its words.

use embedded_storage::nor_flash::NorFlashErrorKind;

use super::register::Register;

/// Bytes of a word.
pub(super) const WORD: usize = size_of::<u32>();

/// The words of a flash.
#[derive(Debug)]
pub(super) struct FlashWords {
    base: usize,
    size: usize,
}

impl FlashWords {
    /// The words from a base address on, `size` bytes in all.
    ///
    /// # Safety
    /// `base` to `base + size` must be flash, or memory in place of it, that nothing else uses, aligned to
    /// a word.
    pub(super) const unsafe fn new(base: usize, size: usize) -> Self {
        Self { base, size }
    }

    /// Bytes in all.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// The word at an offset that was checked.
    pub(super) fn word(&self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised words from `base` on; callers check offsets against `size`.
        unsafe { Register::new(self.base + offset) }
    }

    /// Reads from an offset on; offset and length were checked.
    pub(super) fn read(&self, offset: u32, bytes: &mut [u8]) {
        for (offset, word) in (offset as usize..).step_by(WORD).zip(bytes.chunks_exact_mut(WORD)) {
            word.copy_from_slice(&self.word(offset).read().to_le_bytes());
        }
    }

    /// Whether `bytes` can be programmed there: cells are cleared only. Emulators set bits, too.
    ///
    /// # Errors
    /// [`NorFlashErrorKind::Other`] if a bit would have to be set.
    pub(super) fn check_programming(
        &self,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), NorFlashErrorKind> {
        let mut words = words(offset, bytes);
        match words.any(|(at, new)| self.word(at).read() & new != new) {
            true => Err(NorFlashErrorKind::Other),
            false => Ok(()),
        }
    }
}

/// The words in `bytes`, and where they belong from `offset` on.
pub(super) fn words(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    (offset..).step_by(WORD).zip(bytes.chunks_exact(WORD)).map(|(at, word)| (at, le_word(word)))
}

fn le_word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes))
}
