//! The state of the daemon, as `/readyz` answers and `kmsctl status` shows it.
//!
//! `/readyz` answers anybody. So it says `DIR` for the data directory, and of the last backup only of
//! when it is: where it lies and what it holds is in a file of the data directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hsm_protocol::domain::Kind;
use serde_json::Value;

use crate::cluster::Clusters;
use crate::config::Config;
use crate::freshness;
use crate::metrics::{Metrics, Readiness};
use crate::proxy::Proxies;
use crate::regions::Regions;
use crate::trail::Trails;
use kms_audit::AuditLog;
use kms_base::memory;
use kms_base::space::Level;
use kms_installation::backup::Snapshots;
use kms_installation::devices::{DeviceReport, Fleet, in_words, report};
use kms_installation::last_backup::LastBackup;
use kms_installation::loss::losses;
use kms_installation::report::{
    ANY_DIR, BackupTold, ClusterReport, RewrapReport, Status, TokenReport, TrailReport, XksReport,
    replace_in_texts,
};
use kms_keys::Catalog;
use kms_store::Store;

/// How often the store is asked whether it answers.
const PROBE: Duration = Duration::from_secs(5);

/// Watches the parts of a running daemon.
pub struct DaemonStatus {
    data: Option<PathBuf>,
    instance: String,
    region: String,
    account: String,
    development: bool,
    begin: Instant,
    audit: Arc<AuditLog>,
    regions: Arc<Regions>,
    store: Arc<dyn Store>,
    store_available: AtomicBool,
    fleet: Option<Arc<Fleet>>,
    catalog: Option<Arc<Catalog>>,
    backups: Option<Arc<Snapshots>>,
    last_backup: Mutex<Option<LastBackup>>,
    trails: Option<Arc<Trails>>,
    proxies: Option<Arc<Proxies>>,
    clusters: Option<Arc<Clusters>>,
}

impl DaemonStatus {
    /// The status of a daemon made of these parts.
    #[must_use]
    pub fn new(
        config: &Config,
        audit: Arc<AuditLog>,
        regions: Arc<Regions>,
        store: Arc<dyn Store>,
    ) -> Self {
        Self {
            data: None,
            instance: String::new(),
            region: config.region.clone(),
            account: config.account.clone(),
            development: config.development.is_some(),
            begin: Instant::now(),
            audit,
            regions,
            store,
            store_available: AtomicBool::new(true),
            fleet: None,
            catalog: None,
            backups: None,
            last_backup: Mutex::default(),
            trails: None,
            proxies: None,
            clusters: None,
        }
    }

    /// The same, which tells of what devices have left behind.
    #[must_use]
    pub fn with_fleet(mut self, fleet: Arc<Fleet>) -> Self {
        self.fleet = Some(fleet);
        self
    }

    /// The same, which tells how many keys would be lost with a device.
    #[must_use]
    pub fn with_keys(mut self, catalog: Arc<Catalog>) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// The same, which knows of a backup as soon as it has come to its end.
    #[must_use]
    pub fn with_backups(self, backups: Option<Arc<Snapshots>>) -> Self {
        Self { backups, ..self }
    }

    /// The same, of the installation in this directory, whose path is told nobody.
    #[must_use]
    pub fn in_directory(self, data: &Path) -> Self {
        Self { data: Some(data.to_owned()), ..self }
    }

    /// The same, which tells how far trails are delivered.
    #[must_use]
    pub fn with_trails(mut self, trails: Arc<Trails>) -> Self {
        self.trails = Some(trails);
        self
    }

    /// The same, which tells how it stands with external key stores, if any may be called.
    #[must_use]
    pub fn with_proxies(self, proxies: Option<Arc<Proxies>>) -> Self {
        Self { proxies, ..self }
    }

    /// The same, with the clusters of PKCS#11 tokens that are used.
    #[must_use]
    pub fn with_clusters(self, clusters: Option<Arc<Clusters>>) -> Self {
        Self { clusters, ..self }
    }

    /// Names the installation.
    #[must_use]
    pub fn of_instance(self, instance: String) -> Self {
        Self { instance, ..self }
    }

    /// Asks the store now and then whether it answers, until the task is aborted.
    pub async fn watch_store(self: Arc<Self>) {
        let _ = self.keys(); // begins to count them
        let mut first = true;
        loop {
            let answer = self.store.get(b"readiness").await;
            let available = answer.is_ok();
            // A store that does not respond is reported below.
            if available && let Ok(last) = LastBackup::read(&*self.store).await {
                if first || *self.last_backup() != last {
                    first = !self.note(last.as_ref());
                }
                *self.last_backup() = last;
            }
            if self.store_available.swap(available, Ordering::AcqRel) != available {
                match answer {
                    Ok(_) => tracing::info!("the store answers again"),
                    Err(error) => tracing::error!(%error, "the store does not answer"),
                }
            }
            tokio::time::sleep(PROBE).await;
        }
    }

