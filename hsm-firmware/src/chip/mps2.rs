//! Arm MPS2: what its images have in common, which is all but where things are.

use super::cmsdk_timer::{Alarm, Clock};
use super::cmsdk_uart::Uart;
use super::cortex_m;
use super::mapped_nor::MappedNor;
use super::mpu::{Kind, Region};
use super::ring::Ring;
use super::watchdog::Watchdog;

/// Bytes of the receive ring of the line; not less than the device announces in `rx_bytes`.
pub const LINE_RING: usize = if cfg!(feature = "classic") { 64 * 1024 } else { 16 * 1024 };
/// Bytes of noise that are fetched ahead.
pub const NOISE_RING: usize = 256;

/// Bytes of the note for the next start.
const NOTE: u32 = 12;
/// Bytes of PSRAM, which the emulator maps to a file.
const PSRAM_SIZE: u32 = 16 << 20;

// Apart from the UARTs, so that they are zeroed memory and not part of the image.
static LINE_BYTES: Ring<LINE_RING> = Ring::new();
static NOISE_BYTES: Ring<NOISE_RING> = Ring::new();

/// What is where in an image.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    /// Timers 0 and 1.
    pub timers: [usize; 2],
    /// Their interrupt sources.
    pub timer_sources: [u32; 2],
    /// How often they count in a microsecond.
    pub ticks_per_us: u32,
    /// UARTs 0 and 1.
    pub uarts: [usize; 2],
    /// Interrupt sources of UART 0: received, transmitted.
    pub line_sources: [u32; 2],
    /// Interrupt source of UART 1: received.
    pub noise_source: u32,
    /// The watchdog, which counts as often as the timers.
    pub watchdog: usize,
    /// The 16 MiB of PSRAM.
    pub psram: u32,
    /// Bytes from the address of timer 0 within which all of these devices and the watchdog are.
    pub devices: u32,
    /// Puts regions in force.
    pub protect: unsafe fn(&[Region]),
}

/// The devices of an image.
pub struct Mps2 {
    map: &'static Map,
    /// Timer 0.
    pub clock: Clock,
    /// Timer 1.
    pub alarm: Alarm,
    /// UART 0: the line to the host.
    pub line: Uart<LINE_RING>,
    /// UART 1: the noise source.
    pub noise: Uart<NOISE_RING>,
    /// Ends the firmware if it is not fed.
    pub watchdog: Watchdog,
}

impl Mps2 {
    /// Makes the devices, at their addresses.
    ///
    /// # Safety
    /// The map must be that of the board, and there must be one of these.
    #[must_use]
    pub const unsafe fn new(map: &'static Map) -> Self {
        let [clock, alarm] = map.timers;
        let [line, noise] = map.uarts;
        // SAFETY: the caller promises that these are their addresses.
        unsafe {
            Self {
                map,
                clock: Clock::new(clock, map.ticks_per_us),
                alarm: Alarm::new(alarm),
                line: Uart::new(line, &LINE_BYTES),
                noise: Uart::new(noise, &NOISE_BYTES),
                watchdog: Watchdog::new(map.watchdog),
            }
        }
    }

    /// Opens the interrupts of these devices. `handler` is to call [`Mps2::interrupt`].
    pub fn open_interrupts(&self, handler: fn(u32)) {
        let Map { timer_sources, line_sources, noise_source, .. } = self.map;
        for sources in [&timer_sources[..], line_sources, &[*noise_source]] {
            cortex_m::open_interrupts(sources, handler);
        }
    }

    /// Starts the watchdog with a period in microseconds, at most 2^32 of its ticks.
    pub fn start_watchdog(&self, period_us: u64) {
        let ticks = period_us.saturating_mul(u64::from(self.map.ticks_per_us));
        self.watchdog.start(u32::try_from(ticks).unwrap_or(u32::MAX));
    }

    /// Serves the interrupt of a source.
    pub fn interrupt(&self, source: u32) {
        let [clock, alarm] = self.map.timer_sources;
        match source {
            _ if self.map.line_sources.contains(&source) => self.line.interrupt(),
            _ if source == self.map.noise_source => self.noise.interrupt(),
            _ if source == clock => self.clock.interrupt(),
            _ if source == alarm => self.alarm.interrupt(),
            _ => {}
        }
    }

    /// Returns the PSRAM as flash.
    #[must_use]
    pub fn flash(&self) -> MappedNor {
        // SAFETY: `new` was promised this address; the memory map gives it to nothing else.
        unsafe { MappedNor::new(self.map.psram as usize, PSRAM_SIZE as usize) }
    }

    /// Protects memory: from now on code and constants cannot be written, nothing but code runs, and what
    /// is below the stack or unused cannot be accessed: see the memory map. Whatever tries ends the firmware.
    #[allow(clippy::cast_possible_truncation)] // addresses have 32 bits
    pub fn protect(&self) {
        let region = |start: *const u8, end: *const u8, kind| Region {
            base: start.addr() as u32,
            used: (end.addr() - start.addr()) as u32,
            kind,
        };
        let [devices, _] = self.map.timers;
        let [devices, used] = [devices as u32, self.map.devices];
        // SAFETY: so the memory map lays out the image, stack and variables, and `new` was promised the
        // rest.
        unsafe {
            (self.map.protect)(&[
                region(&raw const __image_start, &raw const __executable_end, Kind::Code),
                region(&raw const __executable_end, &raw const __image_end, Kind::Constants),
                region(&raw const __stack_bottom, &raw const __ram_end, Kind::Memory),
                Region { base: (&raw const __note).addr() as u32, used: NOTE, kind: Kind::Memory },
                Region { base: self.map.psram, used: PSRAM_SIZE, kind: Kind::Memory },
                Region { base: devices, used, kind: Kind::Device },
            ]);
        }
    }
}

unsafe extern "C" {
    static __image_start: u8;
    static __executable_end: u8;
    static __image_end: u8;
    static __stack_bottom: u8;
    static __ram_end: u8;
    static __note: u8;
}
