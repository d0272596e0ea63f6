//! Timers of Arm's Cortex-M System Design Kit (CMSDK): one that counts the time since boot, and one
//! that wakes.

use core::sync::atomic::{AtomicU32, Ordering};

use super::cortex_m;
use super::register::Register;

const CTRL: usize = 0x00;
const VALUE: usize = 0x04;
const RELOAD: usize = 0x08;
/// Interrupt status; a written 1 clears.
const INTERRUPT: usize = 0x0C;

const CTRL_ENABLE: u32 = 1 << 0;
const CTRL_INTERRUPT: u32 = 1 << 3;

/// Registers of a timer, which counts down and starts anew from a reload value.
#[derive(Clone, Copy, Debug)]
struct Timer {
    base: usize,
}

impl Timer {
    fn count_down_from(self, value: u32) {
        self.register(CTRL).write(0);
        self.register(INTERRUPT).write(1);
        self.register(RELOAD).write(value);
        self.register(VALUE).write(value);
        self.register(CTRL).write(CTRL_ENABLE | CTRL_INTERRUPT);
    }

    fn register(self, offset: usize) -> Register<u32> {
        // SAFETY: `Clock::new` and `Alarm::new` were promised the base of a CMSDK timer.
        unsafe { Register::new(self.base + offset) }
    }
}

/// The time since boot.
#[derive(Debug)]
pub struct Clock {
    timer: Timer,
    ticks_per_us: u32,
    /// How often all 32 bits have been counted.
    wraps: AtomicU32,
}

impl Clock {
    /// The timer at a base address.
    ///
    /// # Safety
    /// `base` must be that of a CMSDK timer.
    #[must_use]
    pub const unsafe fn new(base: usize, ticks_per_us: u32) -> Self {
        Self { timer: Timer { base }, ticks_per_us, wraps: AtomicU32::new(0) }
    }

    /// Starts to count. Its interrupt must be served from now on.
    pub fn start(&self) {
        self.timer.count_down_from(u32::MAX);
    }

    /// Serves the timer's interrupt.
    pub fn interrupt(&self) {
        self.timer.register(INTERRUPT).write(1);
        self.wraps.fetch_add(1, Ordering::Relaxed);
    }

    /// Microseconds since [`Clock::start`].
    #[must_use]
    pub fn now_us(&self) -> u64 {
        let ticks = cortex_m::without_interrupts(|| {
            let mut wraps = self.wraps.load(Ordering::Relaxed);
            let mut value = self.timer.register(VALUE).read();
            if self.timer.register(INTERRUPT).read() != 0 {
                // Started anew, and not counted yet; the value may be from before.
                wraps = wraps.wrapping_add(1);
                value = self.timer.register(VALUE).read();
            }
            u64::from(wraps) << 32 | u64::from(u32::MAX - value)
        });
        ticks / u64::from(self.ticks_per_us)
    }

    /// Ticks from now to a time in microseconds since [`Clock::start`]: at least 1, and no more than
    /// an [`Alarm`] counts.
    #[must_use]
    pub fn ticks_until(&self, time_us: u64) -> u32 {
        let left = time_us.saturating_sub(self.now_us());
        let ticks = left.saturating_mul(u64::from(self.ticks_per_us));
        u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
    }
}

/// Interrupts at intervals, so that [`cortex_m::wait`] returns.
#[derive(Debug)]
pub struct Alarm {
    timer: Timer,
}

impl Alarm {
    /// The timer at a base address.
    ///
    /// # Safety
    /// `base` must be that of a CMSDK timer.
    #[must_use]
    pub const unsafe fn new(base: usize) -> Self {
        Self { timer: Timer { base } }
    }

    /// Raises the interrupt every so many ticks.
    pub fn start(&self, ticks: u32) {
        self.timer.count_down_from(ticks);
    }

    /// Raises it no more.
    pub fn stop(&self) {
        self.timer.register(CTRL).write(0);
    }

    /// Whether it will be raised.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.timer.register(CTRL).read() & CTRL_ENABLE != 0
    }

    /// Serves the interrupt.
    pub fn interrupt(&self) {
        self.timer.register(INTERRUPT).write(1);
    }
}
