//! Machine timer of the core-local interruptor (CLINT), hart 0.

use super::register::Register;

const COMPARE_LOW: usize = 0x4000;
const COMPARE_HIGH: usize = 0x4004;
const TIME_LOW: usize = 0xBFF8;
const TIME_HIGH: usize = 0xBFFC;

/// The timer.
#[derive(Clone, Copy, Debug)]
pub struct Clint {
    base: usize,
    ticks_per_us: u32,
}

impl Clint {
    /// The timer at a base address.
    ///
    /// # Safety
    /// `base` must be that of a CLINT.
    #[must_use]
    pub const unsafe fn new(base: usize, ticks_per_us: u32) -> Self {
        Self { base, ticks_per_us }
    }

    /// Microseconds since reset.
    #[must_use]
    pub fn now_us(self) -> u64 {
        self.ticks() / u64::from(self.ticks_per_us)
    }

    /// Raises the timer interrupt at this time, in microseconds since reset, and not before.
    pub fn set_alarm_us(self, at: u64) {
        self.set_compare(at.saturating_mul(u64::from(self.ticks_per_us)));
    }

    fn ticks(self) -> u64 {
        loop {
            let high = self.register(TIME_HIGH).read();
            let low = self.register(TIME_LOW).read();
            if self.register(TIME_HIGH).read() == high {
                return u64::from(high) << 32 | u64::from(low);
            }
        }
    }

    fn set_compare(self, ticks: u64) {
        // High half first to the far future: no half-written value is in the past (privileged
        // specification, 3.2.1).
        let [low, high] = super::register::halves(ticks);
        self.register(COMPARE_HIGH).write(u32::MAX);
        self.register(COMPARE_LOW).write(low);
        self.register(COMPARE_HIGH).write(high);
    }

    fn register(self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised the base of a CLINT; these offsets are in its map.
        unsafe { Register::new(self.base + offset) }
    }
}
