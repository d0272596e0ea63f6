//! What the boards with an RP2040 and with an RP2350 have in common: how they sleep, and that the watchdog is fed only
//! while the main loop comes round.

use super::bare::{self, LONGEST_SLEEP_US, Stability, WATCHDOG_US};
use crate::chip::cortex_m;
use crate::chip::pico::timer::{Alarm, Timer};
use crate::rounds::Rounds;
use crate::serve::Runtime;

/// Whether the main loop comes round.
pub(super) static ROUNDS: Rounds = Rounds::new(WATCHDOG_US);

/// Waits until a time, in microseconds since the start.
pub(super) fn wait_until<const RAISED: usize>(timer: &Timer<RAISED>, time_us: u64) {
    while timer.set(Alarm::Wake, time_us) {
        cortex_m::wait();
    }
}

/// Waiting on these boards.
pub(super) struct Sleep<const RAISED: usize> {
    timer: &'static Timer<RAISED>,
    stability: Stability,
}

impl<const RAISED: usize> Sleep<RAISED> {
    pub(super) const fn new(timer: &'static Timer<RAISED>) -> Self {
        Self { timer, stability: Stability::new() }
    }
}

impl<const RAISED: usize> Runtime for Sleep<RAISED> {
    fn wait(&mut self, alarm: Option<u64>) {
        let now = self.timer.now_us();
        self.stability.at(now);
        let longest = now.saturating_add(LONGEST_SLEEP_US);
        if self.timer.set(Alarm::Wake, alarm.unwrap_or(u64::MAX).min(longest)) {
            cortex_m::wait();
        }
    }

    fn feed_watchdog(&mut self) {
        ROUNDS.count();
    }

    fn should_stop(&mut self) -> bool {
        bare::is_reset_wanted()
    }
}
