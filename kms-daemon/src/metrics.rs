//! Metrics, as Prometheus scrapes them. A scrape costs the same with any number of keys: nothing is
//! read from the store.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use time::OffsetDateTime;

use kms_audit::AuditLog;
use kms_installation::last_backup::LastBackup;
use kms_installation::report::{PeerReport, RewrapReport, TrailReport};
use kms_installation::tls::Served;
use kms_keys::Counted;

mod connections;
mod devices;
mod process;
mod refusals;
mod text;

pub use self::connections::ConnectionMetrics;
use self::devices::DeviceMetrics;
use self::process::Process;
use self::refusals::Lines;
pub use self::refusals::Refusal;
pub use self::text::Form;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabel {
    job: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobResult {
    job: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
    os: &'static str,
    arch: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    region: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    service: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RegionLabel {
    region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrailLabel {
    trail: String,
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

/// All metrics of the daemon.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<OperationLabel, Histogram>,
    authorization: Times,
    connections: ConnectionMetrics,
    jobs: Family<JobResult, Counter>,
    job_time: Family<JobLabel, Counter<f64, AtomicU64>>,
    job_success: Family<JobLabel, Gauge>,
    ready: Gauge,
    audit_pending: Gauge,
    audit_records: Gauge,
    audit_counted: Counter,
    audit_bytes: Gauge,
    audit_writable: Gauge,
    audit_undelivered: Gauge,
    refusals: Family<RefusalLabels, Counter>,
    refusal_lines: Lines,
    keys: Family<KeyLabels, Gauge>,
    store: Option<PathBuf>,
    store_bytes: Gauge,
    store_lag: Gauge<f64, AtomicU64>,
    certificates: Family<CertificateLabel, Gauge<f64, AtomicU64>>,
    /// Where the certificate is shown that may be renewed while the daemon runs.
    served: Vec<(&'static str, Arc<Served>)>,
    peer_up: Family<RegionLabel, Gauge>,
    peer_answered: Family<RegionLabel, Gauge<f64, AtomicU64>>,
    peer_errands: Family<RegionLabel, Gauge>,
    last_backup: Gauge<f64, AtomicU64>,
    trail_up: Family<TrailLabel, Gauge>,
    trail_lag: Family<TrailLabel, Gauge>,
    rewrap_remaining: Family<RegionLabel, Gauge>,
    rewrap_done: Family<RegionLabel, Gauge>,
    rewrap_lost: Family<RegionLabel, Gauge>,
    process: Process,
    disk_free: Gauge,
    disk_until_reserve: Gauge,
    devices: DeviceMetrics,
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
            registry: Mutex::new(Registry::default()),
            requests: Family::default(),
            latency: Family::new_with_constructor(buckets),
            authorization: Times::of_authorization(),
            connections: ConnectionMetrics::default(),
            jobs: Family::default(),
            job_time: Family::default(),
            job_success: Family::default(),
            ready: Gauge::default(),
            audit_pending: Gauge::default(),
            audit_records: Gauge::default(),
            audit_counted: Counter::default(),
            audit_bytes: Gauge::default(),
            audit_writable: Gauge::default(),
            audit_undelivered: Gauge::default(),
            refusals: Family::default(),
            refusal_lines: Lines::default(),
            keys: Family::default(),
            store: None,
            store_bytes: Gauge::default(),
            store_lag: Gauge::default(),
            certificates: Family::default(),
            served: Vec::new(),
            peer_up: Family::default(),
            peer_answered: Family::default(),
            peer_errands: Family::default(),
            last_backup: Gauge::default(),
            trail_up: Family::default(),
            trail_lag: Family::default(),
            rewrap_remaining: Family::default(),
            rewrap_done: Family::default(),
            rewrap_lost: Family::default(),
            process: Process::default(),
            disk_free: Gauge::default(),
            disk_until_reserve: Gauge::default(),
            devices: DeviceMetrics::default(),
        };
        metrics.connections.begin();
        metrics.register();
        metrics
    }

    /// The same, with the size of the store, whose file this is.
    #[must_use]
    pub fn with_store(mut self, file: PathBuf) -> Self {
        self.store = Some(file);
        self
    }

    /// The same, with the end of the certificate that is served where `place` says: `listen` or
    /// `admin`.
    #[must_use]
    pub fn with_served(mut self, place: &'static str, certificate: Arc<Served>) -> Self {
        self.served.push((place, certificate));
        self
    }

    /// Adds what another part counts by itself.
    pub(crate) fn add(&self, register: impl FnOnce(&mut Registry)) {
        let Ok(mut registry) = self.registry.lock() else { return };
        register(registry.sub_registry_with_prefix("strongroom"));
    }

    fn register(&self) {
        let Ok(mut registry) = self.registry.lock() else { return };
        self.process.register(&mut registry);
        let registry = registry.sub_registry_with_prefix("strongroom");
        let build = BuildLabels {
            version: env!("CARGO_PKG_VERSION"),
            commit: kms_installation::COMMIT,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
        };
        registry.register("build", "What runs here", Info::new(build));
        registry.register(
            "refusals",
            "Requests that were refused, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "keys",
            "Keys by Region and state; nothing until they were counted, which the first scrape begins",
            self.keys.clone(),
        );
        registry.register_with_unit(
            "store",
            "Size of the store's file",
            Unit::Bytes,
            self.store_bytes.clone(),
        );
        registry.register_with_unit(
            "store_lag",
            "How old what is known of the store may be; above 0.9 nothing is decided. Always 0 if the store is a file",
            Unit::Seconds,
            self.store_lag.clone(),
        );
        registry.register_with_unit(
            "tls_certificate_expiry_timestamp",
            "When a certificate in use ends, since the epoch: that of clients, of --admin-listen, of \
             the link to other daemons",
            Unit::Seconds,
            self.certificates.clone(),
        );
        registry.register(
            "peer_up",
            "1 if the daemon of another Region answered when it was last asked",
            self.peer_up.clone(),
        );
        registry.register_with_unit(
            "peer_last_answer_timestamp",
            "When it last answered, since the epoch",
            Unit::Seconds,
            self.peer_answered.clone(),
        );
        registry.register(
            "peer_errands",
            "Changes that another Region has yet to be told",
            self.peer_errands.clone(),
        );
        registry.register_with_unit(
            "last_backup_timestamp",
            "Of which moment the last backup is that came to its end, since the epoch; 0 if there is \
             none",
            Unit::Seconds,
            self.last_backup.clone(),
        );
        registry.register(
            "trail_up",
            "1 if what was to be delivered of a trail last was delivered",
            self.trail_up.clone(),
        );
        registry.register_with_unit(
            "trail_lag",
            "Time since that up to which a trail is delivered; less than 10 minutes when all is well",
            Unit::Seconds,
            self.trail_lag.clone(),
        );
        registry.register(
            "rewrap_remaining_tokens",
            "Key tokens that are under former keys of their domain and are to be rewrapped",
            self.rewrap_remaining.clone(),
        );
        registry.register(
            "rewrapped_tokens",
            "Key tokens that were rewrapped since the start",
            self.rewrap_done.clone(),
        );
        registry.register(
            "lost_tokens",
            "Key tokens under keys that their domain does not have any more: they open no more",
            self.rewrap_lost.clone(),
        );
        registry.register(
            "audit_writable",
            "1 if audit records can be written",
            self.audit_writable.clone(),
        );
        registry.register_with_unit(
            "audit_undelivered",
            "Size of closed files of the audit log that are yet to be delivered",
            Unit::Bytes,
            self.audit_undelivered.clone(),
        );
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
        registry.register(
            "job_runs",
            "Runs of what the daemon does by itself, by job and result",
            self.jobs.clone(),
        );
        registry.register_with_unit(
            "job_time",
            "Time that a job has taken in all its runs",
            Unit::Seconds,
            self.job_time.clone(),
        );
        registry.register_with_unit(
            "job_last_success_timestamp",
            "When a job last succeeded, in seconds since 1970",
            Unit::Seconds,
            self.job_success.clone(),
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
        self.devices.register(registry);
    }

    /// Counts a finished request. Unknown operations share one label, so that clients cannot
    /// make labels.
    pub fn request(&self, operation: Option<&'static str>, code: &'static str, took: Duration) {
        let operation = operation.unwrap_or("unknown");
        self.requests.get_or_create(&RequestLabels { operation, code }).inc();
        self.latency.get_or_create(&OperationLabel { operation }).observe(took.as_secs_f64());
    }

    /// Counts a run of something that the daemon does by itself.
    pub(crate) fn job(&self, job: &'static str, succeeded: bool, took: Duration) {
        let result = if succeeded { "success" } else { "failure" };
        self.jobs.get_or_create(&JobResult { job, result }).inc();
        self.job_time.get_or_create(&JobLabel { job }).inc_by(took.as_secs_f64());
        if succeeded {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            self.job_success.get_or_create(&JobLabel { job }).set(now);
        }
    }

    /// Counts a refusal, and writes a line about it, unless there were too many just now.
    pub fn refused(&self, refusal: &Refusal<'_>) {
        let labels = RefusalLabels { service: refusal.service, reason: refusal.reason() };
        self.refusals.get_or_create(&labels).inc();
        self.refusal_lines.write(refusal);
    }

    /// Sets when a certificate in use ends. `certificate` says which: `listen`, `admin` or `link`.
    pub fn certificate(&self, certificate: &'static str, end: SystemTime) {
        let since = end.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.certificates.get_or_create(&CertificateLabel { certificate }).set(since.as_secs_f64());
    }

    /// Sets of which moment the last backup is.
    pub fn last_backup(&self, backup: Option<&LastBackup>) {
        // Never is long ago: alerts that compare with the time see it.
        let created = backup.and_then(LastBackup::time).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let since = Duration::try_from(created - OffsetDateTime::UNIX_EPOCH).unwrap_or_default();
        self.last_backup.set(since.as_secs_f64());
    }

    /// Sets how many keys there are.
    pub fn keys(&self, counted: &Counted) {
        for ((region, state), count) in counted {
            let labels = KeyLabels { region: region.clone(), state: state.name() };
            self.keys.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }

    /// Sets how it stands with the daemons of other Regions.
    pub fn peers(&self, reports: &[PeerReport]) {
        for report in reports {
            let label = RegionLabel { region: report.region.clone() };
            self.peer_up.get_or_create(&label).set(i64::from(report.reachable));
            let errands = i64::try_from(report.errands).unwrap_or(i64::MAX);
            self.peer_errands.get_or_create(&label).set(errands);
            // Never is long ago: alerts that compare with the time see it.
            let since = Duration::from_secs(report.last_answer.unwrap_or(0)).as_secs_f64();
            self.peer_answered.get_or_create(&label).set(since);
        }
    }

    /// Sets how far the trails that log are delivered.
    pub fn trails(&self, reports: &[TrailReport]) {
        // A trail that was stopped does not lag.
        self.trail_up.clear();
        self.trail_lag.clear();
        for report in reports {
            let label = TrailLabel { trail: report.arn.clone() };
            self.trail_up.get_or_create(&label).set(i64::from(report.delivered));
            let lag = i64::try_from(report.lag_seconds).unwrap_or(i64::MAX);
            self.trail_lag.get_or_create(&label).set(lag);
        }
    }

    /// Sets how far key tokens are under the newest keys of their domains.
    pub fn rewraps(&self, reports: &[RewrapReport]) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for report in reports {
            let label = RegionLabel { region: report.region.clone() };
            self.rewrap_remaining.get_or_create(&label).set(number(report.remaining));
            self.rewrap_done.get_or_create(&label).set(number(report.rewrapped));
            self.rewrap_lost.get_or_create(&label).set(number(report.lost));
        }
    }

    /// The connections, counted by the code that accepts them.
    #[must_use]
    pub fn connections(&self) -> ConnectionMetrics {
        self.connections.clone()
    }

    /// The time that authorizations take, counted by the code that decides.
    #[must_use]
    pub fn authorization(&self) -> Times {
        self.authorization.clone()
    }

    /// Notes how old what is known of the store may be.
    pub(crate) fn store_lag(&self, lag: Duration) {
        self.store_lag.set(lag.as_secs_f64());
    }

    /// The page that Prometheus scrapes.
    #[must_use]
    pub fn render(&self, form: Form, readiness: &dyn Readiness, audit: &AuditLog) -> String {
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.ready.set(i64::from(readiness.observe(self)));
        self.audit_pending.set(count(audit.pending()));
        self.audit_records.set(count(audit.sequence()));
        self.audit_counted.inner().store(audit.counted(), Ordering::Relaxed);
        self.audit_writable.set(i64::from(audit.is_writable()));
        let size = audit.size();
        self.audit_bytes.set(count(size.bytes));
        self.audit_undelivered.set(count(size.undelivered));
        let room = audit.room().unwrap_or_default();
        self.disk_free.set(count(room.free));
        self.disk_until_reserve.set(count(room.until_reserve));
        if let Some(file) = self.store.as_ref().and_then(|path| fs::metadata(path).ok()) {
            self.store_bytes.set(count(file.len()));
        }
        for (place, served) in &self.served {
            if let Some(end) = served.not_after() {
                self.certificate(place, end);
            }
        }
        self.process.observe();
        let mut page = String::new();
        if let Ok(registry) = self.registry.lock() {
            // Writing to a string does not fail.
            let _ = encode_registry(&mut page, &registry).and_then(|()| encode_eof(&mut page));
        }
        form.of(page)
    }
}

/// Whether the daemon can serve, for `/readyz` and `/metrics`.
pub trait Readiness: Send + Sync + 'static {
    /// True if requests can be served now, and a report for people and tools.
    fn report(&self) -> (bool, serde_json::Value);

    /// Sets the gauges of devices; true if requests can be served now.
    fn observe(&self, metrics: &Metrics) -> bool;
}
