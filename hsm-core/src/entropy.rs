//! Entropy: health tests on raw noise and conditioning to full entropy (SP 800-90B).
//!
//! Every raw sample passes the repetition count test (4.4.1) and the adaptive proportion test
//! (4.4.2). Nothing is used before a start-up test over [`START_UP_SAMPLES`] samples. A failure
//! ends all output until a new start-up test has passed.
//!
//! Seeds are SHA-256 values, a vetted conditioning component (3.1.5.1.1), over samples that
//! hold at least 64 bits more than the output (SP 800-90C: full entropy).

use hsm_protocol::ErrorCode;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::drbg::SEED_SIZE;
use crate::platform::{EntropyError, MinEntropy};
use crate::secret::Secret;

mod cutoff;

pub use cutoff::Cutoffs;

/// Samples of the start-up test (4.3: at least 1024).
pub const START_UP_SAMPLES: usize = 1024;
/// Window of the adaptive proportion test for samples that are not binary (4.4.2).
const WINDOW: u16 = 512;
/// Bits of entropy that go into one conditioned block of 256 bits.
const BLOCK_ENTROPY_BITS: u32 = 256 + 64;
/// Bytes read from the source at a time.
const CHUNK: usize = 64;

/// Reads raw noise bytes.
pub type RawSource<'a> = dyn FnMut(&mut [u8]) -> Result<(), EntropyError> + 'a;

/// The noise source as seen through its health tests.
#[derive(Debug)]
pub struct Noise {
    cutoffs: Cutoffs,
    started: bool,
    /// Repetition count test: the latest sample and how often it came in a row.
    latest: u8,
    run: u16,
    /// Adaptive proportion test: the window's first sample, its count, and samples seen.
    reference: u8,
    matches: u16,
    seen: u16,
}

impl Noise {
    /// A source that has yet to pass its start-up test.
    #[must_use]
    pub const fn new(cutoffs: Cutoffs) -> Self {
        Self { cutoffs, started: false, latest: 0, run: 0, reference: 0, matches: 0, seen: 0 }
    }

    /// Runs the start-up test, at boot, on demand, or after a failure. Its samples are not used.
    ///
    /// # Errors
    /// [`ErrorCode::ENTROPY_FAILED`].
    pub fn start_up(&mut self, source: &mut RawSource<'_>) -> Result<(), ErrorCode> {
        *self = Self::new(self.cutoffs);
        self.started = true;
        let mut chunk = [0; CHUNK];
        let result = (0..START_UP_SAMPLES / CHUNK).try_for_each(|_| self.read(source, &mut chunk));
        chunk.zeroize();
        result
    }

    /// Draws a seed of full entropy.
    ///
    /// # Errors
    /// [`ErrorCode::ENTROPY_FAILED`].
    pub fn seed(
        &mut self,
        source: &mut RawSource<'_>,
        out: &mut Secret<SEED_SIZE>,
    ) -> Result<(), ErrorCode> {
        out.expose_mut().chunks_mut(32).try_for_each(|out| self.condition(source, out))
    }

    /// Conditions fresh samples to at most 32 bytes.
    fn condition(&mut self, source: &mut RawSource<'_>, out: &mut [u8]) -> Result<(), ErrorCode> {
        let mut hash = Sha256::new();
        let mut chunk = [0; CHUNK];
        let mut result = Ok(());
        let mut left = samples_for_block(self.cutoffs.min_entropy());
        while left > 0 && result.is_ok() {
            let take = left.min(CHUNK);
            if let Some(part) = chunk.get_mut(..take) {
                result = self.read(source, part);
                hash.update(part);
            }
            left = left.saturating_sub(take);
        }
        chunk.zeroize();
        let mut block: [u8; 32] = hash.finalize().into();
        if let (Ok(()), Some(head)) = (result, block.get(..out.len())) {
            out.copy_from_slice(head);
        }
        block.zeroize();
        result
    }

    /// Reads and tests samples; after a failure `out` must not be used.
    fn read(&mut self, source: &mut RawSource<'_>, out: &mut [u8]) -> Result<(), ErrorCode> {
        let healthy =
            self.started && source(out).is_ok() && out.iter().all(|sample| self.accept(*sample));
        self.started = healthy;
        if healthy { Ok(()) } else { Err(ErrorCode::ENTROPY_FAILED) }
    }

