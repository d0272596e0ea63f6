//! When to leave a proxy alone that does not answer.

use std::time::{Duration, Instant};

/// Calls in a row without an answer after which a store rests.
const MAX_SILENT: u32 = 5;
/// How long it rests before one call asks again.
const REST: Duration = Duration::from_secs(1);

/// What is known of a proxy's answers.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    silent: u32,
    rests_until: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be made now. After a rest it is one, on whose outcome the others depend.
    pub(super) fn lets_through(&mut self, now: Instant) -> bool {
        match self.rests_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.rests_until = Some(now + REST);
                true
            }
        }
    }

    /// Learns whether a call was answered, whatever the answer was.
    pub(super) fn note(&mut self, answered: bool, now: Instant) {
        if answered {
            *self = Self::default();
            return;
        }
        self.silent = self.silent.saturating_add(1);
        if self.silent >= MAX_SILENT {
            self.rests_until = Some(now + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_proxy_is_asked_once_a_second() {
        let (mut breaker, begin) = (Breaker::default(), Instant::now());
        for _ in 0..MAX_SILENT {
            assert!(breaker.lets_through(begin));
            breaker.note(false, begin);
        }
        assert!(!breaker.lets_through(begin));
        let later = begin + REST;
        assert!(breaker.lets_through(later), "one asks again");
        assert!(!breaker.lets_through(later), "and one only");
        breaker.note(false, later);
        assert!(!breaker.lets_through(later + REST / 2));
        let again = later + REST;
        assert!(breaker.lets_through(again));
        breaker.note(true, again);
        assert!((0..100).all(|_| breaker.lets_through(again)));
    }

    #[test]
    fn answers_in_between_keep_it_going() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for round in 0..100 {
            breaker.note(round % MAX_SILENT == 0, now);
            assert!(breaker.lets_through(now));
        }
    }
}
