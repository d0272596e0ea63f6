//! What is counted of proxies, under the names that AWS KMS has for it.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::Failure;
use kms_xks::Health;

const SECONDS_OF_DAY: f64 = 86_400.0;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabel {
    store: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    store: String,
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    store: String,
    operation: &'static str,
    error: &'static str,
    retryable: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    store: String,
    state: &'static str,
}

/// Counts of calls to proxies; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct ProxyMetrics {
    latency: Family<CallLabels, Histogram>,
    errors: Family<ErrorLabels, Counter>,
    credential_age: Family<StoreLabel, Gauge<f64, AtomicU64>>,
    certificate_days: Family<StoreLabel, Gauge<f64, AtomicU64>>,
    states: Family<StateLabels, Gauge>,
}

impl Default for ProxyMetrics {
    fn default() -> Self {
        // 1 ms to 8 s: the limit is 250 ms, unless the operator has chosen another one.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        Self {
            latency: Family::new_with_constructor(buckets),
            errors: Family::default(),
            credential_age: Family::default(),
            certificate_days: Family::default(),
            states: Family::default(),
        }
    }
}

impl ProxyMetrics {
    /// Registers all of it.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "xks_proxy_latency",
            "Time that an external key store proxy took to respond, or until the call was given up \
             (AWS: XksProxyLatency)",
            Unit::Seconds,
            self.latency.clone(),
        );
        registry.register(
            "xks_proxy_errors",
            "Calls to external key store proxies that failed, by error (AWS: XksProxyErrors)",
            self.errors.clone(),
        );
        registry.register_with_unit(
            "xks_proxy_credential_age",
            "Since when the credential of an external key store is the same (AWS: \
             XksProxyCredentialAge)",
            Unit::Seconds,
            self.credential_age.clone(),
        );
        registry.register(
            "xks_proxy_certificate_days_to_expire",
            "Days until the certificate ends that an external key store proxy has shown last (AWS: \
             XksProxyCertificateDaysToExpire)",
            self.certificate_days.clone(),
        );
        registry.register(
            "xks_external_key_manager_states",
            "External key managers behind a proxy, by the state that it told last (AWS: \
             XksExternalKeyManagerStates)",
            self.states.clone(),
        );
    }

    /// Counts a call.
    pub(super) fn note(
        &self,
        store: &str,
        operation: &'static str,
        took: Duration,
        failure: Option<&Failure>,
    ) {
        let store = store.to_owned();
        if failure.is_none_or(Failure::was_asked) {
            let labels = CallLabels { store: store.clone(), operation };
            self.latency.get_or_create(&labels).observe(took.as_secs_f64());
        }
        if let Some(failure) = failure {
            let retryable = if failure.is_retryable() { "true" } else { "false" };
            let labels = ErrorLabels { store, operation, error: failure.name(), retryable };
            self.errors.get_or_create(&labels).inc();
        }
    }

    /// Sets the states of key managers.
    pub(super) fn note_health(&self, store: &str, health: Health) {
        for (state, count) in [
            ("ACTIVE", health.active),
            ("DEGRADED", health.degraded),
            ("UNAVAILABLE", health.unavailable),
        ] {
            let labels = StateLabels { store: store.to_owned(), state };
            self.states.get_or_create(&labels).set(i64::from(count));
        }
    }

    /// Sets what time alone changes.
    pub(super) fn observe(&self, store: &str, age: Duration, certificate_end: Option<SystemTime>) {
        let label = StoreLabel { store: store.to_owned() };
        self.credential_age.get_or_create(&label).set(age.as_secs_f64());
        if let Some(end) = certificate_end {
            let left = end.duration_since(SystemTime::now()).unwrap_or_default();
            let days = left.as_secs_f64() / SECONDS_OF_DAY;
            self.certificate_days.get_or_create(&label).set(days);
        }
    }

    /// Says nothing more of a store that is disconnected or gone, but what was counted.
    pub(super) fn forget(&self, store: &str) {
        let label = StoreLabel { store: store.to_owned() };
        self.credential_age.remove(&label);
        self.certificate_days.remove(&label);
        for state in ["ACTIVE", "DEGRADED", "UNAVAILABLE"] {
            self.states.remove(&StateLabels { store: store.to_owned(), state });
        }
    }
}