    /// Both continuous tests on one sample.
    fn accept(&mut self, sample: u8) -> bool {
        if self.run > 0 && sample == self.latest {
            self.run = self.run.saturating_add(1);
        } else {
            self.latest = sample;
            self.run = 1;
        }
        if self.seen == 0 {
            self.reference = sample;
            self.matches = 0;
        }
        self.matches = self.matches.saturating_add(u16::from(sample == self.reference));
        self.seen = self.seen.saturating_add(1) % WINDOW;
        self.run < self.cutoffs.repetition() && self.matches < self.cutoffs.proportion()
    }
}

/// Samples that hold the entropy of one conditioned block.
fn samples_for_block(min_entropy: MinEntropy) -> usize {
    let millibits = u32::from(min_entropy.millibits()).max(1);
    let samples = BLOCK_ENTROPY_BITS.saturating_mul(1000).div_ceil(millibits);
    usize::try_from(samples).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> impl FnMut(&mut [u8]) -> Result<(), EntropyError> {
        let mut state = 1u32;
        move |out: &mut [u8]| {
            for byte in out {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = state.to_le_bytes()[3];
            }
            Ok(())
        }
    }

    fn noise(millibits: u16) -> Noise {
        Noise::new(Cutoffs::new(MinEntropy::from_millibits(millibits)))
    }

    #[test]
    fn good_noise_seeds_after_start_up_only() {
        let mut noise = noise(6000);
        let mut source = counter();
        let mut seed = Secret::zeroed();
        assert_eq!(noise.seed(&mut source, &mut seed), Err(ErrorCode::ENTROPY_FAILED));
        assert_eq!(*seed.expose(), [0; SEED_SIZE]);
        noise.start_up(&mut source).unwrap();
        noise.seed(&mut source, &mut seed).unwrap();
        assert_ne!(*seed.expose(), [0; SEED_SIZE]);
    }

    #[test]
    fn constant_noise_trips_the_repetition_count_at_its_cutoff() {
        for (millibits, cutoff) in [(500, 61), (1000, 31), (2000, 16), (4000, 9), (8000, 5)] {
            let mut noise = noise(millibits);
            let accepted = (0..1000).take_while(|_| noise.accept(7)).count();
            assert_eq!(accepted, cutoff - 1, "H = {millibits}");
        }
    }

    #[test]
    fn biased_noise_trips_the_adaptive_proportion_at_its_cutoff() {
        // Never twice in a row, so that only the proportion can trip.
        for (millibits, cutoff) in [(2000, 190), (4000, 71), (6000, 31), (8000, 16)] {
            let mut noise = noise(millibits);
            let accepted =
                (0..512u32).take_while(|i| noise.accept(if i % 2 == 0 { 0 } else { 1 })).count();
            assert_eq!(accepted, 2 * (cutoff - 1), "H = {millibits}");
        }
    }

    #[test]
    fn a_failure_lasts_until_the_next_start_up() {
        let mut noise = noise(6000);
        let mut source = counter();
        noise.start_up(&mut source).unwrap();
        let mut seed = Secret::zeroed();
        let mut stuck = |out: &mut [u8]| {
            out.fill(0);
            Ok(())
        };
        assert_eq!(noise.seed(&mut stuck, &mut seed), Err(ErrorCode::ENTROPY_FAILED));
        assert_eq!(noise.seed(&mut source, &mut seed), Err(ErrorCode::ENTROPY_FAILED));
        assert_eq!(noise.start_up(&mut stuck), Err(ErrorCode::ENTROPY_FAILED));
        noise.start_up(&mut source).unwrap();
        assert_eq!(noise.seed(&mut source, &mut seed), Ok(()));
        let mut dead = |_: &mut [u8]| Err(EntropyError);
        assert_eq!(noise.seed(&mut dead, &mut seed), Err(ErrorCode::ENTROPY_FAILED));
    }

    #[test]
    fn seeds_read_enough_samples() {
        for (millibits, samples) in [(8000, 40), (4000, 80), (500, 640), (1, 320_000)] {
            let min_entropy = MinEntropy::from_millibits(millibits);
            assert_eq!(samples_for_block(min_entropy), samples);
        }
    }
}
