//! The timer (RP2040 data sheet, 4.6; RP2350 data sheet, 12.8): microseconds since it was released from reset, and
//! alarms.

use super::super::cortex_m;
use super::super::register::{Register, halves};

/// The first alarm's register; the others follow.
const ALARMS: usize = 0x10;
/// Alarms that are set; a written 1 takes one back.
const ARMED: usize = 0x20;
const RAW_HIGH: usize = 0x24;
const RAW_LOW: usize = 0x28;

/// How far ahead an alarm is set at most, in microseconds: it compares 32 bits of the time.
const FARTHEST_US: u64 = 1 << 31;

/// An alarm of the timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// Ends a sleep of the main loop.
    Wake = 0,
    /// Feeds the watchdog.
    Feed = 1,
}

impl Alarm {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The timer. `RAISED` is the offset of its register of raised interrupts, in which a written 1 clears; the register
/// that enables them follows.
#[derive(Debug)]
pub struct Timer<const RAISED: usize> {
    base: usize,
}

impl<const RAISED: usize> Timer<RAISED> {
    const ENABLED: usize = RAISED + 4;

    /// The timer at a base address.
    ///
    /// # Safety
    /// `base` must be that of a timer which has this register.
    #[must_use]
    pub const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        // The registers that latch each other belong to one reader; interrupt handlers read as well.
        let mut high = self.register(RAW_HIGH).read();
        loop {
            let low = self.register(RAW_LOW).read();
            let again = self.register(RAW_HIGH).read();
            if again == high {
                return u64::from(high) << 32 | u64::from(low);
            }
            high = again;
        }
    }

    /// Raises an alarm's interrupt at a time in microseconds since the start, or after 35 minutes if that is
    /// earlier. Returns false, with the alarm taken back, if the time has come already.
    pub fn set(&self, alarm: Alarm, time_us: u64) -> bool {
        cortex_m::without_interrupts(|| {
            let farthest = self.now_us().saturating_add(FARTHEST_US);
            let [time, _] = halves(time_us.min(farthest));
            let enabled = self.register(Self::ENABLED);
            enabled.write(enabled.read() | alarm.bit());
            self.register(ALARMS + 4 * alarm as usize).write(time);
            // It is raised when the time is equal, so one that was set too late would wait for the next
            // turn of 32 bits.
            let ahead = self.now_us() < time_us;
            if !ahead {
                self.register(ARMED).write(alarm.bit());
            }
            ahead
        })
    }

    /// Takes away the reason of an alarm's interrupt.
    pub fn acknowledge(&self, alarm: Alarm) {
        self.register(RAISED).write(alarm.bit());
    }

    fn register(&self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised the base of the timer.
        unsafe { Register::new(self.base + offset) }
    }
}
