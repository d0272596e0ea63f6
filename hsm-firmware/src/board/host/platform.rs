//! The core's platform in a process.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use hsm_core::algorithm::{Algorithm, PORTABLE};
use hsm_core::memory::Boxed;
use hsm_core::platform::{EntropyError, EntropySource, MinEntropy, PairSearch, Platform};
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::reset::ResetReport;
use zeroize::Zeroizing;

use super::Registry;
use super::aws_lc::AWS_LC;
use super::flash::{GEOMETRY, SharedFlash};
use super::search::Searchers;
use crate::nv::RecordLog;

/// Bytes that a host may have unanswered; sockets and pipes hold as much.
const RECEIVE_BUFFER: u32 = 64 * 1024;

pub(super) struct HostBoard {
    noise: OsNoise,
    records: RecordLog<SharedFlash>,
    sealing_key: Option<Zeroizing<[u8; 32]>>,
    registry: Registry,
    boot: Instant,
    /// Set when the core wants a reset.
    reset: Rc<Cell<bool>>,
    searchers: Searchers,
    last_reset: ResetReport,
}

impl HostBoard {
    pub(super) fn new(
        flash: SharedFlash,
        sealing_key: Option<Zeroizing<[u8; 32]>>,
        registry: Registry,
        boot: Instant,
        reset: Rc<Cell<bool>>,
        last_reset: ResetReport,
    ) -> Self {
        let records = RecordLog::new(flash, GEOMETRY);
        let searchers = Searchers::new();
        Self { noise: OsNoise, records, sealing_key, registry, boot, reset, searchers, last_reset }
    }
}

impl Platform for HostBoard {
    type Memory = Boxed;
    type Entropy = OsNoise;
    type Storage = RecordLog<SharedFlash>;

    fn entropy(&mut self) -> &mut OsNoise {
        &mut self.noise
    }

    fn storage(&mut self) -> &mut RecordLog<SharedFlash> {
        &mut self.records
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.boot.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn algorithms(&self) -> &'static [&'static dyn Algorithm] {
        match self.registry {
            Registry::AwsLc => AWS_LC,
            Registry::Portable => PORTABLE,
        }
    }

    fn sealing_key(&self) -> Option<&[u8; 32]> {
        self.sealing_key.as_deref()
    }

    fn board(&self) -> &'static str {
        "host"
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::InProcess
    }

    /// The operating system loads programs, and can change them at any time; there is no image of the firmware
    /// alone to check and to measure.
    fn image(&self) -> &'static [u8] {
        &[]
    }

    fn reset(&mut self) {
        self.reset.set(true);
    }

    fn last_reset(&self) -> ResetReport {
        self.last_reset
    }

    fn pair_search(&mut self) -> Option<&mut dyn PairSearch> {
        Some(&mut self.searchers)
    }

    fn receive_buffer(&self) -> u32 {
        RECEIVE_BUFFER
    }
}

/// The operating system's generator.
pub(super) struct OsNoise;

impl EntropySource for OsNoise {
    // Its output cannot be told from full entropy. Half of that is claimed, as nothing here can
    // assess what is behind it.
    const MIN_ENTROPY: MinEntropy = MinEntropy::from_millibits(4000);

    fn fill_raw(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|_| EntropyError)
    }
}
