//! Clocks: the crystal, from it 150 MHz for the cores and 48 MHz for USB, and microseconds for the timer.
//!
//! The boot ROM leaves the cores on the ring oscillator, and the flash at a divisor that holds at 150 MHz as well.

use super::{SET, register};

const CLOCKS: usize = 0x4001_0000;
const CRYSTAL: usize = 0x4004_8000;
const PLL_SYS: usize = 0x4005_0000;
const PLL_USB: usize = 0x4005_8000;
const TICKS: usize = 0x4010_8000;

/// Hertz of the crystal of the board.
const CRYSTAL_HZ: u32 = 12_000_000;
/// Hertz of cores, buses and UARTs.
pub(super) const SYSTEM_HZ: u32 = 150_000_000;

// Clock generators (8.1): control; divisor 4 and selected source 8 bytes after it.
const REFERENCE: usize = CLOCKS + 0x30;
const SYSTEM: usize = CLOCKS + 0x3C;
const PERIPHERALS: usize = CLOCKS + 0x48;
const USB: usize = CLOCKS + 0x60;
const SELECTED: usize = 8;
/// The clock of the peripherals is that of the system, and the clock of USB its PLL's: source 0 of each.
const ENABLE: u32 = 1 << 11;

// Sources of the reference clock: ring oscillator, crystal.
const REFERENCE_RING: u32 = 0;
const REFERENCE_CRYSTAL: u32 = 2;
// Sources of the system clock: reference clock; PLL, which is auxiliary source 0.
const SYSTEM_REFERENCE: u32 = 0;
const SYSTEM_PLL: u32 = 1;

// The crystal oscillator (8.2).
const CRYSTAL_STATUS: usize = CRYSTAL + 0x04;
const CRYSTAL_STARTUP: usize = CRYSTAL + 0x0C;
/// On, for crystals of 1 to 15 MHz.
const CRYSTAL_ON: u32 = 0xFAB << 12 | 0xAA0;
const CRYSTAL_STABLE: u32 = 1 << 31;
/// Six milliseconds, in units of 256 periods.
const CRYSTAL_DELAY: u32 = 6 * CRYSTAL_HZ / 1000 / 256 + 1;

// A PLL (8.6).
const PLL_POWER: usize = 0x04;
const PLL_FEEDBACK: usize = 0x08;
const PLL_DIVISORS: usize = 0x0C;
const PLL_LOCKED: u32 = 1 << 31;
/// Its reference is the crystal, undivided.
const PLL_REFERENCE: u32 = 1;
/// Powered down: what is not used, a modulator; the post dividers.
const PLL_NO_MODULATOR: u32 = 1 << 2;
const PLL_NO_DIVIDERS: u32 = 1 << 3;

/// Tick generators (8.5), of timer 0 and the watchdog: control; cycles 4 bytes after it.
const TICK_GENERATORS: [usize; 2] = [TICKS + 0x18, TICKS + 0x30];

/// Switches to the ring oscillator, so that PLLs may be reset.
pub(super) fn slow() {
    select(SYSTEM, SYSTEM_REFERENCE);
    select(REFERENCE, REFERENCE_RING);
}

/// Starts the clocks. The PLLs must have been reset. Does not return if the crystal does not oscillate.
pub(super) fn start() {
    register(CRYSTAL_STARTUP).write(CRYSTAL_DELAY);
    register(CRYSTAL).write(CRYSTAL_ON);
    while register(CRYSTAL_STATUS).read() & CRYSTAL_STABLE == 0 {}
    select(REFERENCE, REFERENCE_CRYSTAL);

    start_pll(PLL_SYS, SYSTEM_PARTS);
    start_pll(PLL_USB, USB_PARTS);
    select(SYSTEM, SYSTEM_PLL);
    register(PERIPHERALS).write(ENABLE);
    register(USB).write(ENABLE);

    for generator in TICK_GENERATORS {
        register(generator + 4).write(CRYSTAL_HZ / 1_000_000);
        register(generator).write(1);
    }
}

/// Selects a source that can be changed without a glitch, and waits until it is in use.
fn select(clock: usize, source: u32) {
    register(clock).write(source);
    while register(clock + SELECTED).read() & 1 << source == 0 {}
}

/// What a PLL multiplies by, and the two numbers that it divides by.
struct Parts {
    feedback: u32,
    divisors: [u32; 2],
}

const SYSTEM_PARTS: Parts = Parts { feedback: 125, divisors: [5, 2] };
const USB_PARTS: Parts = Parts { feedback: 100, divisors: [5, 5] };

impl Parts {
    const fn hertz(&self) -> u32 {
        let [first, second] = self.divisors;
        CRYSTAL_HZ * self.feedback / (first * second)
    }

    /// The oscillator of a PLL runs at 750 to 1600 MHz (8.6).
    const fn is_in_range(&self) -> bool {
        let hertz = CRYSTAL_HZ * self.feedback;
        hertz >= 750_000_000 && hertz <= 1_600_000_000
    }
}

const _: () = assert!(SYSTEM_PARTS.hertz() == SYSTEM_HZ && SYSTEM_PARTS.is_in_range());
const _: () = assert!(USB_PARTS.hertz() == 48_000_000 && USB_PARTS.is_in_range());

/// Starts a PLL as 8.6 tells.
fn start_pll(base: usize, Parts { feedback, divisors: [first, second] }: Parts) {
    register(base).write(PLL_REFERENCE);
    register(base + PLL_FEEDBACK).write(feedback);
    register(base + PLL_POWER).write(PLL_NO_MODULATOR | PLL_NO_DIVIDERS);
    while register(base).read() & PLL_LOCKED == 0 {}
    register(base + PLL_DIVISORS).write(first << 16 | second << 12);
    register(base + PLL_POWER).write(PLL_NO_MODULATOR);
}

/// Resets subsystems and waits until they are ready (7.5).
pub(super) fn reset(subsystems: u32) {
    const RESETS: usize = 0x4002_0000;
    const DONE: usize = 0x08;
    register(RESETS + SET).write(subsystems);
    register(RESETS + super::CLEAR).write(subsystems);
    while register(RESETS + DONE).read() & subsystems != subsystems {}
}
