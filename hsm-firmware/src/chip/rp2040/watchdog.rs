//! The watchdog (4.7). It makes the timer's microseconds out of the crystal's clock, resets a chip whose interrupts
//! are not served, and ends a firmware that has failed. Its scratch registers, which a reset by it leaves as they are,
//! have the note of why: `__note` is the first of them. The last four belong to the boot ROM (2.8.1.1).

use hsm_protocol::reset::ResetReason;

use super::super::register::Register;
use super::super::stack;
use super::clocks::CRYSTAL_MHZ;

const CTRL: usize = 0x00;
const LOAD: usize = 0x04;
const REASON: usize = 0x08;
const TICK: usize = 0x2C;
/// Which stages of the power-on state machine a watchdog resets (2.13.5).
const RESET_STAGES: usize = 0x4001_0000 + 0x08;

/// All but the two oscillators.
const ALL_BUT_OSCILLATORS: u32 = 0x0001_FFFC;
const TICK_ENABLE: u32 = 1 << 9;
const CTRL_ENABLE: u32 = 1 << 30;
const CTRL_TRIGGER: u32 = 1 << 31;
/// The last reset was by the watchdog, whose time was over.
const REASON_TIMER: u32 = 1 << 0;
/// The longest time, 8.4 seconds: each microsecond counts twice (RP2040-E1).
const LONGEST: u32 = 0x00FF_FFFF;

/// Microseconds between two feedings. An erasure of flash, which no interrupt interrupts, may take 2 seconds.
pub(super) const FEED_US: u64 = 4_000_000;

/// The watchdog.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    base: usize,
}

impl Watchdog {
    /// The watchdog at a base address.
    ///
    /// # Safety
    /// `base` must be that of the watchdog.
    #[must_use]
    pub const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Starts the microseconds, and the watchdog: it is to be fed from now on.
    pub(super) fn start(self) {
        // SAFETY: this is the register's address.
        unsafe { Register::<u32>::new(RESET_STAGES) }.write(ALL_BUT_OSCILLATORS);
        self.register(TICK).write(TICK_ENABLE | CRYSTAL_MHZ);
        self.feed();
        self.register(CTRL).write(CTRL_ENABLE);
    }

    /// Puts off its bite.
    pub(super) fn feed(self) {
        self.register(LOAD).write(LONGEST);
    }

    /// Returns why the chip was reset, as far as it knows.
    #[must_use]
    pub fn cause(self) -> ResetReason {
        match self.register(REASON).read() & REASON_TIMER {
            0 => ResetReason::OTHER,
            _ => ResetReason::WATCHDOG,
        }
    }

    /// Resets the chip.
    pub fn bite(self) -> ! {
        self.register(CTRL).write(CTRL_TRIGGER);
        loop {
            core::hint::spin_loop();
        }
    }

    /// Wipes RAM and resets the chip.
    pub fn wipe_and_bite(self) -> ! {
        // SAFETY: `new` was promised the watchdog's address, and this resets the chip.
        unsafe { stack::wipe_and(self.base + CTRL, CTRL_TRIGGER) }
    }

    fn register(self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised the base of the watchdog.
        unsafe { Register::new(self.base + offset) }
    }
}
