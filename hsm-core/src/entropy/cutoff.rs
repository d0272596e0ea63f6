//! Cutoffs of the health tests for an assessed min-entropy, computed at compile time.
//!
//! The probability of a false alarm is 2^-30 for each test (SP 800-90B 4.3 recommends 2^-20 to
//! 2^-40).

use crate::platform::MinEntropy;

/// Minus log2 of the false-alarm probability.
const ALPHA_BITS: u32 = 30;
const WINDOW: u16 = super::WINDOW;

/// The cutoffs of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cutoffs {
    min_entropy: MinEntropy,
    repetition: u16,
    proportion: u16,
}

impl Cutoffs {
    /// Computes the cutoffs. Call it in a `const`: it takes thousands of floating-point steps.
    #[must_use]
    pub const fn new(min_entropy: MinEntropy) -> Self {
        Self {
            min_entropy,
            repetition: repetition(min_entropy),
            proportion: proportion(min_entropy),
        }
    }

    /// The assessment.
    #[must_use]
    pub const fn min_entropy(self) -> MinEntropy {
        self.min_entropy
    }

    /// Equal samples in a row at which the repetition count test fails.
    #[must_use]
    pub const fn repetition(self) -> u16 {
        self.repetition
    }

    /// Equal samples in a window at which the adaptive proportion test fails.
    #[must_use]
    pub const fn proportion(self) -> u16 {
        self.proportion
    }
}

/// C = 1 + ceil(-log2(alpha) / H) (4.4.1).
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
const fn repetition(min_entropy: MinEntropy) -> u16 {
    // At most 30 001, for a thousandth of a bit.
    1 + (ALPHA_BITS * 1000).div_ceil(min_entropy.millibits() as u32) as u16
}

/// C = 1 + critbinom(W, 2^-H, 1 - alpha) (4.4.2).
#[allow(clippy::arithmetic_side_effects)]
const fn proportion(min_entropy: MinEntropy) -> u16 {
    let p = probability(min_entropy);
    let alpha = 1.0 / (1u64 << ALPHA_BITS) as f64;
    // critbinom is the smallest k with P(X > k) <= alpha. The sum starts at the end where the
    // first term does not underflow.
    let critical = if p > 0.5 { from_above(p, alpha) } else { from_below(p, alpha) };
    1 + critical
}

/// Adds up P(X = W), P(X = W-1), … while the sum stays within `alpha`.
#[allow(clippy::arithmetic_side_effects)]
const fn from_above(p: f64, alpha: f64) -> u16 {
    let mut k = WINDOW;
    let mut term = power(p, WINDOW);
    let mut tail = 0.0;
    while k > 0 {
        tail += term;
        if tail > alpha {
            return k;
        }
        // P(X = k-1) / P(X = k)
        term *= k as f64 / (WINDOW - k + 1) as f64 * ((1.0 - p) / p);
        k -= 1;
    }
    0
}

/// Adds up P(X = 0), P(X = 1), … until all but `alpha` is there.
#[allow(clippy::arithmetic_side_effects)]
const fn from_below(p: f64, alpha: f64) -> u16 {
    let mut k = 0;
    let mut term = power(1.0 - p, WINDOW);
    let mut sum = term;
    while sum < 1.0 - alpha && k < WINDOW {
        // P(X = k+1) / P(X = k)
        term *= (WINDOW - k) as f64 / (k + 1) as f64 * (p / (1.0 - p));
        k += 1;
        sum += term;
    }
    k
}

/// 2^-H.
#[allow(clippy::arithmetic_side_effects)]
const fn probability(min_entropy: MinEntropy) -> f64 {
    // exp(-x) = exp(-x / 16)^16, with a series that converges at once.
    let x = min_entropy.millibits() as f64 / 1000.0 * core::f64::consts::LN_2 / 16.0;
    let mut sum = 1.0;
    let mut term = 1.0;
    let mut i = 1;
    while i < 20 {
        term *= -x / i as f64;
        sum += term;
        i += 1;
    }
    power(sum, 16)
}

#[allow(clippy::arithmetic_side_effects)]
const fn power(base: f64, exponent: u16) -> f64 {
    let mut result = 1.0;
    let mut i = 0;
    while i < exponent {
        result *= base;
        i += 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    // Computed with an independent implementation of the binomial distribution.
    #[test]
    fn cutoffs_for_bytes_at_2_to_the_minus_30() {
        for (millibits, repetition, proportion) in [
            (500, 61, 422),
            (1000, 31, 325),
            (2000, 16, 190),
            (4000, 9, 71),
            (6000, 6, 31),
            (8000, 5, 16),
        ] {
            let cutoffs = Cutoffs::new(MinEntropy::from_millibits(millibits));
            assert_eq!(cutoffs.repetition(), repetition, "H = {millibits}");
            assert_eq!(cutoffs.proportion(), proportion, "H = {millibits}");
        }
    }

    #[test]
    fn the_extremes_are_finite() {
        let cutoffs = Cutoffs::new(MinEntropy::from_millibits(1));
        assert_eq!(cutoffs.repetition(), 30_001);
        assert_eq!(cutoffs.proportion(), WINDOW + 1);
    }
}
