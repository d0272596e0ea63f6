//! The health of each device of the pool, for people and metrics.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::command::system::ModuleStatus;
use hsm_protocol::{DeviceId, ModuleState};

use crate::device::DeviceInfo;
use crate::error::CallError;

/// Whether a device of the pool takes calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// Being connected for the first time.
    Starting,
    /// Takes calls.
    InService,
    /// Was in service a moment ago; being connected again.
    Recovering,
    /// Failed; tried again after a pause that grows with each failure.
    Quarantined,
    /// Answers, but has to be provisioned first.
    NotProvisioned(ModuleState),
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::InService => f.write_str("in service"),
            Self::Recovering => f.write_str("recovering"),
            Self::Quarantined => f.write_str("quarantined"),
            Self::NotProvisioned(state) => write!(f, "not provisioned ({state:?})"),
        }
    }
}

/// A snapshot of a device of the pool.
#[derive(Clone, Debug)]
pub struct DeviceHealth {
    /// Name in the configuration.
    pub name: String,
    /// The device; `None` until it has first answered.
    pub device: Option<DeviceId>,
    /// Whether it takes calls.
    pub service: Service,
    /// Since when it is in that state.
    pub since: SystemTime,
    /// What it says of itself; `None` until it has first answered.
    pub info: Option<DeviceInfo>,
    /// Its domain; `None` until its first session.
    pub domain: Option<DomainSummary>,
    /// Its latest status; not authenticated.
    pub module: Option<ModuleStatus>,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls that it answered, refusals included.
    pub answered: u64,
    /// Calls that failed because of the device or its line.
    pub failed: u64,
    /// Times it was brought into service.
    pub connects: u64,
    /// Moving average of the time from call to answer, waiting included; zero before the first.
    pub latency: Duration,
    /// The latest failure.
    pub last_error: Option<String>,
}

/// Counters of one device, updated by every call.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    in_flight: AtomicUsize,
    answered: AtomicU64,
    failed: AtomicU64,
    pub(crate) connects: AtomicU64,
    /// Microseconds, times 16.
    latency: AtomicU64,
}

impl Counters {
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a call as under way until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    pub(crate) fn end(&self, error: Option<&CallError>, took: Duration) {
        if error.is_some_and(CallError::try_elsewhere) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        let sample = u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 8);
        let average =
            |old: u64| Some(if old == 0 { sample << 4 } else { old - (old >> 4) + sample });
        let _ = self.latency.fetch_update(Ordering::Relaxed, Ordering::Relaxed, average);
    }

    pub(crate) fn write_to(&self, health: &mut DeviceHealth) {
        health.in_flight = self.in_flight();
        health.answered = self.answered.load(Ordering::Relaxed);
        health.failed = self.failed.load(Ordering::Relaxed);
        health.connects = self.connects.load(Ordering::Relaxed);
        health.latency = Duration::from_micros(self.latency.load(Ordering::Relaxed) >> 4);
    }
}

/// A call under way.
pub(crate) struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
