//! The record log as the core's storage.

use embedded_storage::nor_flash::NorFlash;
use hsm_core::platform::{NvError, NvStorage, RecordId};

use super::log::{LogError, RecordLog};

impl<F: NorFlash> NvStorage for RecordLog<F> {
    fn read<'b>(&mut self, id: RecordId, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, NvError> {
        Ok(Self::read(self, id.0, buf)?)
    }

    fn write(&mut self, id: RecordId, data: &[u8]) -> Result<(), NvError> {
        Ok(Self::write(self, id.0, data)?)
    }

    fn remove(&mut self, id: RecordId) -> Result<(), NvError> {
        Ok(Self::remove(self, id.0)?)
    }

    fn erase_all(&mut self) -> Result<(), NvError> {
        Ok(Self::erase_all(self)?)
    }

    fn usage(&self) -> (u32, u32) {
        (self.used(), self.capacity())
    }
}

impl From<LogError> for NvError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Full => Self::Full,
            LogError::TooLong | LogError::BufferTooSmall => Self::TooLarge,
            LogError::Flash(_) | LogError::Verify | LogError::Corrupt | LogError::Geometry => {
                Self::Medium
            }
        }
    }
}
