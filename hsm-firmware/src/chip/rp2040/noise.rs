//! The noise source: the random bit of the ring oscillator (2.17.5), which no clock of the chip is made from.
//!
//! The data sheet says of it that it does not meet the requirements of security systems, as it can be
//! influenced from outside. Nobody has assessed it for Strongroom: see the board's claim.

use super::super::register::Register;
use super::Timer;

const STATUS: usize = 0x18;
const RANDOM_BIT: usize = 0x1C;

/// It runs, and is stable.
const STATUS_RUNS: u32 = 1 << 31 | 1 << 12;

/// Microseconds between two bits: some tens of turns of the oscillator, which has 1.8 to 12 MHz, so that a bit
/// is not the one before once more.
const BIT_US: u64 = 10;

/// The oscillator has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoNoise;

/// The ring oscillator.
#[derive(Debug)]
pub struct RingOscillator {
    base: usize,
}

impl RingOscillator {
    /// The oscillator at a base address.
    ///
    /// # Safety
    /// `base` must be that of the ring oscillator.
    #[must_use]
    pub const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Fills `out` with samples of eight bits each, which take 80 microseconds.
    ///
    /// # Errors
    /// [`NoNoise`] if the oscillator does not run.
    pub fn fill(&self, timer: &Timer, out: &mut [u8]) -> Result<(), NoNoise> {
        if self.register(STATUS).read() & STATUS_RUNS != STATUS_RUNS {
            return Err(NoNoise);
        }
        let mut next = timer.now_us();
        for sample in out {
            *sample = 0;
            for _ in 0..u8::BITS {
                next += BIT_US;
                while timer.now_us() < next {}
                *sample = *sample << 1 | (self.register(RANDOM_BIT).read() & 1).to_le_bytes()[0];
            }
        }
        Ok(())
    }

    fn register(&self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised the base of the ring oscillator.
        unsafe { Register::new(self.base + offset) }
    }
}
