//! Trails: the audit log's records, delivered as AWS CloudTrail delivers them.
//!
//! A trail has files of records, about every five minutes, and signed digests of these, every hour, in
//! a bucket. Whoever has the bucket and the public key of the digests can tell with
//! `aws cloudtrail validate-logs` that nothing was changed or removed, without the daemon's log.
//!
//! Trails are records of the store ([`record`]); one task for each delivers it ([`deliver`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;

use crate::regions::Regions;
use kms_audit::AuditLog;
use kms_base::clock::{Clock, Timestamp};
use kms_base::error::KmsError;
use kms_base::record::{Record, RecordError};
use kms_installation::report::TrailReport;
use kms_store::{Range, Revision, Store, StoreError};

mod batch;
mod change;
mod deliver;
mod digest;
mod key;
mod names;
pub mod record;
mod target;

pub(crate) use self::change::Settings;
pub(crate) use self::names::identify;
pub use self::target::{Place, TargetError};

use self::deliver::Delivery;
use self::key::DigestKeys;
use self::record::{Progress, TRAILS, Trail, TrailId};
use self::target::Bucket;

/// Batches that are read at the same time.
const READERS: usize = 2;
/// How often the store is looked at for trails that other processes made.
const LOOK: Duration = Duration::from_secs(60);
/// Trails that are read at a time.
const PAGE: usize = 200;

/// How time is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Seconds between files of records.
    pub files: u64,
    /// Seconds between digests: a multiple of that.
    pub digests: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { files: 5 * 60, digests: 60 * 60 }
    }
}

impl Schedule {
    /// The end of the interval that follows this time.
    fn end_after(self, time: Timestamp) -> Timestamp {
        next(time, self.files)
    }

    /// The end of the digest that follows this time.
    fn digest_after(self, time: Timestamp) -> Timestamp {
        next(time, self.digests)
    }

    /// Milliseconds that are waited for the last records of an interval.
    const fn grace(self) -> u64 {
        let half = self.files.saturating_mul(500);
        if half < 2000 { half } else { 2000 }
    }
}

/// The first multiple of so many seconds that is later.
fn next(time: Timestamp, seconds: u64) -> Timestamp {
    let step = seconds.max(1).saturating_mul(1000);
    Timestamp::from_millis((time.as_millis() / step + 1).saturating_mul(step))
}

/// Why trails cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TrailsError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record of it cannot be read.
    #[error("a trail's record cannot be read: {0}")]
    Record(#[from] RecordError),
    /// The daemon has no place for them.
    #[error("kmsd has no place for trails; start it with --trail-store")]
    NoPlace,
}

impl From<TrailsError> for KmsError {
    fn from(error: TrailsError) -> Self {
        Self::internal(error)
    }
}

/// What is known of a delivery beside what the store has.
#[derive(Debug, Clone, Default)]
struct State {
    /// All before this time is delivered.
    window: Option<Timestamp>,
    /// When something was tried last.
    attempted: Option<Timestamp>,
    /// Why it is not delivered; whether that is of a digest.
    error: Option<(bool, String)>,
    /// Lines behind this one are yet to be read.
    held: Option<u64>,
}

/// What trails are made of.
pub struct Setup {
    /// Where they are.
    pub store: Arc<dyn Store>,
    /// Whose devices sign digests.
    pub regions: Arc<Regions>,
    /// What is delivered.
    pub audit: Arc<AuditLog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where buckets are; `None`: nothing is delivered.
    pub place: Option<Place>,
    /// How time is cut.
    pub schedule: Schedule,
}

/// The trails of an installation.
pub struct Trails {
    store: Arc<dyn Store>,
    regions: Arc<Regions>,
    audit: Arc<AuditLog>,
    clock: Arc<dyn Clock>,
    place: Option<Place>,
    schedule: Schedule,
    keys: DigestKeys,
    states: Mutex<BTreeMap<TrailId, State>>,
    /// Told of each change of a trail.
    changed: watch::Sender<()>,
    readers: Semaphore,
    /// Histories that are told at the same time.
    lookups: Semaphore,
}