    /// Writes what is known about the last backup for users who can read the data directory; whether that is done.
    fn note(&self, last: Option<&LastBackup>) -> bool {
        self.data.as_ref().is_none_or(|data| LastBackup::note(data, last))
    }

    /// The last backup, also one that has just come to its end.
    fn known_backup(&self) -> Option<LastBackup> {
        let made = self.backups.as_ref().and_then(|backups| backups.last());
        made.or_else(|| self.last_backup().clone())
    }

    /// Keys by Region, once they are counted.
    fn keys(&self) -> Option<BTreeMap<String, u64>> {
        let counted = self.catalog.as_ref()?.counted()?;
        let mut keys = BTreeMap::new();
        for ((region, _), count) in counted {
            *keys.entry(region).or_default() += count;
        }
        Some(keys)
    }

    fn last_backup(&self) -> MutexGuard<'_, Option<LastBackup>> {
        lock(&self.last_backup)
    }

    /// The state now.
    #[must_use]
    pub fn now(&self) -> Status {
        let pools = self.regions.pools();
        let pools: Vec<_> =
            pools.into_iter().map(|(region, pool)| (region, pool.health())).collect();
        let devices: Vec<_> =
            pools.iter().flat_map(|(region, health)| report(region, health)).collect();
        let last_backup = self.known_backup();
        let losses = losses(&pools, self.keys().as_ref(), last_backup.as_ref());
        let is_fresh = freshness::is_fresh(&*self.store);
        let store_available = self.store_available.load(Ordering::Acquire) && is_fresh;
        let audit_writable = self.audit.is_writable();
        let serves = |region: &String| {
            devices.iter().any(|device| device.region == *region && device.in_service)
        };
        let in_service = pools.iter().all(|(region, _)| serves(region));
        let room = self.audit.room().unwrap_or_default();
        let has_room = room.level != Level::Reserve;
        let tip = self.audit.tip();
        let ruled_by_a_file = devices
            .iter()
            .filter(|device| device.domain_kind.as_deref() == Some(in_words(Kind::Development)));
        let mut development_domains: Vec<String> =
            ruled_by_a_file.map(|device| device.region.clone()).collect();
        development_domains.dedup();
        Status {
            development_domains,
            ready: in_service && store_available && audit_writable && has_room,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance.clone(),
            region: self.region.clone(),
            account: self.account.clone(),
            development: self.development,
            uptime_seconds: self.begin.elapsed().as_secs(),
            store_available,
            audit_writable,
            audit_sequence: tip.sequence,
            audit_position: format!("{}:{}", tip.sequence, tip.hash),
            audit_pending: self.audit.pending(),
            memory_locked: memory::is_locked(),
            audit_bytes: self.audit.size().bytes,
            disk_space: room.level,
            disk_free_bytes: room.free,
            disk_until_reserve_bytes: room.until_reserve,
            problems: self.problems(&devices),
            devices,
            peers: self.regions.peers().reports(),
            last_backup: last_backup.map(|last| BackupTold { created: last.created }),
            trails: self.trail_reports(),
            external_stores: self.external_stores(),
            clusters: self.cluster_reports(),
            rewraps: self.rewraps(),
            losses,
        }
    }
}

impl DaemonStatus {
    fn trail_reports(&self) -> Vec<TrailReport> {
        self.trails.as_ref().map(|trails| trails.reports()).unwrap_or_default()
    }

    fn external_stores(&self) -> Vec<XksReport> {
        self.proxies.as_ref().map(|proxies| proxies.reports()).unwrap_or_default()
    }

    fn cluster_reports(&self) -> Vec<ClusterReport> {
        self.clusters.as_ref().map(|clusters| clusters.reports()).unwrap_or_default()
    }

    /// Those of Regions whose domain has another key than its first.
    fn rewraps(&self) -> Vec<RewrapReport> {
        let mut reports = self.regions.rewraps();
        reports.retain(|report| report.active_key > 1);
        reports
    }

