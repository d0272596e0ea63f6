//! What is counted of PKCS#11 tokens. Labels are those of clusters that the operator has registered, and names of
//! [`Fault`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kms_pkcs11::{Fault, Watch};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use kms_keys::custom_store::Cluster;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    cluster: String,
    token: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    cluster: String,
    token: String,
    failure: &'static str,
}

/// Counts of what tokens do; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct TokenMetrics {
    up: Family<TokenLabels, Gauge>,
    pin_refused: Family<TokenLabels, Gauge>,
    time: Family<TokenLabels, Histogram>,
    failures: Family<FailureLabels, Counter>,
    restarts: Family<TokenLabels, Counter>,
}

impl Default for TokenMetrics {
    fn default() -> Self {
        // 0.25 ms to 8 s: SoftHSM2 needs half a millisecond, and `--pkcs11-timeout` is 2 s by default.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        Self {
            up: Family::default(),
            pin_refused: Family::default(),
            time: Family::new_with_constructor(buckets),
            failures: Family::default(),
            restarts: Family::default(),
        }
    }
}

impl TokenMetrics {
    /// Registers all of it.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "pkcs11_token_up",
            "1 if the last call to a token of a connected custom key store was answered; absent before the \
             first one",
            self.up.clone(),
        );
        registry.register(
            "pkcs11_token_pin_refused",
            "1 if a token refuses the password of its custom key store, until it takes one or somebody \
             disconnects the store",
            self.pin_refused.clone(),
        );
        registry.register_with_unit(
            "pkcs11_token_call_duration",
            "Time that a call to a token took, without that of waiting for other calls",
            Unit::Seconds,
            self.time.clone(),
        );
        registry.register(
            "pkcs11_token_failures",
            "Calls to a token that failed, by what failed; wrong ciphertexts are not among them",
            self.failures.clone(),
        );
        registry.register(
            "pkcs11_token_restarts",
            "Processes of a token's module that took the place of one that had served",
            self.restarts.clone(),
        );
    }

    /// What counts the calls to a token, from a new connection on.
    pub(super) fn of(&self, cluster: &Cluster, token: &str) -> Arc<dyn Watch> {
        let labels = TokenLabels { cluster: cluster.id.clone(), token: token.to_owned() };
        // Shown from the beginning: an increase from nothing is not seen.
        let _ = self.restarts.get_or_create(&labels);
        Arc::new(OfToken { metrics: self.clone(), labels, served: AtomicBool::new(false) })
    }

    /// Sets which tokens serve, and forgets all others.
    pub(super) fn show(&self, tokens: impl Iterator<Item = (String, String, bool)>) {
        self.up.clear();
        for (cluster, token, serves) in tokens {
            self.up.get_or_create(&TokenLabels { cluster, token }).set(i64::from(serves));
        }
    }

    /// Says nothing more about the password of a cluster whose store somebody has disconnected.
    pub(super) fn disconnected(&self, cluster: &Cluster) {
        for token in &cluster.tokens {
            let labels = TokenLabels { cluster: cluster.id.clone(), token: token.clone() };
            self.pin_refused.remove(&labels);
        }
    }

    /// Says nothing more about a cluster that was removed.
    pub(super) fn removed(&self, cluster: &Cluster) {
        self.disconnected(cluster);
        for token in &cluster.tokens {
            let labels = TokenLabels { cluster: cluster.id.clone(), token: token.clone() };
            self.time.remove(&labels);
            self.restarts.remove(&labels);
            for failure in Fault::NAMES {
                let TokenLabels { cluster, token } = labels.clone();
                self.failures.remove(&FailureLabels { cluster, token, failure });
            }
        }
    }
}

/// What counts the calls to one token.
#[derive(Debug)]
struct OfToken {
    metrics: TokenMetrics,
    labels: TokenLabels,
    /// Whether a process has logged in before.
    served: AtomicBool,
}

impl Watch for OfToken {
    fn called(&self, took: Duration, fault: Option<&Fault>) {
        if fault.is_none_or(Fault::was_asked) {
            self.metrics.time.get_or_create(&self.labels).observe(took.as_secs_f64());
        }
        let Some(fault) = fault else { return };
        let TokenLabels { cluster, token } = self.labels.clone();
        let labels = FailureLabels { cluster, token, failure: fault.name() };
        self.metrics.failures.get_or_create(&labels).inc();
        if fault.is_about_pin() {
            self.metrics.pin_refused.get_or_create(&self.labels).set(1);
        }
    }

    fn opened(&self) {
        self.metrics.pin_refused.get_or_create(&self.labels).set(0);
        if self.served.swap(true, Ordering::Relaxed) {
            self.metrics.restarts.get_or_create(&self.labels).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prometheus_client::encoding::text::encode;

    use kms_base::clock::Timestamp;

    use super::*;

    fn page(metrics: &TokenMetrics) -> String {
        let (mut registry, mut page) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        encode(&mut page, &registry).unwrap();
        page
    }

    #[test]
    fn nothing_is_left_of_a_cluster_that_was_removed() {
        let cluster = Cluster {
            id: "cluster-abcdefghijk".to_owned(),
            module: "/a.so".to_owned(),
            tokens: vec!["ada".to_owned()],
            trust_anchor: String::new(),
            single: true,
            created: Timestamp::from_millis(1),
            serials: BTreeMap::new(),
        };
        let metrics = TokenMetrics::default();
        let watch = metrics.of(&cluster, "ada");
        watch.opened();
        watch.called(Duration::from_millis(1), None);
        watch.called(Duration::from_millis(2), Some(&Fault::TimedOut));
        watch.called(Duration::ZERO, Some(&Fault::Resting));
        watch.opened();
        watch.called(Duration::ZERO, Some(&Fault::WrongPin));
        metrics.show([(cluster.id.clone(), "ada".to_owned(), false)].into_iter());
        let labels = "{cluster=\"cluster-abcdefghijk\",token=\"ada\"";
        let shown = page(&metrics);
        for line in [
            format!("pkcs11_token_up{labels}}} 0"),
            format!("pkcs11_token_pin_refused{labels}}} 1"),
            format!("pkcs11_token_call_duration_seconds_count{labels}}} 3"),
            format!("pkcs11_token_restarts_total{labels}}} 1"),
            format!("pkcs11_token_failures_total{labels},failure=\"TimedOut\"}} 1"),
            format!("pkcs11_token_failures_total{labels},failure=\"ProcessResting\"}} 1"),
        ] {
            assert!(shown.contains(&line), "{line}: {shown}");
        }
        metrics.disconnected(&cluster);
        assert!(!page(&metrics).contains("pin_refused{"));
        metrics.removed(&cluster);
        metrics.show(std::iter::empty());
        assert!(!page(&metrics).contains("ada"), "{}", page(&metrics));
    }
}
