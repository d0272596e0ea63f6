//! What a device has to do and how long it takes: measured, so that calls go where they wait least.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hsm_protocol::Opcode;
use hsm_protocol::key_spec::KeySpec;

/// Answers that quantiles are computed of.
const RECENT: usize = 512;
/// Answers without which quantiles say nothing.
const ENOUGH: usize = 32;
/// A device that has work and has been silent for so many times what the work should take is held up.
const PATIENT: u64 = 4;

/// A call that takes a device less than that, in microseconds, costs no more than to wake the device's thread.
const CHEAP: u64 = 100;
/// What a device may have to do, in microseconds, until cheap calls go to another one.
const SHORT: u64 = 300;
/// Devices whose calls take so long, in microseconds, are as good as each other.
const SLACK: u64 = 20;

/// Commands that take a device about the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Symmetric keys, random numbers, and what uses no key.
    Quick,
    /// Elliptic curves and lattices.
    Curve,
    /// RSA.
    Rsa,
}

impl Class {
    const COUNT: usize = 3;

    /// The class of a command, by the key spec that it needs and what it does.
    pub(crate) fn of(opcode: Opcode, spec: Option<KeySpec>) -> Self {
        match spec {
            Some(KeySpec::RSA_2048 | KeySpec::RSA_3072 | KeySpec::RSA_4096) => Self::Rsa,
            None | Some(KeySpec::SYMMETRIC_DEFAULT) => match opcode {
                Opcode::AttestKey | Opcode::AttestDevice => Self::Curve,
                _ => Self::Quick,
            },
            Some(KeySpec::HMAC_224 | KeySpec::HMAC_256 | KeySpec::HMAC_384 | KeySpec::HMAC_512) => {
                Self::Quick
            }
            Some(_) => Self::Curve,
        }
    }

    /// What is assumed until it was measured, in microseconds.
    const fn assumed(self) -> u64 {
        match self {
            Self::Quick => 500,
            Self::Curve => 5_000,
            Self::Rsa => 50_000,
        }
    }
}

/// The load of one device, updated by every call.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    in_flight: AtomicUsize,
    /// What the calls under way should take, in microseconds.
    owed: AtomicU64,
    /// Moving average of the time that a call of each class takes the device, in microseconds times 16.
    work: [AtomicU64; Class::COUNT],
    /// Since when the device has been silent although it has work, in microseconds since the first use.
    silent: AtomicU64,
    recent: [Mutex<Recent>; Class::COUNT],
}

/// Times from call to answer, of the latest answers.
#[derive(Debug, Default)]
struct Recent {
    /// In microseconds.
    samples: Vec<u32>,
    next: usize,
    /// Median and 99th percentile as of a few answers ago.
    p50: u32,
    p99: u32,
}

impl Meter {
    /// Counts a call as the device's until the guard is dropped: when the device has answered, or the line is
    /// gone, and not when the caller is.
    pub(crate) fn begin(self: &Arc<Self>, class: Class) -> Load {
        let cost = self.cost(class);
        if self.in_flight.fetch_add(1, Ordering::AcqRel) == 0 {
            self.silent.store(now(), Ordering::Release);
        }
        self.owed.fetch_add(cost, Ordering::AcqRel);
        Load { meter: Arc::clone(self), cost }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// How long a call of this class would wait for its answer, in microseconds: behind all that is under
    /// way, and for as long again as the device has been silent too long.
    pub(crate) fn expected(&self, class: Class) -> u64 {
        let own = self.cost(class);
        let owed = self.owed.load(Ordering::Acquire);
        if self.in_flight() == 0 {
            return own;
        }
        let silent = now().saturating_sub(self.silent.load(Ordering::Acquire));
        let late = if silent > PATIENT * owed.max(1_000) { silent } else { 0 };
        owed.saturating_add(own).saturating_add(late)
    }

    /// How much less another device would have to take, in microseconds, to be better. Cheap calls stay together,
    /// one behind the other, as long as they do not wait long: a thread that is awake already takes the next one
    /// without being woken.
    pub(crate) fn slack(&self, class: Class) -> u64 {
        match self.is_cheap(class) {
            true => SHORT,
            false => self.cost(class) / 4 + SLACK,
        }
    }

    /// Whether a call of this class costs the device less than to be woken for it.
    pub(crate) fn is_cheap(&self, class: Class) -> bool {
        self.cost(class) < CHEAP
    }

    /// The time that a call of this class takes the device, in microseconds.
    pub(crate) fn cost(&self, class: Class) -> u64 {
        match self.work[class as usize].load(Ordering::Relaxed) >> 4 {
            0 => class.assumed(),
            measured => measured,
        }
    }

    /// The device has worked on a call for so long, and it has taken the caller `took`, waiting included.
    pub(crate) fn answered(&self, class: Class, worked: Duration, took: Duration) {
        let sample = micros(worked).max(1);
        // One answer that was held up says little about the next: a device that seems slow would get no calls
        // by which to show that it is not.
        let average = |old: u64| {
            let known = if old == 0 { class.assumed() } else { old >> 4 };
            let sample = sample.min(known.saturating_mul(4).max(100));
            Some(if old == 0 { sample << 4 } else { old - (old >> 4) + sample })
        };
        let work = &self.work[class as usize];
        let _ = work.fetch_update(Ordering::Relaxed, Ordering::Relaxed, average);
        lock(&self.recent[class as usize]).add(micros(took));
    }

    /// What an answer of this class mostly takes less than: the 99th percentile, or ten times the median if that
    /// is less, as a device that was held up often has slow answers among its latest. `None` before there were
    /// enough.
    pub(crate) fn usual(&self, class: Class) -> Option<Duration> {
        let recent = lock(&self.recent[class as usize]);
        let usual = recent.p99.min(recent.p50.saturating_mul(10));
        (recent.samples.len() >= ENOUGH).then(|| Duration::from_micros(usual.into()))
    }

    /// Median and 99th percentile of the latest answers of every class; zero before the first.
    pub(crate) fn quantiles(&self) -> (Duration, Duration) {
        let all = self.recent.iter().flat_map(|recent| lock(recent).samples.clone());
        let mut all: Vec<u32> = all.collect();
        all.sort_unstable();
        let at = |per_cent| Duration::from_micros(quantile(&all, per_cent).into());
        (at(50), at(99))
    }
}

impl Recent {
    fn add(&mut self, micros: u64) {
        let sample = u32::try_from(micros).unwrap_or(u32::MAX);
        match self.samples.get_mut(self.next) {
            Some(place) => *place = sample,
            None => self.samples.push(sample),
        }
        self.next = (self.next + 1) % RECENT;
        if self.next.is_multiple_of(ENOUGH) {
            let mut sorted = self.samples.clone();
            sorted.sort_unstable();
            (self.p50, self.p99) = (quantile(&sorted, 50), quantile(&sorted, 99));
        }
    }
}

/// A call that a device has to answer.
#[derive(Debug)]
pub(crate) struct Load {
    meter: Arc<Meter>,
    cost: u64,
}

impl Load {
    /// The device has answered the call, whoever hears it.
    pub(crate) fn answered(self) {
        self.meter.silent.store(now(), Ordering::Release);
    }

