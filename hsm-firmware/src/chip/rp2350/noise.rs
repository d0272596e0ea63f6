//! The noise source: the chip's TRNG, a ring oscillator that is sampled by the system clock (12.12).
//!
//! It can be read raw. Its von Neumann corrector, its comparison of 16-bit blocks and its autocorrelation test
//! are bypassed: a corrector would hide a bias, and tests that discard what they dislike, or stop the source,
//! would hide its failures from the health tests of SP 800-90B, which are the core's. What cannot be bypassed is
//! the register that collects 192 bits.

use super::Timer;
use super::register;

const RING_CONFIG: usize = 0x10C;
const VALID: usize = 0x110;
/// Six words from here on. Reading the last one begins a new collection.
const COLLECTED: usize = 0x114;
const SOURCE_ENABLE: usize = 0x12C;
const SAMPLE_CYCLES: usize = 0x130;
const DEBUG_CONTROL: usize = 0x138;
const RESET: usize = 0x140;
const INTERRUPT_CLEAR: usize = 0x108;

/// Bypasses: the corrector and its test for 32 equal bits, the comparison of blocks, the autocorrelation test.
const RAW: u32 = 1 << 1 | 1 << 2 | 1 << 3;
/// Cycles of the system clock between two samples: 6.7 µs at 150 MHz, for jitter to accumulate. Without the
/// corrector 17 is the least (register SAMPLE_CNT1).
const CYCLES: u32 = 1000;
const _: () = assert!(CYCLES >= 17);
/// The ring with the fewest inverters of four: the fastest.
const SHORTEST_RING: u32 = 0;
/// All flags.
const ALL: u32 = 0b1111;

/// Words that are collected at a time.
const WORDS: usize = 6;
/// Bytes of them.
const BYTES: usize = WORDS * size_of::<u32>();
/// They take 1.3 ms. A source that takes ten times that is dead.
const PATIENCE_US: u64 = 13_000;

/// The source does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoAnswer;

/// The TRNG.
#[derive(Debug)]
pub struct Trng {
    base: usize,
}

impl Trng {
    /// The TRNG at a base address.
    ///
    /// # Safety
    /// `base` must be that of the TRNG of an RP2350.
    pub(super) const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Fills `out` with the next samples, eight to a byte, in the order in which they were taken. What was
    /// collected beyond that is dropped.
    ///
    /// # Errors
    /// [`NoAnswer`] if 192 samples do not come within 13 ms, or the source does not take its settings.
    pub fn fill(&self, timer: &Timer, out: &mut [u8]) -> Result<(), NoAnswer> {
        self.start()?;
        let result = out.chunks_mut(BYTES).try_for_each(|part| self.collect(timer, part));
        register(self.base + SOURCE_ENABLE).write(0);
        result
    }

    /// Starts the source anew, raw. Its settings may be changed only while it is off.
    fn start(&self) -> Result<(), NoAnswer> {
        let settings =
            [(DEBUG_CONTROL, RAW), (SAMPLE_CYCLES, CYCLES), (RING_CONFIG, SHORTEST_RING)];
        register(self.base + SOURCE_ENABLE).write(0);
        register(self.base + RESET).write(1);
        // Writes may be lost while it is being reset, so they are read back.
        let is_set = |&(offset, value): &(usize, u32)| {
            register(self.base + offset).write(value);
            register(self.base + offset).read() == value
        };
        if !(0..100)
            .any(|_| settings.iter().filter(|setting| is_set(setting)).count() == settings.len())
        {
            return Err(NoAnswer);
        }
        register(self.base + INTERRUPT_CLEAR).write(ALL);
        register(self.base + SOURCE_ENABLE).write(1);
        Ok(())
    }

    fn collect(&self, timer: &Timer, out: &mut [u8]) -> Result<(), NoAnswer> {
        let end = timer.now_us().saturating_add(PATIENCE_US);
        while register(self.base + VALID).read() & 1 == 0 {
            if timer.now_us() > end {
                return Err(NoAnswer);
            }
        }
        let mut bytes = [0; BYTES];
        for (word, part) in (0..WORDS).zip(bytes.chunks_exact_mut(size_of::<u32>())) {
            let value = register(self.base + COLLECTED + word * size_of::<u32>()).read();
            part.copy_from_slice(&value.to_le_bytes());
        }
        register(self.base + INTERRUPT_CLEAR).write(ALL);
        for (byte, place) in bytes.iter().zip(out) {
            *place = *byte;
        }
        zeroize::Zeroize::zeroize(&mut bytes);
        Ok(())
    }
}
