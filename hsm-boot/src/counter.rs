//! The rollback floor in one-time-programmable memory, for boards that have it.

/// A counter that only rises, such as fuses. It is the stronger half of the rollback floor: whoever
/// can write the flash can put an older boot record there.
pub trait RollbackCounter {
    /// Returns the floor: no image with a lower security version may be started.
    ///
    /// # Errors
    /// [`CounterError`]. No image is started then.
    fn floor(&mut self) -> Result<u32, CounterError>;

    /// Raises the floor to a security version; does nothing if it is as high already. A power cut
    /// meanwhile has to leave the old value, the new one, or one between them.
    ///
    /// # Errors
    /// [`CounterError`]. The next boot of a confirmed image tries again.
    fn raise(&mut self, floor: u32) -> Result<(), CounterError>;
}

/// The counter cannot be read or programmed, or cannot count as far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CounterError;

/// For boards without such memory: the floor is in the boot record only.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCounter;

impl RollbackCounter for NoCounter {
    fn floor(&mut self) -> Result<u32, CounterError> {
        Ok(0)
    }

    fn raise(&mut self, _: u32) -> Result<(), CounterError> {
        Ok(())
    }
}
