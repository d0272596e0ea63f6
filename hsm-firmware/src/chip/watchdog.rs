//! Watchdog of Arm's Cortex-M System Design Kit (CMSDK), for one purpose: to end a firmware that
//! has failed. On a board it resets; an emulator is told to end, and is started again by whoever
//! supervises it.

use super::register::Register;
use super::stack;

const LOAD: usize = 0x00;
const CTRL: usize = 0x08;

/// Interrupt when it has counted down once, reset at the second time.
const CTRL_INTERRUPT_THEN_RESET: u32 = 0b11;

/// Ticks until it bites, counted twice.
const TICKS: u32 = 25_000;

/// The watchdog.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    base: usize,
}

impl Watchdog {
    /// The watchdog at a base address.
    ///
    /// # Safety
    /// `base` must be that of a CMSDK watchdog that resets the machine.
    #[must_use]
    pub const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Wipes RAM and lets the watchdog bite.
    pub fn wipe_and_bite(self) -> ! {
        // SAFETY: `new` was promised a watchdog here, and that it resets the machine.
        unsafe {
            Register::new(self.base + LOAD).write(TICKS);
            stack::wipe_and(self.base + CTRL, CTRL_INTERRUPT_THEN_RESET)
        }
    }
}
