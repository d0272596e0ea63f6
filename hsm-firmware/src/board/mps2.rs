//! Arm MPS2: UART 0 as link, UART 1 as noise source, and memory that the emulator keeps in a file for the
//! records. What an image of the board differs in is an [`Image`].

use hsm_core::Hsm;
use hsm_core::algorithm::Algorithm;
use hsm_core::memory::Memory;
use hsm_core::platform::{EntropyError, EntropySource, FirmwareUpdate, MinEntropy};
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::reset::ResetReport;
use static_cell::{ConstStaticCell, StaticCell};

use super::bare::{
    self, Board, EMULATED_NOISE, LONGEST_SLEEP_US, Machine, Stability, WATCHDOG_US, algorithms,
};
use super::room::{CoreMemory, FRAME, Heap, RECEIVE_BUFFER, no_heap};
use crate::ResetReason;
use crate::chip::cortex_m;
use crate::chip::mapped_nor::{BLOCK, MappedNor};
use crate::chip::mps2::{LINE_RING, Mps2, NOISE_RING};
use crate::chip::retained;
use crate::chip::uart_noise::UartNoise;
use crate::chip::uart_port::UartPort;
use crate::nv::Geometry;
#[cfg(feature = "verified-boot")]
use crate::second_stage::Failure;
#[cfg(feature = "verified-boot")]
use crate::serve::Port;
use crate::serve::{Line, LineBuffers, Runtime, serve};

/// Where the records are: 2 MiB at the start of the memory.
pub(super) const RECORDS: Geometry = Geometry { start: 0, segment: BLOCK, segments: 8 };

const _: () = assert!(LINE_RING >= RECEIVE_BUFFER);

static MEMORY: ConstStaticCell<CoreMemory> = ConstStaticCell::new(CoreMemory::new());
static HEAP: ConstStaticCell<Heap> = ConstStaticCell::new(no_heap());
static BUFFERS: ConstStaticCell<LineBuffers<FRAME>> = ConstStaticCell::new(LineBuffers::new());

/// An image of the board.
pub(super) trait Image: 'static {
    /// The board's name.
    const NAME: &'static str;

    /// What replaces the firmware.
    type Update: FirmwareUpdate;

    /// Returns its devices.
    fn devices() -> &'static Mps2;

    /// Makes the platform.
    fn platform(last: ResetReport) -> Board<Self>
    where
        Self: Sized,
    {
        Board::new(noise::<Self>(), Self::devices().flash(), RECORDS, last)
    }
}

/// Runs the firmware, with the HSM in a place off the stack, which is measured for each command and
/// erased. `cause` is why the machine was reset, as far as the chip tells.
pub(super) fn run<I: Image>(place: &'static StaticCell<Hsm<Board<I>>>, cause: ResetReason) -> ! {
    let last = retained::begin(cause);
    let devices = I::devices();
    devices.protect();
    devices.open_interrupts(|source| I::devices().interrupt(source));
    devices.clock.start();
    devices.line.start();
    devices.noise.start();
    pause(devices, bare::pause_us(last));
    devices.start_watchdog(WATCHDOG_US);

    let board = || I::platform(last);
    let hsm = bare::make(place, Memory::lent(MEMORY.take()), HEAP.take(), board);
    hsm.start();
    let mut port = UartPort::new(&devices.line);
    let mut lines = [Line::new(&mut port, BUFFERS.take())];
    serve(
        hsm,
        &mut lines,
        &mut Sleep { devices, alarm: None, wake: 0, stability: Stability::new() },
    );
    retained::record(ResetReason::SOFTWARE);
    cortex_m::reset()
}

/// Stays in the second stage, and says why on the line to whoever speaks: once at the start, and once for whatever is
/// received. It ends as a frame does, so that what is sent after it is understood.
#[cfg(feature = "verified-boot")]
pub(super) fn refuse<I: Image>(failure: Failure) -> ! {
    let devices = I::devices();
    devices.open_interrupts(|source| I::devices().interrupt(source));
    devices.line.start();
    let mut port = UartPort::new(&devices.line);
    let text = failure.text();
    loop {
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let sent = port.send(rest);
            rest = rest.get(sent..).unwrap_or_default();
            if sent == 0 {
                cortex_m::wait();
            }
        }
        while port.received().is_empty() {
            cortex_m::wait();
        }
        while let count @ 1.. = port.received().len() {
            port.consume(count);
        }
    }
}

/// The noise source.
pub(super) fn noise<I: Image>() -> Noise {
    let Mps2 { noise, clock, alarm, .. } = I::devices();
    Noise(UartNoise::new(noise, clock, alarm))
}

/// Ends the firmware after a failure: nothing but the reason is left in RAM.
pub(super) fn halt(reason: ResetReason) -> ! {
    retained::record(reason);
    cortex_m::wipe_and_reset()
}

/// Sleeps for a time in microseconds.
fn pause(devices: &Mps2, us: u64) {
    let end = devices.clock.now_us().saturating_add(us);
    while devices.clock.now_us() < end {
        devices.alarm.start(devices.clock.ticks_until(end));
        cortex_m::wait();
    }
    devices.alarm.stop();
}

impl<I: Image> Machine for I {
    const NAME: &'static str = I::NAME;
    const KIND: DeviceKind = DeviceKind::Emulated;
    type Noise = Noise;
    type Flash = MappedNor;
    type Update = I::Update;

    fn algorithms() -> &'static [&'static dyn Algorithm] {
        algorithms!(cortex_m4)
    }

    fn now_us() -> u64 {
        I::devices().clock.now_us()
    }
}

/// The source at UART 1.
pub(super) struct Noise(UartNoise<NOISE_RING>);

impl EntropySource for Noise {
    const MIN_ENTROPY: MinEntropy = EMULATED_NOISE;

    fn fill_raw(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(out).map_err(|_| EntropyError)
    }
}

/// Waiting on this board.
struct Sleep {
    devices: &'static Mps2,
    /// When the main loop wants to be woken, in microseconds since boot.
    alarm: Option<u64>,
    /// When the timer will end a sleep.
    wake: u64,
    stability: Stability,
}

impl Runtime for Sleep {
    fn wait(&mut self, alarm: Option<u64>) {
        let Mps2 { clock, alarm: timer, .. } = self.devices;
        let now = clock.now_us();
        self.stability.at(now);
        // Every byte of the line ends a sleep, so an alarm that is set stays set. The noise source
        // uses the same timer, and stops it.
        if alarm != self.alarm || now >= self.wake || !timer.is_running() {
            self.alarm = alarm;
            self.wake = alarm.unwrap_or(u64::MAX).min(now.saturating_add(LONGEST_SLEEP_US));
            timer.start(clock.ticks_until(self.wake));
        }
        cortex_m::wait();
    }

    fn feed_watchdog(&mut self) {
        self.devices.watchdog.feed();
    }

    fn should_stop(&mut self) -> bool {
        bare::is_reset_wanted()
    }
}
