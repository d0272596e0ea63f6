//! What boards without an operating system have in common: the core's platform there, and its memory.
//!
//! A board without a place for a key that only this firmware could read stores its records unsealed: whoever has
//! the flash has the device's keys (see `docs/threat-model.md`).

use core::sync::atomic::{AtomicBool, Ordering};

use embedded_storage::nor_flash::NorFlash;
use hsm_core::Hsm;
use hsm_core::algorithm::Algorithm;
use hsm_core::memory::{Lent, Memory};
use hsm_core::platform::{EntropySource, FirmwareUpdate, Platform};
use hsm_protocol::attestation::Measurement;
use hsm_protocol::command::system::MemoryPeaks;
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::reset::ResetReport;
use static_cell::StaticCell;

use super::room::RECEIVE_BUFFER;
use crate::chip::heap::HEAP;
use crate::chip::{image, retained, stack};
use crate::nv::{Geometry, RecordLog};

/// The noise that an emulator passes on from its host's generator, whose output cannot be told from full
/// entropy. Half of that is claimed, as nothing here can assess what is behind it.
#[cfg(any(feature = "qemu_riscv32", feature = "mps2_an386", feature = "mps2_an505"))]
pub(super) const EMULATED_NOISE: hsm_core::platform::MinEntropy =
    hsm_core::platform::MinEntropy::from_millibits(4000);

/// The registry of what this image computes, of those that a module of `hsm_core::algorithm` has.
macro_rules! algorithms {
    ($parts:ident) => {{
        #[cfg(feature = "everything")]
        let registry = hsm_core::algorithm::$parts::EVERYTHING;
        #[cfg(all(feature = "classic", not(feature = "everything")))]
        let registry = hsm_core::algorithm::$parts::CLASSIC;
        #[cfg(not(feature = "classic"))]
        let registry = hsm_core::algorithm::$parts::SMALL;
        registry
    }};
}
pub(super) use algorithms;

/// Microseconds after which a main loop that has not come round hangs: twice as long as hosts wait for
/// their slowest commands (see ADR 36).
pub(super) const WATCHDOG_US: u64 = 60_000_000;
/// Longest sleep, so that a device without work comes round often enough.
pub(super) const LONGEST_SLEEP_US: u64 = WATCHDOG_US / 4;
/// A firmware that has been running for so long has not failed at its start.
const STABLE_US: u64 = 10_000_000;

/// How long the firmware waits before it starts, in microseconds: longer after each failure in a row, so that
/// one that fails at its start does not keep its host busy.
pub(super) fn pause_us(last: ResetReport) -> u64 {
    const SHORTEST: u64 = 100_000;
    const LONGEST: u64 = 10_000_000;
    match last.failures.checked_sub(1) {
        Some(more) => SHORTEST.saturating_mul(1 << more.min(16)).min(LONGEST),
        None => 0,
    }
}

/// Notes once that the firmware has been running for long.
pub(super) struct Stability(bool);

impl Stability {
    pub(super) const fn new() -> Self {
        Self(false)
    }

    /// Tells the time, in microseconds since boot.
    pub(super) fn at(&mut self, now_us: u64) {
        if !self.0 && now_us >= STABLE_US {
            self.0 = true;
            retained::settle();
        }
    }
}

/// Set when the core has asked for a reset.
static RESET: AtomicBool = AtomicBool::new(false);

/// What differs from board to board.
pub(super) trait Machine {
    /// The board's name.
    const NAME: &'static str;
    /// What keeps the device's secrets.
    const KIND: DeviceKind;
    /// The noise source.
    type Noise: EntropySource;
    /// The flash that has the records.
    type Flash: NorFlash;
    /// What replaces the firmware.
    type Update: FirmwareUpdate;

