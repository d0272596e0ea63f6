//! The watchdog, for one purpose: to end a firmware that has failed, or that is asked to (12.9).

use super::super::stack;
use super::register;

const CTRL: usize = 0x00;
/// Resets at once.
const CTRL_TRIGGER: u32 = 1 << 31;

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

    /// Wipes RAM and resets the chip.
    pub fn wipe_and_bite(self) -> ! {
        register(POWER_ON_WATCHDOG).write(ALL_BUT_OSCILLATORS);
        // SAFETY: `new` was promised a watchdog here, and this bit resets the machine.
        unsafe { stack::wipe_and(self.base + CTRL, CTRL_TRIGGER) }
    }
}
