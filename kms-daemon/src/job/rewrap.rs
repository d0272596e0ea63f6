//! Wraps key tokens anew, under the newest key of their domain.
//!
//! After a domain key was rotated, or a member removed, every key token in the store is still under a former
//! domain key, which whoever was put out may know. So a task for each Region walks over all entries that have
//! tokens ([`tokens::PREFIXES`]) and has a device wrap each token anew, one after another, at a rate that
//! leaves the devices to those who wait for them.
//!
//! * A new token is stored only if the entry is as it was read. Whoever rotates, imports into or deletes the key
//!   meanwhile is first, and the entry is read again.
//! * Nothing has to be remembered of how far it is: what is under the newest key already is passed over. A daemon
//!   that was killed goes on where it was.
//! * Both tokens of a material open until the operators remove the former domain key, so keys work all the while.
//!   That they can be removed is decided in [`crate::regions`], by a count of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use host_driver::CallError;
use hsm_protocol::DomainId;
use hsm_protocol::domain::DomainState;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use crate::engine::Engine;
use crate::regions::Regions;
use host_driver::audit::DeviceReceipt;
use kms_audit::AuditLog;
use kms_base::error::KmsError;
use kms_installation::report::RewrapReport;
use kms_keys::CatalogError;
use kms_keys::tokens::{self, Tally, Walk, holder, place, replaced};
use kms_store::{Commit, Lease, Store, StoreError, Transaction};

/// Tokens a second, if nothing else is configured.
pub const DEFAULT_RATE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// How often a domain is looked at that was not changed here.
const LOOK: Duration = Duration::from_secs(30);
/// The pause after something has failed.
const RETRY: Duration = Duration::from_secs(10);
/// How often an entry is read again that others change meanwhile, before it is left for the next walk.
const TRIES: usize = 8;
/// Entries that could not be rewrapped and are named.
const NAMED: usize = 5;

/// Told of what devices did, before it counts.
pub trait RewrapObserver: Send + Sync + 'static {
    /// Records what devices did to wrap tokens anew. An error leaves the tokens as they are.
    ///
    /// # Errors
    /// A text for the log.
    fn rewrapped(
        &self,
        receipts: &[DeviceReceipt],
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Records that no token is under a former domain key any more.
    ///
    /// # Errors
    /// A text for the log.
    fn finished(&self, report: &RewrapReport) -> impl Future<Output = Result<(), String>> + Send;
}

impl RewrapObserver for AuditLog {
    async fn rewrapped(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        match receipts {
            [] => Ok(()),
            receipts => self.device_entries(receipts).await.map_err(|error| error.to_string()),
        }
    }

    async fn finished(&self, report: &RewrapReport) -> Result<(), String> {
        let RewrapReport { region, domain, active_key, rewrapped, .. } = report;
        let details = json!({
            "region": region, "domain": domain, "domainKey": active_key, "rewrapped": rewrapped,
        });
        self.installation_event("RewrapKeyTokens", &details).await
    }
}

