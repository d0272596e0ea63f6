//! The watchdog (12.9). It resets a chip whose interrupts are not served, and ends a firmware that has failed, or that
//! is asked to. Its scratch registers, which a reset by it leaves as they are, have the note of why: `__note` is the
//! first of them. The boot ROM uses the third and those after it for restarts that it is asked for, and nothing here asks.

use hsm_protocol::reset::ResetReason;

use super::super::stack;
use super::register;

const CTRL: usize = 0x00;
const LOAD: usize = 0x04;
const REASON: usize = 0x08;
const CTRL_ENABLE: u32 = 1 << 30;
/// Resets at once.
const CTRL_TRIGGER: u32 = 1 << 31;
/// The longest time: 16.7 seconds of microseconds.
const LONGEST: u32 = 0x00FF_FFFF;
/// The last reset was by the watchdog, whose time was over.
const REASON_TIMER: u32 = 1 << 0;

/// Microseconds between two feedings. An erasure of flash, which no interrupt interrupts, takes 0.4 seconds at most.
pub(super) const FEED_US: u64 = 4_000_000;

/// What the watchdog resets, in the power-on state machine (7.4).
const POWER_ON_WATCHDOG: usize = 0x4001_8000 + 0x08;
/// All but the oscillators: so the boot ROM runs again, and reads OTP again.
const ALL_BUT_OSCILLATORS: u32 = 0x01FF_FFFF & !(1 << 2 | 1 << 3);

/// The watchdog.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    base: usize,
}

impl Watchdog {
    /// The watchdog at a base address.
    ///
    /// # Safety
    /// `base` must be that of the watchdog of an RP2350.
    pub(super) const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Returns why the chip was reset, as far as it knows.
    #[must_use]
    pub fn cause(self) -> ResetReason {
        match register(self.base + REASON).read() & REASON_TIMER {
            0 => ResetReason::OTHER,
            _ => ResetReason::WATCHDOG,
        }
    }

    /// Starts it: it is to be fed from now on.
    pub(super) fn start(self) {
        register(POWER_ON_WATCHDOG).write(ALL_BUT_OSCILLATORS);
        self.feed();
        register(self.base + CTRL).write(CTRL_ENABLE);
    }

    /// Puts off its bite.
    pub(super) fn feed(self) {
        register(self.base + LOAD).write(LONGEST);
    }

    /// Wipes RAM and resets the chip.
    pub fn wipe_and_bite(self) -> ! {
        register(POWER_ON_WATCHDOG).write(ALL_BUT_OSCILLATORS);
        // SAFETY: `new` was promised a watchdog here, and this bit resets the machine.
        unsafe { stack::wipe_and(self.base + CTRL, CTRL_TRIGGER) }
    }
}
