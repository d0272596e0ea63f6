//! A watchdog made of a timer interrupt, for a board that does not have one.
//!
//! The main loop counts its rounds. The interrupt looks once in each period whether there were any since
//! it last looked, so a main loop that hangs is found after one to two periods. Unlike a watchdog, this
//! does not notice code that hangs with interrupts masked, nor an interrupt handler that hangs.

use core::sync::atomic::{AtomicU32, Ordering};

/// Times are kept in units of 2^16 us in 32 bits, which suffices for eight years.
const SHIFT: u32 = 16;

/// What the interrupt looks at.
#[derive(Debug)]
pub struct Rounds {
    period: u32,
    made: AtomicU32,
    seen: AtomicU32,
    check: AtomicU32,
}

impl Rounds {
    /// Looks once in each period.
    #[must_use]
    pub const fn new(period_us: u64) -> Self {
        let [made, seen, check] = [const { AtomicU32::new(0) }; 3];
        Self { period: units(period_us), made, seen, check }
    }

    /// Begins, at a time in microseconds since boot. This counts as a round.
    pub fn start(&self, now_us: u64) {
        self.count();
        self.look_after(now_us);
    }

    /// Counts a round of the main loop.
    pub fn count(&self) {
        let made = self.made.load(Ordering::Relaxed);
        self.made.store(made.wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns whether the main loop hangs. To be called in the interrupt.
    pub fn hangs(&self, now_us: u64) -> bool {
        if now_us < self.next_us() {
            return false;
        }
        let made = self.made.load(Ordering::Relaxed);
        // Only the interrupt stores it, and some processors cannot swap.
        if self.seen.load(Ordering::Relaxed) == made {
            return true;
        }
        self.seen.store(made, Ordering::Relaxed);
        self.look_after(now_us);
        false
    }

    /// When the interrupt has to come, in microseconds since boot.
    #[must_use]
    pub fn next_us(&self) -> u64 {
        u64::from(self.check.load(Ordering::Relaxed)) << SHIFT
    }

    fn look_after(&self, now_us: u64) {
        self.check.store(units(now_us).saturating_add(self.period), Ordering::Relaxed);
    }
}

#[allow(clippy::cast_possible_truncation)] // eight years
const fn units(us: u64) -> u32 {
    (us >> SHIFT) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: u64 = 60_000_000;

    #[test]
    fn a_main_loop_that_comes_round_does_not_hang() {
        let rounds = Rounds::new(PERIOD);
        rounds.start(5_000_000);
        for period in 1..1000 {
            let now = rounds.next_us();
            assert!(!rounds.hangs(now), "period {period}");
            assert!(rounds.next_us() > now && rounds.next_us() <= now + PERIOD);
            rounds.count();
        }
    }

    #[test]
    fn one_that_does_not_is_found_within_two_periods() {
        let rounds = Rounds::new(PERIOD);
        rounds.start(0);
        rounds.count();
        // Interrupts for other reasons do not bring the look forward.
        assert!((0..PERIOD / 2).step_by(1_000_000).all(|now| !rounds.hangs(now)));
        let first = rounds.next_us();
        assert!(!rounds.hangs(first), "there was a round");
        assert!(!rounds.hangs(first + PERIOD / 2), "too early");
        let second = rounds.next_us();
        assert!(second <= 2 * PERIOD);
        assert!(rounds.hangs(second));
    }
}
