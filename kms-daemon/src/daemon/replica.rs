//! Keeps sealed copies of the store on another medium.
//!
//! A copy is an export of one revision. It is made in the background: no request waits for it, and what was
//! acknowledged after its revision is not in it. Copies take at most a tenth of the time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::DaemonError;
use crate::config::{Config, EtcdSettings};
use kms_audit::event_time;
use kms_base::passphrase::Passphrase;
use kms_installation::backup::BackupError;
use kms_installation::transfer::{Exported, Replica, TransferError, store_id};
use kms_store::{EtcdStore, RedbStore, Scan};

/// How much longer than a copy the pause after it is.
const PAUSE: u32 = 9;

/// The copies of a store.
pub(super) struct Copies {
    replica: Arc<Replica>,
    source: Source,
    from: String,
    interval: Duration,
    revision: Gauge<i64, AtomicI64>,
    time: Gauge<f64, AtomicU64>,
    failures: Counter,
}

enum Source {
    Redb(Arc<RedbStore>),
    Etcd(Arc<EtcdStore>),
}

impl Copies {
    /// Those that the configuration asks for, if it does.
    pub(super) fn of(
        config: &Config,
        data: &Path,
        store: &Arc<RedbStore>,
        etcd: Option<&Arc<EtcdStore>>,
    ) -> Result<Option<Arc<Self>>, DaemonError> {
        let Some(settings) = &config.replica else { return Ok(None) };
        let path = &settings.passphrase;
        let content = std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|source| TransferError::File { what: "read", path: path.clone(), source })?;
        let passphrase = Passphrase::of_file(&content)
            .map_err(|error| TransferError::Writing(BackupError::Passphrase(error)))?;
        let source = match etcd {
            Some(etcd) => Source::Etcd(Arc::clone(etcd)),
            None => Source::Redb(Arc::clone(store)),
        };
        let file = || data.join("store.redb").display().to_string();
        Ok(Some(Arc::new(Self {
            replica: Arc::new(Replica::open(&settings.dir, passphrase, data)?),
            source,
            from: config.etcd.as_ref().map_or_else(file, EtcdSettings::place),
            interval: settings.interval,
            revision: Gauge::default(),
            time: Gauge::default(),
            failures: Counter::default(),
        })))
    }

    /// The directory that they are in.
    pub(super) fn replica(&self) -> Arc<Replica> {
        Arc::clone(&self.replica)
    }

    /// Registers what is counted.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "replica_revision",
            "Revision of the store that the last copy has",
            self.revision.clone(),
        );
        registry.register(
            "replica_last_success_timestamp_seconds",
            "When it was last known that the last copy has all of the store",
            self.time.clone(),
        );
        registry.register(
            "replica_failures",
            "Attempts to copy the store that failed",
            self.failures.clone(),
        );
    }

    /// Makes copies until the task is aborted.
    pub(super) async fn run(self: Arc<Self>) {
        let mut said = None;
        loop {
            let begin = Instant::now();
            let (copies, handle) = (Arc::clone(&self), Handle::current());
            // It reads, encrypts and writes for a while.
            let copying = tokio::task::spawn_blocking(move || handle.block_on(copies.copy()));
            match copying.await {
                Ok(Ok(made)) => {
                    if let Some(made) = made {
                        let revision = i64::try_from(made.header.revision).unwrap_or(i64::MAX);
                        self.revision.set(revision);
                        let (bytes, records) = (made.bytes, made.records);
                        tracing::debug!(revision, bytes, records, "the store was copied");
                    }
                    self.time.set(unix_seconds(SystemTime::now()));
                    said = None;
                }
                Ok(Err(error)) => {
                    self.failures.inc();
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        tracing::error!(error = text, "the store cannot be copied; will try again");
                    }
                    said = Some(text);
                }
                Err(_) => return, // the runtime is stopping
            }
            tokio::time::sleep(self.interval.max(PAUSE * begin.elapsed())).await;
        }
    }

    async fn copy(&self) -> Result<Option<Exported>, TransferError> {
        let created = event_time(SystemTime::now());
        let (scan, id) = match &self.source {
            Source::Redb(store) => (Scan::of_redb(store)?, store_id(store)?),
            Source::Etcd(store) => (Scan::of_etcd(Arc::clone(store)).await?, None),
        };
        self.replica.copy(scan, (created, self.from.clone(), id), &mut |_, _| {}).await
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
