//! CFI parallel NOR flash of the Intel command set: two 16-bit chips side by side, programmed
//! through their write buffers (JEDEC JESD68, JEP137; command set 0001).

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

use super::flash_words::{FlashWords, WORD, words};

/// Bytes of an erase block, both chips together.
pub const BLOCK: u32 = 256 * 1024;
/// Bytes that the write buffers take at a time, at addresses that are a multiple of this.
const WRITE_BUFFER: usize = 2048;

// Commands and status, doubled for the two chips.
const READ_ARRAY: u32 = 0x00FF_00FF;
const CLEAR_STATUS: u32 = 0x0050_0050;
const ERASE: u32 = 0x0020_0020;
const WRITE_TO_BUFFER: u32 = 0x00E8_00E8;
const CONFIRM: u32 = 0x00D0_00D0;
const READY: u32 = 0x0080_0080;
/// Erase, program, voltage and lock errors: bits 5, 4, 3 and 1.
const ERRORS: u32 = 0x003A_003A;

/// Reads of the status until a chip counts as dead. The longest operation takes seconds.
const PATIENCE: u32 = 50_000_000;

/// The flash.
#[derive(Debug)]
pub struct CfiFlash(FlashWords);

impl CfiFlash {
    /// The flash at a base address, mapped in whole.
    ///
    /// # Safety
    /// `base` to `base + size` must be two x16 chips of the Intel command set side by side, which
    /// nothing else uses.
    #[must_use]
    pub const unsafe fn new(base: usize, size: usize) -> Self {
        // SAFETY: the caller promises more than is asked for there. Commands do not touch memory that Rust
        // owns.
        Self(unsafe { FlashWords::new(base, size) })
    }

    /// Programs words that are within one write buffer. Read-array mode is left.
    fn program_buffer(&mut self, offset: usize, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let first = self.0.word(offset);
        first.write(WRITE_TO_BUFFER);
        self.wait_until_ready(offset)?;
        let count = u32::try_from(bytes.len() / WORD - 1).map_err(|_| NorFlashErrorKind::Other)?;
        first.write(count << 16 | count);
        for (at, word) in words(offset, bytes) {
            self.0.word(at).write(word);
        }
        first.write(CONFIRM);
        self.wait_until_ready(offset)
    }

    /// Waits for both chips; an error of either is an error.
    fn wait_until_ready(&mut self, offset: usize) -> Result<(), NorFlashErrorKind> {
        let register = self.0.word(offset);
        for _ in 0..PATIENCE {
            let status = register.read();
            if status & READY == READY {
                return if status & ERRORS == 0 { Ok(()) } else { Err(NorFlashErrorKind::Other) };
            }
        }
        Err(NorFlashErrorKind::Other)
    }

    /// Runs `commands` outside read-array mode, which costs as much as many words: batch.
    fn with_commands(
        &mut self,
        commands: impl FnOnce(&mut Self) -> Result<(), NorFlashErrorKind>,
    ) -> Result<(), NorFlashErrorKind> {
        self.0.word(0).write(CLEAR_STATUS);
        let result = commands(self);
        self.0.word(0).write(READ_ARRAY);
        result
    }
}

impl ErrorType for CfiFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for CfiFlash {
    const READ_SIZE: usize = WORD;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        // In read-array mode words are memory.
        self.0.read(offset, bytes);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.size()
    }
}

impl NorFlash for CfiFlash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = BLOCK as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.with_commands(|flash| {
            for offset in (from as usize..to as usize).step_by(BLOCK as usize) {
                flash.0.word(offset).write(ERASE);
                flash.0.word(offset).write(CONFIRM);
                flash.wait_until_ready(offset)?;
            }
            Ok(())
        })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let mut offset = offset as usize;
        self.0.check_programming(offset, bytes)?;
        self.with_commands(|flash| {
            let mut rest = bytes;
            while !rest.is_empty() {
                let room = WRITE_BUFFER - offset % WRITE_BUFFER;
                let (now, later) = rest.split_at(room.min(rest.len()));
                flash.program_buffer(offset, now)?;
                offset += now.len();
                rest = later;
            }
            Ok(())
        })
    }
}