/// Why tokens are not rewrapped now.
#[derive(Debug, thiserror::Error)]
enum RewrapError {
    #[error(transparent)]
    Domain(#[from] KmsError),
    #[error(transparent)]
    Device(#[from] CallError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the audit log does not accept what devices did: {0}")]
    Audit(String),
}

/// Wraps the tokens of all Regions anew, until the task is aborted. At most `rate` tokens of a Region a second. A
/// daemon without the lease counts only what is left.
pub async fn run(
    store: Arc<dyn Store>,
    lease: Arc<Lease>,
    regions: Arc<Regions>,
    rate: NonZeroU32,
    observer: Arc<impl RewrapObserver>,
) {
    let mut running = BTreeSet::new();
    // Those of all Regions end with this one.
    let mut all = JoinSet::new();
    loop {
        for region in regions.names() {
            if running.insert(region.clone()) {
                let task = Task {
                    store: Arc::clone(&store),
                    lease: Arc::clone(&lease),
                    regions: Arc::clone(&regions),
                    observer: Arc::clone(&observer),
                    budget: budget(rate),
                    rate: rate.get(),
                    region,
                    rewrapped: 0,
                    done: None,
                };
                all.spawn(task.run());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// When the next token may be rewrapped.
fn budget(rate: NonZeroU32) -> Interval {
    let mut budget = tokio::time::interval(Duration::from_secs(1) / rate.get());
    budget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    budget
}

/// The tokens of one Region.
struct Task<O> {
    store: Arc<dyn Store>,
    lease: Arc<Lease>,
    regions: Arc<Regions>,
    observer: Arc<O>,
    region: String,
    budget: Interval,
    rate: u32,
    rewrapped: u64,
    /// The domain keys that there were when nothing was left to do.
    done: Option<(DomainId, Vec<u32>)>,
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// So many of its tokens were rewrapped.
    Rewrapped(u64),
    /// It is to be looked at again: others change it, or the device has missed the rotation.
    Later,
    /// No device opens one of its tokens.
    Stuck(String),
}

impl<O: RewrapObserver> Task<O> {
    async fn run(mut self) {
        let mut changes = self.regions.domain_changes();
        let mut said = None;
        loop {
            changes.borrow_and_update();
            let pause = match self.look().await {
                Ok(true) => {
                    said = None;
                    LOOK
                }
                Ok(false) => RETRY,
                Err(error) => {
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        let region = &self.region;
                        tracing::warn!(
                            region,
                            error = text,
                            "cannot rewrap key tokens now, will try again"
                        );
                    }
                    self.note_error(&text);
                    said = Some(text);
                    RETRY
                }
            };
            if wait(&mut changes, pause).await {
                // Whatever was found before: somebody wants to know.
                self.done = None;
            }
        }
    }

    /// Wraps everything anew that is under a former key; whether nothing is left.
    async fn look(&mut self) -> Result<bool, RewrapError> {
        let state = self.regions.domain(&self.region).await?.state;
        let keys: Vec<u32> = state.keys.iter().map(|key| key.id).collect();
        let now = (state.domain, keys);
        if self.done.as_ref() == Some(&now) {
            return Ok(true);
        }
        if !self.regions.is_spread(&self.region, state.version) {
            return Ok(false);
        }
        let engine = self.regions.engine(&self.region)?;
        engine.forget_what_was_sealed().await;
        // The first key of a domain is the only one that its tokens can be under.
        let has_rotated = state.active_key() > 1;
        let before = match has_rotated {
            true => tokens::tally(&*self.store, &self.region).await?,
            false => Tally::default(),
        };
        let report = self.note(&state, &before, None);
        if report.lost > 0 {
            tracing::error!("{}", report.problem().unwrap_or_default());
        }
        if report.remaining == 0 {
            self.done = Some(now);
            return Ok(true);
        }
        if !self.lease.is_held() {
            return Ok(false);
        }
        let RewrapReport { region, active_key, remaining, rate, .. } = &report;
        tracing::info!(region, active_key, remaining, rate, "key tokens are rewrapped");
        let stuck = self.walk(&engine, &state, report.clone()).await?;
        let after = tokens::tally(&*self.store, &self.region).await?;
        let error = (!stuck.is_empty()).then(|| stuck.join("; "));
        let report = self.note(&state, &after, error);
        let RewrapReport { region, active_key, remaining, rewrapped, .. } = &report;
        if *remaining > 0 {
            let error = report.last_error.as_deref().unwrap_or("others were faster");
            tracing::warn!(
                region,
                active_key,
                remaining,
                error,
                "key tokens are left under former domain keys"
            );
            return Ok(false);
        }
        self.observer.finished(&report).await.map_err(RewrapError::Audit)?;
        tracing::info!(
            region,
            active_key,
            rewrapped,
            "no key token is under a former domain key any longer"
        );
        self.done = Some(now);
        Ok(true)
    }

    /// One walk over all entries; the names of those that no device opens, with why.
    async fn walk(
        &mut self,
        engine: &Engine,
        state: &DomainState,
        mut report: RewrapReport,
    ) -> Result<Vec<String>, RewrapError> {
        let (store, region) = (Arc::clone(&self.store), self.region.clone());
        let mut stuck = Vec::new();
        let mut walk = Walk::new(&*store, &region);
        while let Some(entries) = walk.next().await? {
            for entry in entries {
                let Some(found) = holder(&entry.key, &entry.value)? else { continue };
                if !found.tokens.iter().any(|token| is_former(token, state)) {
                    continue;
                }
                match self.rewrap(engine, state, &entry.key).await? {
                    Entry::Rewrapped(count) => {
                        self.rewrapped += count;
                        report.rewrapped = self.rewrapped;
                        report.remaining = report.remaining.saturating_sub(count);
                        self.regions.note_rewrap(report.clone());
                    }
                    Entry::Later => {}
                    Entry::Stuck(why) if stuck.len() < NAMED => {
                        stuck.push(format!("{}: {why}", found.name));
                    }
                    Entry::Stuck(_) => {}
                }
            }
        }
        Ok(stuck)
    }

    /// Wraps the tokens of an entry anew that are under former keys. All of them become durable together.
    async fn rewrap(
        &mut self,
        engine: &Engine,
        state: &DomainState,
        key: &[u8],
    ) -> Result<Entry, RewrapError> {
        for _ in 0..TRIES {
            let Some(entry) = self.store.get(key).await?.value else {
                return Ok(Entry::Rewrapped(0));
            };
            let Some(found) = holder(&entry.key, &entry.value)? else { return Ok(Entry::Later) };
            let former: Vec<_> =
                found.tokens.iter().filter(|token| is_former(token, state)).collect();
            if former.is_empty() {
                return Ok(Entry::Rewrapped(0));
            }
            let mut receipts = Vec::new();
            let made = self.wrap(engine, state, &former, &mut receipts).await;
            // Whatever came of it, devices have entries of it.
            self.observer.rewrapped(&receipts).await.map_err(RewrapError::Audit)?;
            let new = match made {
                Ok(Some(new)) => new,
                Ok(None) => return Ok(Entry::Later),
                Err(error) if error.retryable() || !is_refusal(&error) => return Err(error.into()),
                Err(error) => return Ok(Entry::Stuck(error.to_string())),
            };
            let value = replaced(&entry.key, &entry.value, &new)?;
            let transaction = Transaction::new().unchanged(key, entry.revision).put(key, value);
            if let Commit::Applied { .. } = self.store.commit(transaction).await? {
                self.regions.note_rewrapped();
                return Ok(Entry::Rewrapped(new.len() as u64));
            }
        }
        Ok(Entry::Later)
    }

    /// The new tokens, by the former ones; `None` if the device that was asked has missed the rotation.
    async fn wrap(
        &mut self,
        engine: &Engine,
        state: &DomainState,
        former: &[&Vec<u8>],
        receipts: &mut Vec<DeviceReceipt>,
    ) -> Result<Option<BTreeMap<Vec<u8>, Vec<u8>>>, CallError> {
        let mut new = BTreeMap::new();
        for token in former {
            self.budget.tick().await;
            let mut devices = engine.devices(*Uuid::new_v4().as_bytes(), receipts);
            let made = devices.rewrap(token).await?;
            if is_former(&made, state) {
                return Ok(None);
            }
            new.insert((*token).clone(), made);
        }
        Ok(Some(new))
    }

    /// Notes how far it is, by a count.
    fn note(&self, state: &DomainState, tally: &Tally, error: Option<String>) -> RewrapReport {
        let counted = RewrapReport::counted(&self.region, state, tally);
        let (rewrapped, rate, last_error) = (self.rewrapped, self.rate, error);
        let report = RewrapReport { rewrapped, rate, last_error, ..counted };
        self.regions.note_rewrap(report.clone());
        report
    }

    fn note_error(&self, error: &str) {
        let known = self.regions.rewraps().into_iter().find(|report| report.region == self.region);
        if let Some(report) = known {
            self.regions.note_rewrap(RewrapReport { last_error: Some(error.to_owned()), ..report });
        }
    }
}

/// Whether a token is under a key of the domain that is not the newest one. What is under a key that the domain
/// has no more cannot be helped.
fn is_former(token: &[u8], state: &DomainState) -> bool {
    place(token).is_some_and(|(domain, key)| {
        domain == state.domain
            && key != state.active_key()
            && state.keys.iter().any(|known| known.id == key)
    })
}

/// Whether a device has answered, and will answer so again.
fn is_refusal(error: &CallError) -> bool {
    matches!(error, CallError::Refused { .. } | CallError::BadAnswer(_))
}

/// Waits for a change of a domain, or for so long; whether there was a change.
async fn wait(changes: &mut watch::Receiver<u64>, pause: Duration) -> bool {
    tokio::select! {
        changed = changes.changed() => changed.is_ok(),
        () = tokio::time::sleep(pause) => false,
    }
}