    /// What it should take the device, in microseconds.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.meter.owed.fetch_sub(self.cost, Ordering::AcqRel);
        self.meter.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

fn quantile(sorted: &[u32], per_cent: usize) -> u32 {
    let index = (sorted.len() * per_cent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX >> 8)
}

/// Microseconds since the first use.
fn now() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    micros(BEGIN.get_or_init(Instant::now).elapsed())
}

fn lock(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    // It is whole between any two statements.
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_takes_is_measured_for_each_class() {
        let meter = Arc::new(Meter::default());
        assert_eq!(meter.usual(Class::Quick), None);
        for micros in 1..=100 {
            meter.answered(Class::Quick, Duration::from_micros(100), Duration::from_micros(micros));
            if micros % 2 == 0 {
                let slow = Duration::from_millis(10);
                meter.answered(Class::Rsa, slow, slow);
            }
        }
        assert_eq!((meter.cost(Class::Quick), meter.cost(Class::Rsa)), (100, 10_000));
        assert_eq!(meter.cost(Class::Curve), 5_000, "assumed");
        let p99 = meter.usual(Class::Quick).unwrap();
        assert!((90..=100).contains(&p99.as_micros()), "{p99:?}");
        let (p50, p99) = meter.quantiles();
        assert!(p50 < p99 && p99 == Duration::from_millis(10), "{p50:?} {p99:?}");
    }

    #[test]
    fn cheap_calls_stay_together_until_that_is_a_wait() {
        let meter = Arc::new(Meter::default());
        assert!(!meter.is_cheap(Class::Quick), "nothing was measured");
        let took = Duration::from_micros(10);
        meter.answered(Class::Quick, took, took);
        assert!(meter.is_cheap(Class::Quick) && !meter.is_cheap(Class::Rsa));
        // Another device like it, with nothing to do, is better once so many calls are under way.
        let idle = meter.expected(Class::Quick) + meter.slack(Class::Quick);
        let together: Vec<_> = std::iter::from_fn(|| {
            (meter.expected(Class::Quick) <= idle).then(|| meter.begin(Class::Quick))
        })
        .collect();
        assert_eq!(together.len(), 31, "310 microseconds of work");
        drop(together);
        // Not behind a slow one.
        let slow = meter.begin(Class::Rsa);
        assert!(meter.expected(Class::Quick) > idle);
        drop(slow);
    }

    #[test]
    fn a_call_waits_behind_others_and_longer_where_nothing_moves() {
        let meter = Arc::new(Meter::default());
        meter.answered(Class::Quick, Duration::from_micros(100), Duration::from_micros(100));
        assert_eq!(meter.expected(Class::Quick), 100);
        let rsa = meter.begin(Class::Rsa);
        assert!(meter.expected(Class::Quick) >= 50_100);
        drop(rsa);
        assert_eq!((meter.expected(Class::Quick), meter.in_flight()), (100, 0));
        let held = meter.begin(Class::Quick);
        std::thread::sleep(Duration::from_millis(20));
        assert!(meter.expected(Class::Quick) > 20_000, "it is silent");
        drop(held);
        assert_eq!(meter.expected(Class::Quick), 100);
    }
}
