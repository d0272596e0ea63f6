//! The watchdog (RP2040 data sheet, 4.7; RP2350 data sheet, 12.9). It resets a chip whose interrupts are not served, and
//! ends a firmware that has failed, or that is asked to. Its scratch registers, which a reset by it leaves as they
//! are, have the note of why: `__note` is the first of them. The boot ROM uses the third and those after it for
//! restarts that it is asked for, and nothing here asks.

use hsm_protocol::reset::ResetReason;

use super::super::register::Register;
use super::super::stack;
use super::timer::{Alarm, Timer};

const CTRL: usize = 0x00;
const LOAD: usize = 0x04;
const REASON: usize = 0x08;
const CTRL_ENABLE: u32 = 1 << 30;
/// Resets at once.
const CTRL_TRIGGER: u32 = 1 << 31;
/// The last reset was by the watchdog, whose time was over.
const REASON_TIMER: u32 = 1 << 0;
/// The longest time: 16.7 seconds of microseconds, or half of that on an RP2040, where each microsecond counts twice
/// (RP2040-E1).
const LONGEST: u32 = 0x00FF_FFFF;

/// Microseconds between two feedings. An erasure of flash, which no interrupt interrupts, takes 2 seconds at most.
const FEED_US: u64 = 4_000_000;

/// The watchdog.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    /// Base address.
    base: usize,
    /// Address of the register that says which stages of the power-on state machine the watchdog resets.
    stages: usize,
    /// The stages that it is to reset.
    reset: u32,
}

impl Watchdog {
    /// The watchdog at a base address; it is to reset the stages of the power-on state machine that `reset` has a
    /// bit for, which goes to the register at the address `stages`.
    ///
    /// # Safety
    /// Both must be such addresses.
    #[must_use]
    pub const unsafe fn new(base: usize, stages: usize, reset: u32) -> Self {
        Self { base, stages, reset }
    }

    /// Returns why the chip was reset, as far as it knows.
    #[must_use]
    pub fn cause(self) -> ResetReason {
        match self.register(REASON).read() & REASON_TIMER {
            0 => ResetReason::OTHER,
            _ => ResetReason::WATCHDOG,
        }
    }

    /// Starts it: it is to be fed from now on.
    pub fn start(self) {
        self.set_stages();
        self.feed();
        self.register(CTRL).write(CTRL_ENABLE);
    }

    /// Puts off its bite, and has the timer's alarm say when to do so again. To be called in the interrupt of that
    /// alarm, and once before: its longest time is shorter than that of a command may be. The handler looks first
    /// whether the main loop comes round.
    pub fn feed_by<const RAISED: usize>(self, timer: &Timer<RAISED>) {
        self.feed();
        timer.set(Alarm::Feed, timer.now_us() + FEED_US);
    }

    /// Wipes RAM and resets the chip.
    pub fn wipe_and_bite(self) -> ! {
        self.set_stages();
        // SAFETY: `new` was promised a watchdog here, and this bit resets the machine.
        unsafe { stack::wipe_and(self.base + CTRL, CTRL_TRIGGER) }
    }

    fn feed(self) {
        self.register(LOAD).write(LONGEST);
    }

    fn set_stages(self) {
        // SAFETY: `new` was promised this address.
        unsafe { Register::<u32>::new(self.stages) }.write(self.reset);
    }

    fn register(self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised the base of the watchdog.
        unsafe { Register::new(self.base + offset) }
    }
}
