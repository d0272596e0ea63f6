//! The devices of the chip that the firmware uses, and how they start.

use core::arch::global_asm;

use static_cell::StaticCell;
use usb_device::bus::UsbBusAllocator;

use super::super::cortex_m;
use super::super::mpu::{self, Kind, Region};
use super::super::pico::timer::Alarm;
use super::super::pico::{timer, watchdog::Watchdog};
use super::super::pl011::Uart;
use super::super::ring::Ring;
use super::super::usb_serial::Serial;
use super::clocks::{self, SYSTEM_HZ};
use super::flash::{self, Flash};
use super::led::{Led, Shown};
use super::noise::Trng;
use super::otp::{Locks, chip_number};
use super::register;
use super::usb::Bus;

/// Bytes of the receive ring of each line. Both lines hold the host off when it is full: USB by itself, the UART by
/// its RTS output. So it may have less than the device announces in `rx_bytes`: the rest waits at the host.
const LINE_RING: usize = 4096;
/// Bits per second of the UART.
const LINE_RATE: u32 = 115_200;

// Base addresses (2.2).
const PINS: usize = 0x4002_8000;
const PADS: usize = 0x4003_8000;
const UART_0: usize = 0x4007_0000;
const PWM: usize = 0x400A_8000;
const TIMER_0: usize = 0x400B_0000;
const WATCHDOG_BASE: usize = 0x400D_8000;
const TRNG: usize = 0x400F_0000;

// What may be accessed beside image, stack and variables: the boot ROM, whose functions program the flash, but not its
// first bytes, so that there is nothing at the address of a null pointer; the peripherals on the APB, OTP among
// them; and USB.
const BOOT_ROM: Region = Region { base: 0x20, used: 0x8000 - 0x20, kind: Kind::Code };
const PERIPHERALS: Region = Region { base: 0x4000_0000, used: 0x17_0000, kind: Kind::Device };
const USB: Region = Region { base: 0x5010_0000, used: 0x2_0000, kind: Kind::Device };

// Subsystems in the reset registers (7.5).
const PINS_AND_PADS: u32 = 1 << 6 | 1 << 9;
const PLLS: u32 = 1 << 14 | 1 << 15;
const PWM_BIT: u32 = 1 << 16;
const TIMER_0_BIT: u32 = 1 << 23;
const TRNG_BIT: u32 = 1 << 25;
const UART_0_BIT: u32 = 1 << 26;
const USB_BIT: u32 = 1 << 28;

// Interrupts (3.2).
const ALARM_SOURCES: [u32; 2] = [0, 1];
const USB_SOURCE: u32 = 14;
const LINE_SOURCE: u32 = 33;

/// A pad that is not isolated: input on, 4 mA, Schmitt trigger (9.11).
const PAD: u32 = 1 << 6 | 1 << 4 | 1 << 1;
const PAD_PULL_UP: u32 = 1 << 3;
// Functions of pins (9.4).
const FUNCTION_UART: u32 = 2;
const FUNCTION_PWM: u32 = 4;
/// The line's pins: transmit, receive, and request to send, which is low while the device can receive. Clear to
/// send is not heeded, as most cables do not have it.
const LINE_PINS: [usize; 3] = [0, 1, 3];
/// The pin of the light of a Pico 2, output B of PWM channel 4.
const LED_PIN: usize = 25;
const LED_CHANNEL: usize = PWM + 4 * 0x14;

/// Vector table offset register (Armv8-M Architecture Reference Manual, DDI 0553).
const VTOR: usize = 0xE000_ED08;

// The image definition, by which the boot ROM takes the flash for Secure Arm code of this chip and starts it by its vectors
// (5.9): a marker, the item of the image's type, the last item, no further block, a marker.
global_asm!(
    r#"
    .section .image_def, "a"
    .word 0xFFFFDED3
    .word 0x10210142
    .word 0x000001FF
    .word 0
    .word 0xAB123579
"#
);

// Apart from the lines, so that they are zeroed memory and not part of the image.
static USB_BYTES: Ring<LINE_RING> = Ring::new();
static UART_BYTES: Ring<LINE_RING> = Ring::new();
static BUS: StaticCell<UsbBusAllocator<Bus>> = StaticCell::new();
static NUMBER: StaticCell<[u8; 16]> = StaticCell::new();

/// Timer 0, which counts microseconds once its tick generator runs.
pub type Timer = timer::Timer<0x3C>;

/// What the watchdog resets, in the power-on state machine (7.4).
const POWER_ON_WATCHDOG: usize = 0x4001_8000 + 0x08;
/// All but the oscillators: so the boot ROM runs again, and reads OTP again.
const ALL_BUT_OSCILLATORS: u32 = 0x01FF_FFFF & !(1 << 2 | 1 << 3);

