//! Signatures that were used, so that nobody uses them again.
//!
//! SigV4 has no nonce. A signature holds for as long as its date is within the clock window, and
//! whoever sees a signed request could send it again. So each verified signature is remembered for
//! that long, and refused when it returns.
//!
//! **Equal requests of one second have equal signatures.** boto3 signs neither an invocation id nor
//! an attempt number, so two `GenerateDataKey` of one second, of one client or of a fleet that
//! shares a key, cannot be told from a replay; nor can a retry. They are accepted while the second
//! lasts, and what the network may add: [`REPEATS`] from the first one on. Signatures over
//! `amz-sdk-invocation-id` and `amz-sdk-request` are unique, and are accepted once.
//!
//! **Memory.** A signature takes 16 bytes of itself and 4 of time, 25 to 50 with the table around
//! it. At [`CAPACITY`] the signatures with the oldest dates are forgotten, and requests that old
//! refused from then on: the window closes from behind, clocks that are right are served. It is not
//! closed to less than [`LEAST_WINDOW`]; rather, requests are refused as for any overload. What
//! was not verified takes no memory.
//!
//! **Restarts.** The cache starts empty, and may refuse what was signed before it started. When that was is told by the clock
//! as it is now: a clock that was ahead at the start and was set right refuses nobody.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest time from the first to the last of several equal requests.
pub(super) const REPEATS: Duration = Duration::from_secs(5);
/// Most signatures that are remembered: of five minutes at 3,500 requests a second.
const CAPACITY: usize = 1 << 20;
/// Oldest requests that are served however many there are.
const LEAST_WINDOW: u64 = 30;
/// Locks, so that requests do not wait for each other.
const SHARDS: usize = 64;
/// Seconds of dates that are forgotten together.
const STEP: u64 = 8;

/// A verified signature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used<'a> {
    pub(super) signature: &'a [u8; 32],
    /// Its date, in seconds since the epoch.
    pub(super) dated: u64,
    /// Whether it is unique among all requests.
    pub(super) is_unique: bool,
}

/// Why a verified signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was used before.
    Used,
    /// It may have been: only dates from this second on are remembered.
    Forgotten(u64),
    /// There is no room to remember it.
    Full,
}

/// The signatures used within the clock window.
pub(super) struct ReplayCache {
    shards: Box<[Mutex<Shard>]>,
    window: u64,
    capacity: usize,
    begin: Instant,
    /// Whether there was nothing to remember before.
    is_first: bool,
}

impl ReplayCache {
    /// A cache for a clock window, in seconds.
    pub(super) fn new(window: u64) -> Self {
        Self::with_capacity(window, CAPACITY)
    }

    /// Refuses dates before the second of `begin`.
    pub(super) fn since(self, begin: Instant) -> Self {
        Self { begin, is_first: false, ..self }
    }

    fn with_capacity(window: u64, capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            window,
            capacity: capacity / SHARDS,
            begin: Instant::now(),
            is_first: true,
        }
    }

    /// Remembers a signature, or tells why it must not be accepted. `now` is the time since the
    /// epoch; the date must be within the window.
    pub(super) fn admit(&self, used: Used<'_>, now: Duration) -> Result<(), Refusal> {
        let shard = &self.shards[usize::from(used.signature[31]) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked with the lock held: times are in the order of the requests.
        let elapsed = self.begin.elapsed();
        let start = now.saturating_sub(elapsed).as_secs();
        if !self.is_first && used.dated < start {
            return Err(Refusal::Forgotten(start));
        }
        shard.admit(used, now.as_secs(), elapsed, self)
    }
}

/// A part of the signatures. They are spread evenly, being MACs.
#[derive(Default)]
struct Shard {
    /// By date, in steps: when each was first used, in milliseconds of the cache's own time.
    steps: BTreeMap<u64, HashMap<[u8; 16], u32>>,
    length: usize,
    /// No signature with an earlier date is remembered.
    floor: u64,
}

impl Shard {
    fn admit(
        &mut self,
        used: Used<'_>,
        now: u64,
        elapsed: Duration,
        limits: &ReplayCache,
    ) -> Result<(), Refusal> {
        self.forget(now.saturating_sub(limits.window));
        if used.dated < self.floor {
            return Err(Refusal::Forgotten(self.floor));
        }
        let key = *used.signature.first_chunk().unwrap_or(&[0; 16]);
        let time = wrapped_millis(elapsed);
        let step = used.dated / STEP;
        if let Some(first) = self.steps.get(&step).and_then(|step| step.get(&key)) {
            let since = Duration::from_millis(time.wrapping_sub(*first).into());
            let repeats = !used.is_unique && since <= REPEATS;
            return if repeats { Ok(()) } else { Err(Refusal::Used) };
        }
        if self.length >= limits.capacity {
            self.make_room(now.saturating_sub(LEAST_WINDOW.min(limits.window)))?;
            if used.dated < self.floor {
                return Err(Refusal::Forgotten(self.floor));
            }
        }
        self.steps.entry(step).or_default().insert(key, time);
        self.length += 1;
        Ok(())
    }

    /// Forgets the steps that end before `until`.
    fn forget(&mut self, until: u64) {
        while let Some(oldest) = self.steps.first_entry() {
            let end = (oldest.key() + 1) * STEP;
            if end > until {
                break;
            }
            self.length -= oldest.remove().len();
            self.floor = self.floor.max(end);
        }
    }

    /// Forgets the oldest step, if it ends before `until`.
    fn make_room(&mut self, until: u64) -> Result<(), Refusal> {
        let oldest = self.steps.first_key_value().map(|(step, _)| (step + 1) * STEP);
        match oldest.filter(|end| *end <= until) {
            Some(end) => {
                self.forget(end);
                Ok(())
            }
            None => Err(Refusal::Full),
        }
    }
}

/// Milliseconds modulo 2³²: 49 days, of which differences of an hour count.
fn wrapped_millis(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_millis() & u128::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
