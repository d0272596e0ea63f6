//! What is counted of a check of the store.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use kms_installation::report::scrub::Scrub;

/// The last check, as far as this daemon knows it.
#[derive(Default)]
pub(crate) struct ScrubMetrics {
    records: Gauge<i64, AtomicI64>,
    opened: Gauge<i64, AtomicI64>,
    faults: Gauge<i64, AtomicI64>,
    repaired: Gauge<i64, AtomicI64>,
    yields: Counter,
    finished: Gauge<f64, AtomicU64>,
}

impl ScrubMetrics {
    /// Registers all of it.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "scrub_records",
            "Records that the last check of the store has read",
            self.records.clone(),
        );
        registry.register(
            "scrub_opened",
            "Key tokens and sealed secrets that devices have opened in the last check of the store",
            self.opened.clone(),
        );
        registry.register(
            "scrub_faults",
            "Faults that the last check of the store has found and left",
            self.faults.clone(),
        );
        registry.register(
            "scrub_repaired",
            "Damaged records that the last check of the store has repaired from a copy",
            self.repaired.clone(),
        );
        registry.register(
            "scrub_yields",
            "How often a check of the store has waited because every device had something else to do",
            self.yields.clone(),
        );
        registry.register(
            "scrub_last_complete_timestamp_seconds",
            "When the last check of the store came to its end",
            self.finished.clone(),
        );
    }

    /// Counts a wait for a device that has nothing to do.
    pub(super) fn yielded(&self) {
        self.yields.inc();
    }

    /// Shows how far a check is.
    pub(super) fn show(&self, report: &Scrub) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.records.set(number(report.records));
        self.opened.set(number(report.opened));
        self.faults.set(number(report.faults));
        self.repaired.set(number(report.repaired));
        let finished = report.finished.as_deref();
        let finished = finished.and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
        if let Some(finished) = finished {
            self.finished.set(finished.unix_timestamp() as f64);
        }
    }
}
