//! RP2040: what is where (data sheet, build of 2024-10; the numbers in brackets are its sections).
//!
//! Registers are accessed here, as on the other boards, and not through `rp2040-hal`: seven devices are used,
//! a few registers of each, and the crate would bring 20 others for them.
//!
//! Core 1 stays where the boot ROM has it, asleep (2.8.2).

mod clocks;
mod flash;
mod noise;

pub use flash::{BLOCK, Flash};
pub use noise::{NoNoise, RingOscillator};

use super::cortex_m;
use super::mpu::{self, Kind, Region};
use super::pico::timer::Alarm;
use super::pico::{timer, watchdog::Watchdog};
use super::pl011::Uart;
use super::register::Register;
use super::ring::Ring;

/// Bytes of the receive ring of the line; not less than the device announces in `rx_bytes`.
pub const LINE_RING: usize = 16 * 1024;
/// Bits per second of the line.
const LINE_RATE: u32 = 115_200;

// Base addresses (2.2).
const BOOT_ROM: u32 = 0;
const BOOT_ROM_SIZE: u32 = 16 * 1024;
const CACHE_CONTROL: u32 = 0x1400_0000;
const FLASH_INTERFACE: u32 = 0x1800_0000;
const RESETS: usize = 0x4000_C000;
const PINS: usize = 0x4001_4000;
const UART_0: usize = 0x4003_4000;
const TIMER: usize = 0x4005_4000;
const WATCHDOG_BASE: usize = 0x4005_8000;
const RING_OSCILLATOR: usize = 0x4006_0000;
/// Of the peripherals on the APB, from the first to the end of the last.
const PERIPHERALS: Region = Region { base: 0x4000_0000, used: 0x7_0000, kind: Kind::Device };

/// Aliases of a register that set or clear the bits written (2.1.2).
const SET: usize = 0x2000;
const CLEAR: usize = 0x3000;

// Subsystems in the reset registers (2.14.3).
const RESET_DONE: usize = 0x08;
const ALL_SUBSYSTEMS: u32 = 0x01FF_FFFF;
const IO_BANK_0: u32 = 1 << 5;
/// Pins and pads of the flash: the code is read through them.
const FLASH_PINS: u32 = 1 << 6 | 1 << 9;
const PADS_BANK_0: u32 = 1 << 8;
const PLL_SYS: u32 = 1 << 12;
const TIMER_BIT: u32 = 1 << 21;
const UART_0_BIT: u32 = 1 << 22;

// Interrupts (2.3.2).
const ALARM_SOURCES: [u32; 2] = [0, 1];
const LINE_SOURCE: u32 = 20;

// The line's pins (2.19.2): transmit, receive, clear to send, ready to receive. Clear to send is not
// connected on most cables, so the UART does not heed it.
const LINE_PINS: [usize; 3] = [0, 1, 3];
const FUNCTION_UART: u32 = 2;

// Apart from the UART, so that they are zeroed memory and not part of the image.
static LINE_BYTES: Ring<LINE_RING> = Ring::new();

/// The timer.
pub type Timer = timer::Timer<0x34>;

/// What the watchdog resets, in the power-on state machine (2.13.5).
const POWER_ON_WATCHDOG: usize = 0x4001_0000 + 0x08;
/// All but the two oscillators.
const ALL_BUT_OSCILLATORS: u32 = 0x0001_FFFC;

/// The devices.
// SAFETY: these are their addresses, and they are used by nothing else.
pub static DEVICES: Rp2040 = unsafe {
    Rp2040 {
        line: Uart::new(UART_0, &LINE_BYTES),
        timer: Timer::new(TIMER),
        noise: RingOscillator::new(RING_OSCILLATOR),
    }
};
/// The watchdog. A constant, as what is in RAM may be broken when it is needed.
// SAFETY: these are its addresses.
pub const WATCHDOG: Watchdog =
    unsafe { Watchdog::new(WATCHDOG_BASE, POWER_ON_WATCHDOG, ALL_BUT_OSCILLATORS) };

/// The second stage of the boot for the Pico's flash, a W25Q16JV: it has the flash read as memory. The boot
/// ROM checks the checksum in its last four bytes (2.8.1.3).
// SAFETY: nothing else is in the section.
#[unsafe(link_section = ".boot2")]
#[used]
static BOOT2: [u8; 256] = rp2040_boot2::BOOT_LOADER_W25Q080;

