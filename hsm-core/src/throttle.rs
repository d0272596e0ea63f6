//! Slows down failing handshakes of hosts whose key is not known, as long as such hosts may exist:
//! each handshake costs the device scalar multiplications. Enrolled hosts are not slowed down
//! (`admission`).

use hsm_protocol::ErrorCode;

/// Failures in a row that cost nothing yet.
const FREE: u32 = 5;
/// Microseconds between attempts after that.
const PAUSE_US: u64 = 100_000;

/// Counts failures in a row.
pub(crate) struct Throttle {
    failures: u32,
    last_us: u64,
}

impl Throttle {
    pub(crate) const fn new() -> Self {
        Self { failures: 0, last_us: 0 }
    }

    /// Whether an attempt may be made now.
    ///
    /// # Errors
    /// [`ErrorCode::THROTTLED`].
    pub(crate) const fn check(&self, now_us: u64) -> Result<(), ErrorCode> {
        if self.failures >= FREE && now_us.saturating_sub(self.last_us) < PAUSE_US {
            return Err(ErrorCode::THROTTLED);
        }
        Ok(())
    }

    pub(crate) const fn failed(&mut self, now_us: u64) {
        self.failures = self.failures.saturating_add(1);
        self.last_us = now_us;
    }

    pub(crate) const fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_slow_down_and_a_success_forgives() {
        let mut throttle = Throttle::new();
        for _ in 0..FREE {
            assert_eq!(throttle.check(1000), Ok(()));
            throttle.failed(1000);
        }
        assert_eq!(throttle.check(1000), Err(ErrorCode::THROTTLED));
        assert_eq!(throttle.check(1000 + PAUSE_US), Ok(()));
        throttle.succeeded();
        assert_eq!(throttle.check(1000), Ok(()));
    }
}
