//! Connections: how many are open, and why the daemon has ended others.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabel {
    reason: &'static str,
}

/// Connections; clones count together.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    pub(super) open: Gauge,
    pub(super) ended: Family<ReasonLabel, Counter>,
}

/// Why connections are ended.
const REASONS: [&str; 6] = ["address", "answers", "refused", "requests", "room", "stalled"];

impl ConnectionMetrics {
    /// Counts of zero for each reason, so that what asks for one finds it before the first.
    pub(super) fn begin(&self) {
        for reason in REASONS {
            let _ = self.ended.get_or_create(&ReasonLabel { reason });
        }
    }

    /// Sets how many there are.
    pub(crate) fn open(&self, count: usize) {
        self.open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts one that the daemon ended.
    pub(crate) fn ended(&self, reason: &'static str) {
        self.ended.get_or_create(&ReasonLabel { reason }).inc();
    }
}
