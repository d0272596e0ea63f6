//! The state of the pool's devices, for `/readyz` and `kmsctl status`.

use std::time::{Duration, SystemTime};

use host_driver::health::{DeviceHealth, Service};
use hsm_protocol::domain::Kind;
use hsm_protocol::key_spec::KeySpec;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use kms_base::hex;

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    /// The Region it serves.
    pub region: String,
    /// Name of its line.
    pub name: String,
    /// Whether it takes calls.
    pub in_service: bool,
    /// Its state in words.
    pub state: String,
    /// Since when, ISO 8601.
    pub since: String,
    /// Device id, once known.
    pub device: Option<String>,
    /// Board name, once known.
    pub board: Option<String>,
    /// Firmware version, once known.
    pub firmware: Option<String>,
    /// Domain id, once known.
    pub domain: Option<String>,
    /// `development` if whoever reads the data directory rules the domain, else `production`; once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_kind: Option<String>,
    /// Version of the domain's state, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_version: Option<u32>,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls answered.
    pub answered: u64,
    /// Calls that failed because of the device or its line.
    pub failed: u64,
    /// Times it was brought into service.
    pub connects: u64,
    /// Moving average of the time from call to answer, in microseconds.
    pub latency_us: u64,
    /// Median of the same, of the latest answers.
    #[serde(default)]
    pub p50_us: u64,
    /// Its 99th percentile.
    #[serde(default)]
    pub p99_us: u64,
    /// Calls that were sent to another device as well, because this one was slow.
    #[serde(default)]
    pub hedged: u64,
    /// SHA-256 of its firmware image, if its board measures that; once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<String>,
    /// Key specs that it supports; once known.
    #[serde(default)]
    pub key_specs: Vec<String>,
    /// Why it is quarantined, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
    /// Whether a person has taken it out of service.
    #[serde(default)]
    pub drained: bool,
    /// The latest failure.
    pub last_error: Option<String>,
}

/// Reports every device of a Region.
#[must_use]
pub fn report(region: &str, health: &[DeviceHealth]) -> Vec<DeviceReport> {
    health.iter().map(|health| DeviceReport::new(region, health)).collect()
}

impl DeviceReport {
    fn new(region: &str, health: &DeviceHealth) -> Self {
        Self {
            region: region.to_owned(),
            name: health.name.clone(),
            in_service: health.service == Service::InService,
            state: health.service.to_string(),
            since: iso(health.since),
            device: health.device.map(|id| id.to_string()),
            board: health.info.as_ref().map(|info| info.board.clone()),
            firmware: health.info.as_ref().map(|info| info.firmware.clone()),
            domain: health.domain.map(|domain| domain.domain.to_string()),
            domain_kind: health.domain.map(|domain| in_words(domain.kind).to_owned()),
            domain_version: health.domain.map(|domain| domain.version),
            in_flight: health.in_flight,
            answered: health.answered,
            failed: health.failed,
            connects: health.connects,
            latency_us: micros(health.latency),
            p50_us: micros(health.quantiles.0),
            p99_us: micros(health.quantiles.1),
            hedged: health.hedged,
            measurement: health
                .module
                .as_ref()
                .and_then(|module| module.measurement)
                .map(|measurement| hex::encode(&measurement.0)),
            key_specs: health.info.iter().flat_map(|info| info.specs.iter().map(spec)).collect(),
            quarantined: health.misconduct.as_deref().map(str::to_owned),
            drained: matches!(health.service, Service::Draining | Service::Drained),
            last_error: health.last_error.clone(),
        }
    }
}

/// The kind of a domain, as reports have it.
pub const fn in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Development => "development",
        Kind::Production => "production",
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn spec(spec: &KeySpec) -> String {
    spec.aws_name().map_or_else(|| format!("{spec:?}"), str::to_owned)
}

fn iso(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))
        .unwrap_or_default()
}
