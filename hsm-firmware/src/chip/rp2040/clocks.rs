//! Clocks (2.15 to 2.18): the crystal of 12 MHz, and a system clock of 125 MHz made from it. The ring
//! oscillator, which is the noise source, drives none of them.

use super::super::register::Register;

const CLOCKS: usize = 0x4000_8000;
const CRYSTAL: usize = 0x4002_4000;
const PLL: usize = 0x4002_8000;

/// Frequency of the system clock, which the UART has as well, in Hz.
pub(super) const SYSTEM_HZ: u32 = CRYSTAL_MHZ * FEEDBACK / (DIVIDERS[0] * DIVIDERS[1]) * 1_000_000;
/// Of the Pico, in MHz.
const CRYSTAL_MHZ: u32 = 12;
/// 1500 MHz, within the 750 to 1600 that the oscillator of the PLL has.
const FEEDBACK: u32 = 125;
const DIVIDERS: [u32; 2] = [6, 2];
const _: () = assert!(SYSTEM_HZ == 125_000_000);

// Crystal oscillator (2.16.7).
const CRYSTAL_CTRL: usize = CRYSTAL;
const CRYSTAL_STATUS: usize = CRYSTAL + 0x04;
const CRYSTAL_STARTUP: usize = CRYSTAL + 0x0C;
const CRYSTAL_ENABLE_1_TO_15_MHZ: u32 = 0x00FA_BAA0;
const CRYSTAL_STABLE: u32 = 1 << 31;
/// A millisecond, in 256 clocks (2.16.3).
const CRYSTAL_DELAY: u32 = (CRYSTAL_MHZ * 1000).div_ceil(256);

// Clock generators (2.15.7).
const REFERENCE_CTRL: usize = CLOCKS + 0x30;
const REFERENCE_SELECTED: usize = CLOCKS + 0x38;
const REFERENCE_CRYSTAL: u32 = 2;
const SYSTEM_CTRL: usize = CLOCKS + 0x3C;
const SYSTEM_SELECTED: usize = CLOCKS + 0x44;
const SYSTEM_REFERENCE: u32 = 0;
/// The auxiliary source, which is the PLL if no other is chosen.
const SYSTEM_AUXILIARY: u32 = 1;
const PERIPHERAL_CTRL: usize = CLOCKS + 0x48;
/// On, from the system clock.
const PERIPHERAL_ENABLE: u32 = 1 << 11;

// PLL (2.18.4).
const PLL_CS: usize = PLL;
const PLL_POWER: usize = PLL + 0x04;
const PLL_FEEDBACK: usize = PLL + 0x08;
const PLL_DIVIDERS: usize = PLL + 0x0C;
const PLL_LOCKED: u32 = 1 << 31;
/// Powered down: the dividers after the oscillator, and the modulator, which is never used.
const PLL_DIVIDERS_DOWN: u32 = 1 << 3 | 1 << 2;
const PLL_MODULATOR_DOWN: u32 = 1 << 2;

/// Runs reference and system clock from the crystal.
pub(super) fn start_crystal() {
    write(CRYSTAL_STARTUP, CRYSTAL_DELAY);
    write(CRYSTAL_CTRL, CRYSTAL_ENABLE_1_TO_15_MHZ);
    wait_for(CRYSTAL_STATUS, CRYSTAL_STABLE);
    select(REFERENCE_CTRL, REFERENCE_SELECTED, REFERENCE_CRYSTAL);
    select(SYSTEM_CTRL, SYSTEM_SELECTED, SYSTEM_REFERENCE);
}

/// Runs the system clock from the PLL, which is out of reset, and the peripheral clock from that.
pub(super) fn start_fast() {
    write(PLL_CS, 1);
    write(PLL_FEEDBACK, FEEDBACK);
    write(PLL_POWER, PLL_DIVIDERS_DOWN);
    wait_for(PLL_CS, PLL_LOCKED);
    write(PLL_DIVIDERS, DIVIDERS[0] << 16 | DIVIDERS[1] << 12);
    write(PLL_POWER, PLL_MODULATOR_DOWN);
    select(SYSTEM_CTRL, SYSTEM_SELECTED, SYSTEM_AUXILIARY);
    write(PERIPHERAL_CTRL, PERIPHERAL_ENABLE);
}

/// Has the watchdog make the timer's microseconds out of the crystal's clock (4.7.2).
pub(super) fn start_microseconds(watchdog: usize) {
    const TICK: usize = 0x2C;
    const TICK_ENABLE: u32 = 1 << 9;
    write(watchdog + TICK, TICK_ENABLE | CRYSTAL_MHZ);
}

/// Switches a clock generator, and waits until it has.
fn select(control: usize, selected: usize, source: u32) {
    write(control, source);
    wait_for(selected, 1 << source);
}

fn write(address: usize, value: u32) {
    // SAFETY: only the registers above get here, and the watchdog's.
    unsafe { Register::new(address) }.write(value);
}

/// Waits for bits that the hardware sets within a millisecond or two.
fn wait_for(address: usize, bits: u32) {
    // SAFETY: only the registers above get here.
    while unsafe { Register::<u32>::new(address) }.read() & bits == 0 {}
}