/// The devices of the chip that are used.
pub struct Rp2040 {
    /// UART 0: the line to the host.
    pub line: Uart<LINE_RING>,
    /// The time since boot, and what ends a sleep.
    pub timer: Timer,
    /// The noise source.
    pub noise: RingOscillator,
}

impl Rp2040 {
    /// Brings the chip up: clocks, pins, the watchdog, interrupts and the line. `handler` is to call
    /// [`Rp2040::interrupt`].
    pub fn start(&self, handler: fn(u32)) {
        clocks::start_crystal();
        // What a loader has left running, such as a transfer to memory, ends here.
        reset(ALL_SUBSYSTEMS & !FLASH_PINS);
        release(PLL_SYS | IO_BANK_0 | PADS_BANK_0 | TIMER_BIT | UART_0_BIT);
        clocks::start_fast();
        clocks::start_microseconds(WATCHDOG_BASE);
        WATCHDOG.start();
        for pin in LINE_PINS {
            // SAFETY: this is the pin's control register, of two that each pin has.
            unsafe { Register::<u32>::new(PINS + 8 * pin + 4) }.write(FUNCTION_UART);
        }
        self.line.start(clocks::SYSTEM_HZ, LINE_RATE);
        cortex_m::open_interrupts(&ALARM_SOURCES, handler);
        cortex_m::open_interrupts(&[LINE_SOURCE], handler);
        WATCHDOG.feed_by(&self.timer);
    }

    /// Serves the interrupt of a source.
    pub fn interrupt(&self, source: u32) {
        let [wake, feed] = ALARM_SOURCES;
        match source {
            LINE_SOURCE => self.line.interrupt(),
            _ if source == wake => self.timer.acknowledge(Alarm::Wake),
            _ if source == feed => {
                self.timer.acknowledge(Alarm::Feed);
                WATCHDOG.feed_by(&self.timer);
            }
            _ => {}
        }
    }

    /// Returns the part of the flash that holds the records.
    #[must_use]
    pub fn flash(&self) -> Flash {
        // SAFETY: the memory map gives this part to nothing else; `protect` comes later.
        unsafe { flash::part(&raw const __records_start, &raw const __records_end) }
    }

    /// Protects memory: from now on code and constants cannot be written, nothing but code runs, and what
    /// is outside of the memory map cannot be accessed. Whatever tries ends the firmware. Registers of an
    /// emulator that lacks the unit ignore it.
    #[allow(clippy::cast_possible_truncation)] // addresses have 32 bits
    pub fn protect(&self) {
        let region = |start: *const u8, end: *const u8, kind| Region {
            base: start.addr() as u32,
            used: (end.addr() - start.addr()) as u32,
            kind,
        };
        let registers = |base| Region { base, used: 256, kind: Kind::Device };
        // SAFETY: so the memory map lays out image, records, stack and variables. The boot ROM and the
        // registers are what this module and the functions of the ROM that program flash use.
        unsafe {
            mpu::v7::protect(&[
                Region { base: BOOT_ROM, used: BOOT_ROM_SIZE, kind: Kind::Code },
                region(&raw const __image_start, &raw const __image_end, Kind::Code),
                region(&raw const __records_start, &raw const __records_end, Kind::Constants),
                registers(CACHE_CONTROL),
                registers(FLASH_INTERFACE),
                PERIPHERALS,
                region(&raw const __stack_bottom, &raw const __bss_end, Kind::Memory),
                flash::routine_region(),
            ]);
        }
    }
}

/// Holds subsystems in reset.
fn reset(subsystems: u32) {
    // SAFETY: this is the register's address.
    unsafe { Register::<u32>::new(RESETS + SET) }.write(subsystems);
}

/// Releases subsystems from reset, and waits until they are out of it.
fn release(subsystems: u32) {
    // SAFETY: these are the registers' addresses.
    unsafe {
        Register::<u32>::new(RESETS + CLEAR).write(subsystems);
        while Register::<u32>::new(RESETS + RESET_DONE).read() & subsystems != subsystems {}
    }
}

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
    static __records_start: u8;
    static __records_end: u8;
    static __stack_bottom: u8;
    static __bss_end: u8;
}
