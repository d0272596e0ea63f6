//! Watchdog of Arm's Cortex-M System Design Kit (CMSDK, DDI 0479): it counts down, and interrupts when it
//! has come to zero; if it comes to zero again, it resets the machine.
//!
//! The interrupt is the core's NMI, which no code can mask. Its handler wipes RAM and resets; the reset by
//! the watchdog itself is for a core that does not come to that.

use super::register::Register;

/// The value to count down from. A write starts anew.
const LOAD: usize = 0x00;
const CTRL: usize = 0x08;
/// Any write takes the interrupt back and starts anew.
const INTERRUPT_CLEAR: usize = 0x0C;
/// The other registers can be written after [`UNLOCK`] was written here, until anything else is.
const LOCK: usize = 0xC00;

/// Interrupt when it has counted down once, reset at the second time.
const CTRL_INTERRUPT_THEN_RESET: u32 = 0b11;
const UNLOCK: u32 = 0x1ACC_E551;

/// The watchdog.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    base: usize,
}

impl Watchdog {
    /// The watchdog at a base address.
    ///
    /// # Safety
    /// `base` must be that of a CMSDK watchdog whose interrupt is the core's NMI.
    #[must_use]
    pub const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Starts it: it interrupts this many ticks after it was last fed, and resets as many later.
    pub fn start(self, ticks: u32) {
        self.unlocked(|| {
            self.register(LOAD).write(ticks);
            self.register(CTRL).write(CTRL_INTERRUPT_THEN_RESET);
        });
    }

    /// Has it count from the start again.
    pub fn feed(self) {
        self.unlocked(|| self.register(INTERRUPT_CLEAR).write(1));
    }

    /// Locked except for that, so that a stray store does not stop it.
    fn unlocked(self, write: impl FnOnce()) {
        self.register(LOCK).write(UNLOCK);
        write();
        self.register(LOCK).write(0);
    }

    fn register(self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised the base of a CMSDK watchdog; these offsets are in its map.
        unsafe { Register::new(self.base + offset) }
    }
}
