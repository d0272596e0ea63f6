//! The health of each device of the pool, for people and metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::command::system::ModuleStatus;
use hsm_protocol::{DeviceId, ModuleState};

use crate::device::DeviceInfo;
use crate::error::CallError;
use crate::load::Meter;

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
    Resting,
    /// There is no line to it; tried again as above.
    Unreachable,
    /// Takes no new calls, and finishes those that it has, because a person said so.
    Draining,
    /// Has nothing to do any more, and its line is free, until a person says otherwise.
    Drained,
    /// Has done what no device in order does: kept out until a person says otherwise.
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
            Self::Resting => f.write_str("resting"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Draining => f.write_str("draining"),
            Self::Drained => f.write_str("drained"),
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
    /// Calls that wait for it or that it works on.
    pub in_flight: usize,
    /// Calls that it answered, refusals included.
    pub answered: u64,
    /// Calls that failed because of the device or its line.
    pub failed: u64,
    /// Calls that were sent to another device as well, because this one was slow.
    pub hedged: u64,
    /// Times it was brought into service.
    pub connects: u64,
    /// Moving average of the time from call to answer, waiting included; zero before the first.
    pub latency: Duration,
    /// Median and 99th percentile of the same, of the latest answers; zero before the first.
    pub quantiles: (Duration, Duration),
    /// Why it is quarantined, if it is.
    pub misconduct: Option<Arc<str>>,
    /// The latest failure.
    pub last_error: Option<String>,
}

/// Counters of one device, updated by every call.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) meter: Arc<Meter>,
    answered: AtomicU64,
    failed: AtomicU64,
    pub(crate) hedged: AtomicU64,
    pub(crate) connects: AtomicU64,
    /// Microseconds, times 16.
    latency: AtomicU64,
}

impl Counters {
    pub(crate) fn in_flight(&self) -> usize {
        self.meter.in_flight()
    }

    pub(crate) fn end(&self, error: Option<&CallError>, took: Duration) {
        match error {
            // The device was not asked.
            Some(CallError::Overloaded | CallError::CallerGone) => return,
            Some(error) if error.try_elsewhere() => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            _ => {}
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
        health.hedged = self.hedged.load(Ordering::Relaxed);
        health.connects = self.connects.load(Ordering::Relaxed);
        health.latency = Duration::from_micros(self.latency.load(Ordering::Relaxed) >> 4);
        health.quantiles = self.meter.quantiles();
    }
}
