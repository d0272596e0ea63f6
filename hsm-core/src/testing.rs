//! A board in memory, with faults on demand, and a deterministic random-number generator.
//!
//! For tests only: nothing here is random or durable.

use core::cell::Cell;
use core::convert::Infallible;
use std::collections::BTreeMap;
use std::vec::Vec;

use hsm_protocol::attestation::Measurement;
use hsm_protocol::domain::DeviceKind;
use rand_core::{TryCryptoRng, TryRng};

use crate::algorithm::{Algorithm, PORTABLE};
use crate::memory::Boxed;
use crate::platform::{
    EntropyError, EntropySource, MAX_RECORD, MinEntropy, NvError, NvStorage, Platform, RecordId,
};

/// A deterministic generator with the interface of a good one (SplitMix64).
#[derive(Clone, Debug)]
pub struct TestRng(pub u64);

impl TestRng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl TryRng for TestRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let [a, b, c, d, ..] = self.next().to_le_bytes();
        Ok(u32::from_le_bytes([a, b, c, d]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.iter_mut().zip(bytes).for_each(|(out, byte)| *out = byte);
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}

/// Noise for tests.
#[derive(Clone, Debug)]
pub struct TestNoise {
    rng: TestRng,
    /// The source answers zeros only.
    pub stuck: bool,
    /// The source does not answer.
    pub dead: bool,
}

impl EntropySource for TestNoise {
    const MIN_ENTROPY: MinEntropy = MinEntropy::from_millibits(7000);

    fn fill_raw(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        let Ok(()) = self.rng.try_fill_bytes(out);
        if self.stuck {
            out.fill(0);
        }
        if self.dead { Err(EntropyError) } else { Ok(()) }
    }
}

/// Records in memory.
#[derive(Clone, Debug, Default)]
pub struct TestStorage {
    /// The records.
    pub records: BTreeMap<RecordId, Vec<u8>>,
    /// Every access fails.
    pub broken: bool,
    /// Writes fail for want of room.
    pub full: bool,
    /// Writes since the start.
    pub writes: u32,
    /// Writes, removals and erasures since the start, and tries of one.
    pub changes: u32,
    /// Changes that are made before power fails: the next one is not made, and `broken` set.
    pub until_cut: Option<u32>,
}

impl TestStorage {
    fn check(&self) -> Result<(), NvError> {
        if self.broken { Err(NvError::Medium) } else { Ok(()) }
    }

    /// Counts a change; an error if power fails before it.
    fn change(&mut self) -> Result<(), NvError> {
        self.changes = self.changes.wrapping_add(1);
        self.check()?;
        if let Some(left) = &mut self.until_cut {
            let Some(after) = left.checked_sub(1) else {
                self.broken = true;
                return Err(NvError::Medium);
            };
            *left = after;
        }
        Ok(())
    }
}

impl NvStorage for TestStorage {
    fn read<'b>(&mut self, id: RecordId, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, NvError> {
        self.check()?;
        let Some(record) = self.records.get(&id) else { return Ok(None) };
        let out = buf.get_mut(..record.len()).ok_or(NvError::TooLarge)?;
        out.copy_from_slice(record);
        Ok(Some(out))
    }

    fn write(&mut self, id: RecordId, data: &[u8]) -> Result<(), NvError> {
        self.change()?;
        if self.full {
            return Err(NvError::Full);
        }
        if data.len() > MAX_RECORD {
            return Err(NvError::TooLarge);
        }
        self.records.insert(id, data.to_vec());
        self.writes = self.writes.wrapping_add(1);
        Ok(())
    }

    fn remove(&mut self, id: RecordId) -> Result<(), NvError> {
        self.change()?;
        self.records.remove(&id);
        Ok(())
    }

    fn erase_all(&mut self) -> Result<(), NvError> {
        self.change()?;
        self.records.clear();
        Ok(())
    }
}

/// A board in memory. Its clock stands still until the test moves it or has it tick.
#[derive(Clone, Debug)]
pub struct MemoryPlatform {
    /// The noise source.
    pub entropy: TestNoise,
    /// The record store.
    pub storage: TestStorage,
    /// Microseconds since boot.
    pub now_us: u64,
    /// Microseconds that pass each time the clock is read.
    pub tick_us: u64,
    ticked_us: Cell<u64>,
    /// The registry.
    pub algorithms: &'static [&'static dyn Algorithm],
    /// The sealing key.
    pub sealing_key: Option<[u8; 32]>,
    /// The firmware image with its MAC.
    pub image: &'static [u8],
    /// What it says it is.
    pub kind: DeviceKind,
    /// The image's measurement.
    pub measurement: Option<Measurement>,
    /// Whether the core has asked for a reset.
    pub reset: bool,
    /// How often the core has had the stack erased.
    pub erased: u32,
}

impl MemoryPlatform {
    /// A fresh board with a sealing key.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed(1)
    }

    /// A fresh board whose noise differs from that of boards with another seed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self {
            entropy: TestNoise { rng: TestRng(seed), stuck: false, dead: false },
            storage: TestStorage::default(),
            now_us: 0,
            tick_us: 0,
            ticked_us: Cell::new(0),
            algorithms: PORTABLE,
            sealing_key: Some([0x42; 32]),
            image: &[],
            kind: DeviceKind::Emulated,
            measurement: None,
            reset: false,
            erased: 0,
        }
    }
}

impl Default for MemoryPlatform {
    fn default() -> Self {
        Self::new()
    }
}

impl Platform for MemoryPlatform {
    type Memory = Boxed;
    type Entropy = TestNoise;
    type Storage = TestStorage;

    fn entropy(&mut self) -> &mut TestNoise {
        &mut self.entropy
    }

    fn storage(&mut self) -> &mut TestStorage {
        &mut self.storage
    }

    fn monotonic_us(&self) -> u64 {
        self.ticked_us.set(self.ticked_us.get().wrapping_add(self.tick_us));
        self.now_us.wrapping_add(self.ticked_us.get())
    }

    fn algorithms(&self) -> &'static [&'static dyn Algorithm] {
        self.algorithms
    }

    fn sealing_key(&self) -> Option<&[u8; 32]> {
        self.sealing_key.as_ref()
    }

    fn board(&self) -> &'static str {
        "memory"
    }

    fn kind(&self) -> DeviceKind {
        self.kind
    }

    fn measurement(&self) -> Option<Measurement> {
        self.measurement
    }

    fn image(&self) -> &'static [u8] {
        self.image
    }

    fn reset(&mut self) {
        self.reset = true;
    }

    fn receive_buffer(&self) -> u32 {
        1 << 16
    }

    fn erase_stack(&mut self) {
        self.erased = self.erased.saturating_add(1);
    }
}