    fn problems(&self, devices: &[DeviceReport]) -> Vec<String> {
        let out = devices.iter().filter(|device| !device.in_service).map(|device| {
            let DeviceReport { region, name, state, last_error, .. } = device;
            let error = last_error.as_deref().unwrap_or("no error yet");
            if let Some(reason) = &device.quarantined {
                return format!(
                    "{name} of {region} is QUARANTINED and takes no calls: {reason}; look at it, then \
                     `kmsctl device resume {name} --region {region}`"
                );
            }
            if device.drained {
                return format!(
                    "{name} of {region} is {state}, as was asked for; `kmsctl device resume {name} --region \
                     {region}` brings it back"
                );
            }
            format!("{name} of {region} is not in service ({state}): {error}")
        });
        let retired = self.fleet.iter().flat_map(|fleet| fleet.retired());
        let strays = self.fleet.iter().flat_map(|fleet| fleet.strays());
        let left = retired.map(|flash| flash.explain()).chain(strays.map(|stray| stray.explain()));
        let failing = self.trail_reports().into_iter().filter(|trail| !trail.delivered);
        let trails = failing.map(|TrailReport { arn, lag_seconds, .. }| {
            format!(
                "{arn} has not been delivered for {lag_seconds} s, and is tried again; `aws cloudtrail \
                 get-trail-status --name {arn}` and the daemon's log say why"
            )
        });
        let rewraps = self.rewraps().into_iter().filter_map(|report| report.problem());
        let silent = self.external_stores().into_iter().filter(|store| !store.answers);
        let stores = silent.map(|XksReport { store, last_error, .. }| {
            let error = last_error.unwrap_or_default();
            format!(
                "the proxy of the external key store {store} does not answer as it should ({error}): \
                 uses of its keys fail, those of others do not; the daemon's log says more"
            )
        });
        let clusters = self.cluster_reports();
        let tokens = clusters.iter().filter_map(|ClusterReport { store, tokens, .. }| {
            let lost = tokens.iter().filter(|token| !token.answers && token.calls > 0);
            let told = |token: &TokenReport| {
                let error = token.last_error.as_deref().unwrap_or_default();
                format!("{} ({error})", token.label)
            };
            let lost: Vec<_> = lost.map(told).collect();
            let effect = match lost.len() {
                0 => return None,
                all if all == tokens.len() => "uses of its keys fail",
                _ => "its keys are used in its other tokens, and none can be made",
            };
            let lost = lost.join(", ");
            Some(format!("tokens of the custom key store {store} do not serve: {lost}; {effect}"))
        });
        let tokens: Vec<_> = tokens.collect();
        let stale = (!freshness::is_fresh(&*self.store)).then(|| {
            "the store has not been heard of for longer than decisions may be old, and requests get \
             DependencyTimeoutException; see whether a majority of the etcd cluster runs and can be reached"
                .to_owned()
        });
        let unwritten = self.audit.failure().map(|error| {
            format!(
                "the audit log cannot be written ({error}), and every request is refused, because it would not be \
                 recorded: fix the disk that the data directory is on. kmsd goes on by itself once the log can be \
                 written, or when it is started again"
            )
        });
        let is_silent = stale.is_none() && !self.store_available.load(Ordering::Acquire);
        // What it says may name the members of a cluster, and anybody may read this.
        let silent = is_silent.then(|| {
            "the store does not answer, and requests that need it fail; it is tried again, and the daemon's log says \
             why"
                .to_owned()
        });
        unwritten
            .into_iter()
            .chain(stale)
            .chain(silent)
            .chain(out)
            .chain(left)
            .chain(trails)
            .chain(rewraps)
            .chain(stores)
            .chain(tokens)
            .collect()
    }
}

/// What it has is replaced whole.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readiness for DaemonStatus {
    fn report(&self) -> (bool, Value) {
        let status = self.now();
        let mut report = serde_json::to_value(&status).unwrap_or_default();
        if let Some(data) = &self.data {
            replace_in_texts(&mut report, &data.display().to_string(), ANY_DIR);
        }
        (status.ready, report)
    }

    fn observe(&self, metrics: &Metrics) -> bool {
        metrics.no_devices();
        for (region, pool) in self.regions.pools() {
            for health in pool.health() {
                metrics.health(&region, &health);
            }
            for stock in pool.stock() {
                metrics.key_pairs(&region, &stock);
            }
        }
        metrics.store_lag(self.store.lag());
        metrics.last_backup(self.known_backup().as_ref());
        metrics.trails(&self.trail_reports());
        metrics.rewraps(&self.regions.rewraps());
        if let Some(clusters) = &self.clusters {
            clusters.observe();
        }
        self.now().ready
    }
}
