//! The timer: microseconds since boot, and an alarm (12.8).

use super::register;

const ALARM_0: usize = 0x10;
/// Bit 0 written: alarm 0 is disarmed.
const ARMED: usize = 0x20;
const RAW_HIGH: usize = 0x24;
const RAW_LOW: usize = 0x28;
const INTERRUPTS: usize = 0x3C;
const INTERRUPT_ENABLE: usize = 0x40;
const ALARM_0_BIT: u32 = 1 << 0;

/// An alarm compares the low 32 bits. One that is further away ends the sleep early, which does no harm.
const FURTHEST_US: u64 = 1 << 31;

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

    /// Has the alarm interrupt at a time; false if that time has come, and it may not.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the alarm has the low half
    pub fn set_alarm(&self, time_us: u64) -> bool {
        let time = time_us.min(self.now_us().saturating_add(FURTHEST_US));
        register(self.base + INTERRUPT_ENABLE).write(ALARM_0_BIT);
        register(self.base + ALARM_0).write(time as u32);
        self.now_us() < time
    }

    /// Has the alarm interrupt no more.
    pub fn stop_alarm(&self) {
        register(self.base + ARMED).write(ALARM_0_BIT);
        self.interrupt();
    }

    /// Serves the alarm's interrupt.
    pub fn interrupt(&self) {
        register(self.base + INTERRUPTS).write(ALARM_0_BIT);
    }
}
