//! Randomness that can be repeated.

use std::env;

/// A generator for one test, and a line on standard error with the seed that repeats it.
///
/// `STRONGROOM_SEED` sets the seed; otherwise each run has its own.
#[must_use]
pub fn random(test: &str) -> fastrand::Rng {
    let seed = match env::var("STRONGROOM_SEED") {
        Ok(seed) => seed.parse().expect("STRONGROOM_SEED is a decimal number"),
        Err(_) => fastrand::u64(..),
    };
    eprintln!("{test}: STRONGROOM_SEED={seed} repeats this run");
    fastrand::Rng::with_seed(seed)
}