    /// The algorithm registry.
    fn algorithms() -> &'static [&'static dyn Algorithm];
    /// Microseconds since boot; never goes back.
    fn now_us() -> u64;
    /// The key that seals records, if the board has one that only this firmware can read. Asked once, at the start.
    fn sealing_key() -> Option<[u8; 32]> {
        None
    }
}

/// The core's platform on a machine.
pub(super) struct Board<M: Machine> {
    noise: M::Noise,
    records: RecordLog<M::Flash>,
    sealing_key: Option<[u8; 32]>,
    /// Of the image, by the second stage; without one, the core measures it.
    measurement: Option<Measurement>,
    update: Option<M::Update>,
    last_reset: ResetReport,
}

impl<M: Machine> Board<M> {
    /// The board, with its records in this part of the flash.
    pub(super) fn new(
        noise: M::Noise,
        flash: M::Flash,
        records: Geometry,
        last_reset: ResetReport,
    ) -> Self {
        let records = RecordLog::new(flash, records);
        let sealing_key = M::sealing_key();
        Self { noise, records, sealing_key, measurement: None, update: None, last_reset }
    }

    /// The same, started by a second stage, which has measured the image.
    #[cfg(feature = "verified-boot")]
    pub(super) fn verified(
        noise: M::Noise,
        flash: M::Flash,
        records: Geometry,
        last_reset: ResetReport,
        measurement: Measurement,
        update: Option<M::Update>,
    ) -> Self {
        Self {
            measurement: Some(measurement),
            update,
            ..Self::new(noise, flash, records, last_reset)
        }
    }
}

/// Gives the heap its memory and makes the HSM where it stays, off the stack, which is measured for each
/// command and erased; it holds no secret yet. A function of its own, so that no frame below keeps a
/// place for parts of it.
#[inline(never)]
pub(super) fn make<M: Machine>(
    place: &'static StaticCell<Hsm<Board<M>>>,
    memory: Memory<Lent>,
    heap: &'static mut [u64],
    board: impl FnOnce() -> Board<M>,
) -> &'static mut Hsm<Board<M>> {
    HEAP.start(heap);
    place.init_with(|| Hsm::new(board(), memory))
}

/// Whether the core has asked for a reset.
pub(super) fn is_reset_wanted() -> bool {
    RESET.load(Ordering::Relaxed)
}

impl<M: Machine> Platform for Board<M> {
    type Memory = Lent;
    type Entropy = M::Noise;
    type Storage = RecordLog<M::Flash>;

    fn entropy(&mut self) -> &mut M::Noise {
        &mut self.noise
    }

    fn storage(&mut self) -> &mut RecordLog<M::Flash> {
        &mut self.records
    }

    fn monotonic_us(&self) -> u64 {
        M::now_us()
    }

    fn algorithms(&self) -> &'static [&'static dyn Algorithm] {
        M::algorithms()
    }

    fn sealing_key(&self) -> Option<&[u8; 32]> {
        self.sealing_key.as_ref()
    }

    fn board(&self) -> &'static str {
        M::NAME
    }

    fn kind(&self) -> DeviceKind {
        M::KIND
    }

    fn measurement(&self) -> Option<Measurement> {
        self.measurement
    }

    fn image(&self) -> &'static [u8] {
        image::bytes()
    }

    fn firmware(&mut self) -> Option<&mut dyn FirmwareUpdate> {
        self.update.as_mut().map(|update| update as _)
    }

    fn reset(&mut self) {
        RESET.store(true, Ordering::Relaxed);
    }

    fn last_reset(&self) -> ResetReport {
        self.last_reset
    }

    fn receive_buffer(&self) -> u32 {
        u32::try_from(RECEIVE_BUFFER).unwrap_or(u32::MAX)
    }

    fn stack_peak(&self) -> u32 {
        stack::peak()
    }

    fn take_peaks(&mut self) -> MemoryPeaks {
        MemoryPeaks { stack: stack::take_peak(), heap: HEAP.take_peak() }
    }

    fn erase_stack(&mut self) {
        stack::erase();
    }
}