impl Trails {
    /// The trails of a store. Until [`Trails::run`] has found them, all of the log is held for them.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let Setup { store, regions, audit, clock, place, schedule } = setup;
        audit.hold(0);
        let keys = DigestKeys::new(Arc::clone(&store), Arc::clone(&regions), Arc::clone(&audit));
        Self {
            store,
            regions,
            audit,
            clock,
            place,
            schedule,
            keys,
            states: Mutex::default(),
            changed: watch::Sender::new(()),
            readers: Semaphore::new(READERS),
            lookups: Semaphore::new(READERS),
        }
    }

    /// Delivers all trails, until the task is aborted.
    pub async fn run(self: Arc<Self>) {
        let mut deliveries = JoinSet::new();
        let mut running = BTreeMap::new();
        let mut changes = self.changes();
        let mut said = false;
        loop {
            changes.mark_unchanged();
            while deliveries.try_join_next().is_some() {}
            running.retain(|_, task: &mut tokio::task::AbortHandle| !task.is_finished());
            match self.all().await {
                Ok(all) => {
                    for trail in all {
                        let id = trail.id;
                        if running.contains_key(&id) {
                            continue;
                        }
                        let delivery = Delivery::new(Arc::clone(&self), id.clone());
                        running.insert(id, deliveries.spawn(delivery.run()));
                    }
                    self.hold_least();
                    said = false;
                }
                Err(error) if !said => {
                    tracing::error!(%error, "the trails cannot be read: no new one is delivered");
                    said = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = changes.changed() => {}
                Some(_) = deliveries.join_next() => {}
            }
        }
    }

    /// How it stands with each trail that logs.
    #[must_use]
    pub fn reports(&self) -> Vec<TrailReport> {
        let now = self.now().as_millis();
        let states = self.states();
        let logging = states.iter().filter(|(_, state)| state.held.is_some());
        let report = |(id, state): (&TrailId, &State)| {
            let since = state.window.map_or(0, |window| now.saturating_sub(window.as_millis()));
            TrailReport {
                arn: id.arn(),
                lag_seconds: since / 1000,
                delivered: state.error.is_none(),
            }
        };
        logging.map(report).collect()
    }

    /// All trails, in the order of their accounts, Regions and names. Keeps the log for them.
    async fn all(&self) -> Result<Vec<Trail>, TrailsError> {
        let trails = self.list(TRAILS).await?;
        for trail in &trails {
            let Some(span) = trail.spans.first() else { continue };
            let progress =
                self.progress(&trail.id).await?.filter(|known| known.span == span.number);
            let (at, window) = match progress {
                Some(progress) => (progress.position, progress.window),
                None => (span.after, span.begun),
            };
            self.note(&trail.id, |state| {
                state.held.get_or_insert(at);
                state.window.get_or_insert(window);
            });
        }
        Ok(trails)
    }

    /// The trails whose keys begin like this.
    async fn list(&self, prefix: &str) -> Result<Vec<Trail>, TrailsError> {
        let (mut trails, mut after) = (Vec::new(), None);
        loop {
            let range = Range { prefix: prefix.as_bytes().to_vec(), after, limit: PAGE };
            let page = self.store.range(range).await?.value;
            for entry in &page.entries {
                trails.push(Trail::decode(&entry.value)?);
            }
            if !page.more {
                return Ok(trails);
            }
            after = page.entries.into_iter().last().map(|entry| entry.key);
        }
    }

    /// A trail, and when it was changed last.
    async fn read(&self, id: &TrailId) -> Result<Option<(Trail, Revision)>, TrailsError> {
        let Some(entry) = self.store.get(&id.key()).await?.value else { return Ok(None) };
        Ok(Some((Trail::decode(&entry.value)?, entry.revision)))
    }

    async fn progress(&self, id: &TrailId) -> Result<Option<Progress>, TrailsError> {
        let Some(entry) = self.store.get(&id.progress_key()).await?.value else { return Ok(None) };
        Ok(Some(Progress::decode(&entry.value)?))
    }

    fn bucket(&self, name: &str) -> Result<Bucket, deliver::DeliveryError> {
        let place = self.place.as_ref().ok_or(TrailsError::NoPlace)?;
        Ok(place.bucket(name)?)
    }

    /// Waits for a turn to read from the log.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.readers.acquire().await.ok()
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    const fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Keeps the log behind a position for a trail.
    fn hold(&self, id: &TrailId, position: u64) {
        self.note(id, |state| state.held = Some(position));
        self.hold_least();
    }

    /// A trail needs nothing of the log.
    fn release(&self, id: &TrailId) {
        self.note(id, |state| (state.held, state.window) = (None, None));
        self.hold_least();
    }

    /// There is no such trail any more.
    fn forget(&self, id: &TrailId) {
        self.states().remove(id);
        self.hold_least();
    }

    fn hold_least(&self) {
        let states = self.states();
        let least = states.values().filter_map(|state| state.held).min();
        // Under the lock, so that no older one comes later.
        self.audit.hold(least.unwrap_or(u64::MAX));
    }

    fn note<T>(&self, id: &TrailId, change: impl FnOnce(&mut State) -> T) -> T {
        change(self.states().entry(id.clone()).or_default())
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<TrailId, State>> {
        // A map that is whole between any two of its methods: a panic elsewhere spoils nothing.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