/// The devices.
pub struct Rp2350 {
    /// USB: the line to the host.
    pub usb: Serial<Bus, LINE_RING>,
    /// UART 0: a second line.
    pub uart: Uart<LINE_RING>,
    /// The time, and what ends a sleep.
    pub timer: Timer,
    /// The noise source.
    pub noise: Trng,
    led: Led,
}

// SAFETY: these are their addresses, and they are used by nothing else.
/// The devices.
pub static DEVICES: Rp2350 = unsafe {
    Rp2350 {
        usb: Serial::new(&USB_BYTES),
        uart: Uart::new(UART_0, &UART_BYTES),
        timer: Timer::new(TIMER_0),
        noise: Trng::new(TRNG),
        led: Led::new(LED_CHANNEL),
    }
};
/// The watchdog. A constant, as what is in RAM may be broken when it is needed.
// SAFETY: these are its addresses.
pub const WATCHDOG: Watchdog =
    unsafe { Watchdog::new(WATCHDOG_BASE, POWER_ON_WATCHDOG, ALL_BUT_OSCILLATORS) };

impl Rp2350 {
    /// Starts clocks and devices, and opens their interrupts; once. `handler` is to call [`Rp2350::interrupt`].
    #[allow(clippy::cast_possible_truncation)] // addresses have 32 bits
    pub fn start(&self, handler: fn(u32)) {
        // The boot ROM has done so; a debugger that starts the image does not.
        register(VTOR).write((&raw const __image_start).addr() as u32);
        clocks::slow();
        clocks::reset(PINS_AND_PADS | PLLS);
        clocks::start();
        clocks::reset(PWM_BIT | TIMER_0_BIT | TRNG_BIT | UART_0_BIT | USB_BIT);
        self.show(Shown::Starting);
        connect(LED_PIN, FUNCTION_PWM, PAD);
        for pin in LINE_PINS {
            connect(pin, FUNCTION_UART, PAD | PAD_PULL_UP);
        }
        cortex_m::open_interrupts(&ALARM_SOURCES, handler);
        cortex_m::open_interrupts(&[USB_SOURCE, LINE_SOURCE], handler);
        WATCHDOG.start();
        WATCHDOG.feed_by(&self.timer);
        self.uart.start(SYSTEM_HZ, LINE_RATE);
        let number = core::str::from_utf8(NUMBER.init_with(chip_number)).unwrap_or_default();
        let bus = BUS.init_with(|| UsbBusAllocator::new(Bus::start()));
        self.usb.start(bus, number, Locks::read().product());
    }

    /// Serves the interrupt of a source.
    pub fn interrupt(&self, source: u32) {
        let [wake, feed] = ALARM_SOURCES;
        match source {
            USB_SOURCE => self.usb.interrupt(),
            LINE_SOURCE => self.uart.interrupt(),
            _ if source == wake => self.timer.acknowledge(Alarm::Wake),
            _ if source == feed => {
                self.timer.acknowledge(Alarm::Feed);
                WATCHDOG.feed_by(&self.timer);
            }
            _ => {}
        }
    }

    /// Has the light show something.
    pub fn show(&self, what: Shown) {
        self.led.show(what);
    }

    /// Returns the flash for the records. To be called before [`Rp2350::protect`], and once.
    #[must_use]
    pub fn flash(&self) -> Flash {
        let start = (&raw const __records_start).addr();
        let size = (&raw const __records_size).addr();
        // SAFETY: the memory map gives these bytes to nothing else.
        unsafe { flash::part(start, size) }
    }

    /// Protects memory: from now on code and constants cannot be written, nothing but code runs, no stack grows below
    /// its bottom, and what is unused cannot be accessed: see the memory map. Whatever tries ends the firmware.
    #[allow(clippy::cast_possible_truncation)] // addresses have 32 bits
    pub fn protect(&self) {
        let region = |start: *const u8, end: *const u8, kind| Region {
            base: start.addr() as u32,
            used: (end.addr() - start.addr()) as u32,
            kind,
        };
        let records = Region {
            base: (&raw const __records_start).addr() as u32,
            used: (&raw const __records_size).addr() as u32,
            kind: Kind::Constants,
        };
        // SAFETY: so the memory map lays out the image, stack and variables; the rest is all that is used beside.
        unsafe {
            mpu::v8::protect(&[
                region(&raw const __image_start, &raw const __text_end, Kind::Code),
                region(&raw const __text_end, &raw const __image_end, Kind::Constants),
                region(&raw const __stack_bottom, &raw const __bss_end, Kind::Memory),
                records,
                BOOT_ROM,
                PERIPHERALS,
                USB,
            ]);
        }
    }
}

/// Connects a pin to a function.
fn connect(pin: usize, function: u32, pad: u32) {
    register(PINS + 8 * pin + 4).write(function);
    register(PADS + 4 * (pin + 1)).write(pad);
}

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __image_end: u8;
    static __stack_bottom: u8;
    static __bss_end: u8;
    static __records_start: u8;
    static __records_size: u8;
}
