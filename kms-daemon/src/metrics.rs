//! Metrics in the Prometheus text format.

use std::sync::Mutex;
use std::time::Duration;

use host_driver::pool::StockLevel;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::audit::AuditLog;
use crate::http::Readiness;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeviceLabel {
    region: String,
    device: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PairLabel {
    region: String,
    spec: &'static str,
    purpose: &'static str,
}

/// Times that something took; clones count together.
#[derive(Debug, Clone)]
pub struct Times(Histogram);

impl Times {
    /// How long it takes to decide whether a request may use a key: 0.5 µs to 1 ms.
    #[must_use]
    pub fn of_authorization() -> Self {
        let microseconds = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 20.0, 50.0, 100.0, 1000.0];
        Self(Histogram::new(microseconds.map(|bound| bound / 1e6)))
    }

    /// Counts one.
    pub fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

/// Connections; clones count together.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    open: Gauge,
    ended: Family<ReasonLabel, Counter>,
}

impl ConnectionMetrics {
    /// Sets how many there are.
    pub(crate) fn open(&self, count: usize) {
        self.open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts one that the daemon ended.
    pub(crate) fn ended(&self, reason: &'static str) {
        self.ended.get_or_create(&ReasonLabel { reason }).inc();
    }
}

/// All metrics of the daemon.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<OperationLabel, Histogram>,
    authorization: Times,
    connections: ConnectionMetrics,
    ready: Gauge,
    audit_pending: Gauge,
    audit_records: Gauge,
    audit_counted: Gauge,
    audit_bytes: Gauge,
    disk_free: Gauge,
    disk_until_reserve: Gauge,
    device_up: Family<DeviceLabel, Gauge>,
    device_in_flight: Family<DeviceLabel, Gauge>,
    key_pairs: Family<PairLabel, Gauge>,
    key_pairs_wanted: Family<PairLabel, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh metrics.
    #[must_use]
    pub fn new() -> Self {
        // 100 µs to 13 s: the range between a cached answer and a client's patience.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("strongroom")),
            requests: Family::default(),
            latency: Family::new_with_constructor(buckets),
            authorization: Times::of_authorization(),
            connections: ConnectionMetrics::default(),
            ready: Gauge::default(),
            audit_pending: Gauge::default(),
            audit_records: Gauge::default(),
            audit_counted: Gauge::default(),
            audit_bytes: Gauge::default(),
            disk_free: Gauge::default(),
            disk_until_reserve: Gauge::default(),
            device_up: Family::default(),
            device_in_flight: Family::default(),
            key_pairs: Family::default(),
            key_pairs_wanted: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let Ok(mut registry) = self.registry.lock() else { return };
        registry.register(
            "requests",
            "API requests by operation and outcome",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time from the head of a request to its durable record",
            Unit::Seconds,
            self.latency.clone(),
        );
        registry.register_with_unit(
            "authorization_duration",
            "Time to find out what limits a caller, to find the key, and to decide; devices that \
             open secrets aside",
            Unit::Seconds,
            self.authorization.0.clone(),
        );
        registry.register(
            "connections",
            "Connections of clients, without those of --admin-listen",
            self.connections.open.clone(),
        );
        registry.register(
            "connections_ended",
            "Connections that the daemon ended before their time: stalled, as answers were not \
             taken; address or room, as there were too many of one address or in all; requests or \
             answers, as too many were under way; refused, as none could make room",
            self.connections.ended.clone(),
        );
        registry.register("ready", "1 if requests can be served", self.ready.clone());
        registry.register(
            "audit_pending_records",
            "Audit records not yet durable",
            self.audit_pending.clone(),
        );
        registry.register(
            "audit_sequence",
            "Number of the last durable audit record",
            self.audit_records.clone(),
        );
        registry.register(
            "audit_counted_requests",
            "Refused requests that were counted instead of recorded, since the start",
            self.audit_counted.clone(),
        );
        registry.register_with_unit(
            "audit_log",
            "Size of the audit log",
            Unit::Bytes,
            self.audit_bytes.clone(),
        );
        registry.register_with_unit(
            "disk_free",
            "Free room in the file system of the data directory",
            Unit::Bytes,
            self.disk_free.clone(),
        );
        registry.register_with_unit(
            "disk_until_reserve",
            "Free room until only administration is served",
            Unit::Bytes,
            self.disk_until_reserve.clone(),
        );
        registry.register("device_up", "1 if the device is in service", self.device_up.clone());
        registry.register(
            "device_in_flight",
            "Calls under way on the device",
            self.device_in_flight.clone(),
        );
        registry.register("key_pairs", "Key pairs of slow specs in stock", self.key_pairs.clone());
        registry.register(
            "key_pairs_wanted",
            "Requests that wait for a key pair",
            self.key_pairs_wanted.clone(),
        );
    }

    /// Counts a finished request. Unknown operations share one label, so that clients cannot
    /// make labels.
    pub fn request(&self, operation: Option<&'static str>, code: &'static str, took: Duration) {
        let operation = operation.unwrap_or("unknown");
        self.requests.get_or_create(&RequestLabels { operation, code }).inc();
        self.latency.get_or_create(&OperationLabel { operation }).observe(took.as_secs_f64());
    }

    /// The connections, to be counted by who accepts them.
    #[must_use]
    pub fn connections(&self) -> ConnectionMetrics {
        self.connections.clone()
    }

    /// What authorizations take, to be counted by who decides.
    #[must_use]
    pub fn authorization(&self) -> Times {
        self.authorization.clone()
    }

    /// Sets what is known of a device.
    pub fn device(&self, region: &str, name: &str, in_service: bool, in_flight: usize) {
        let label = DeviceLabel { region: region.to_owned(), device: name.to_owned() };
        self.device_up.get_or_create(&label).set(i64::from(in_service));
        let in_flight = i64::try_from(in_flight).unwrap_or(i64::MAX);
        self.device_in_flight.get_or_create(&label).set(in_flight);
    }

    /// Sets what is known of the stock of key pairs of one spec and purpose.
    pub fn key_pairs(&self, region: &str, stock: &StockLevel) {
        let count = |value| i64::try_from(value).unwrap_or(i64::MAX);
        let spec = stock.spec.aws_name().unwrap_or_default();
        let purpose = stock.purpose.name().unwrap_or_default();
        let label = PairLabel { region: region.to_owned(), spec, purpose };
        self.key_pairs.get_or_create(&label).set(count(stock.level));
        self.key_pairs_wanted.get_or_create(&label).set(count(stock.waiting));
    }

    /// The page that Prometheus scrapes.
    #[must_use]
    pub fn render(&self, readiness: &dyn Readiness, audit: &AuditLog) -> String {
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.ready.set(i64::from(readiness.observe(self)));
        self.audit_pending.set(count(audit.pending()));
        self.audit_records.set(count(audit.sequence()));
        self.audit_counted.set(count(audit.counted()));
        self.audit_bytes.set(count(audit.size()));
        let room = audit.room().unwrap_or_default();
        self.disk_free.set(count(room.free));
        self.disk_until_reserve.set(count(room.until_reserve));
        let mut text = String::new();
        if let Ok(registry) = self.registry.lock() {
            // Writing to a string does not fail.
            let _ = encode(&mut text, &registry);
        }
        text
    }
}
