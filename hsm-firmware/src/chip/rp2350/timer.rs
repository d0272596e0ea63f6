//! The timer: microseconds since boot, and alarms (12.8).

use super::register;

/// The first alarm's register; the others follow.
const ALARMS: usize = 0x10;
const RAW_HIGH: usize = 0x24;
const RAW_LOW: usize = 0x28;
const INTERRUPTS: usize = 0x3C;
const INTERRUPT_ENABLE: usize = 0x40;
const BOTH: u32 = Alarm::Wake.bit() | Alarm::Feed.bit();

/// An alarm compares the low 32 bits. One that is further away ends the sleep early, which does no harm.
const FURTHEST_US: u64 = 1 << 31;

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

/// Timer 0, which counts microseconds once its tick generator runs.
#[derive(Debug)]
pub struct Timer {
    base: usize,
}

impl Timer {
    /// The timer at a base address.
    ///
    /// # Safety
    /// `base` must be that of a timer of the RP2350.
    pub(super) const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Microseconds since the timer was reset.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        loop {
            let high = register(self.base + RAW_HIGH).read();
            let low = register(self.base + RAW_LOW).read();
            // Unless the low half has begun anew in between.
            if register(self.base + RAW_HIGH).read() == high {
                return u64::from(high) << 32 | u64::from(low);
            }
        }
    }

    /// Has an alarm interrupt at a time; false if that time has come, and it may not.
    #[allow(clippy::cast_possible_truncation)] // the alarm has the low half
    pub fn set(&self, alarm: Alarm, time_us: u64) -> bool {
        let time = time_us.min(self.now_us().saturating_add(FURTHEST_US));
        register(self.base + INTERRUPT_ENABLE).write(BOTH);
        register(self.base + ALARMS + 4 * alarm as usize).write(time as u32);
        self.now_us() < time
    }

    /// Takes away the reason of an alarm's interrupt.
    pub fn acknowledge(&self, alarm: Alarm) {
        register(self.base + INTERRUPTS).write(alarm.bit());
    }
}
