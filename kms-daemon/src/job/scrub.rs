//! Reads every record of the store, and has a device open every key token and sealed secret, when an administrator asks
//! for it.
//!
//! A token is checked with the command that rewraps tokens: the device opens it, checks it and seals it again, and the
//! new token is dropped. No command says of a token whether it opens, and none is needed.
//!
//! * How far it is, and what it has found, is in the record [`scrub::KEY`], which is written every [`SAVE`]: a daemon
//!   that was killed goes on from there, and another daemon on the same store as well, once it has the lease.
//! * One token or secret is under way at a time, at most so many in a second, and it [waits](POLITE) while every device
//!   has something to do: the devices are for those who wait.
//! * A damaged record is [repaired](repair) if a copy of the store has what was damaged in it. Nothing else is changed
//!   or removed. A record that somebody changes meanwhile is read again.
//! * What a device does not do now is tried again until it does; only what it refuses for good is a fault.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use host_driver::CallError;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::rewrap::RewrapObserver as _;
use crate::app::App;
use crate::engine::Engine;
use crate::iam::check::secrets;
use kms_audit::event_time;
use kms_base::error::{Exception, KmsError};
use kms_base::record::Record as _;
use kms_installation::report::scrub::{self, Scrub, State};
use kms_installation::transfer::Replica;
use kms_keys::tokens::holder;
use kms_store::{Commit, Entry, Lease, Range, Revision, Store, StoreError, Transaction};

mod metrics;
mod repair;

pub(crate) use self::metrics::ScrubMetrics;
use self::repair::Repair;

/// How often it is looked whether a check was asked for.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is written down how far it is.
const SAVE: Duration = Duration::from_secs(2);
/// The pause after something has failed that can be tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long a token or secret waits at most for a device that has nothing to do. Where devices never rest, the check goes
/// on at this pace.
const POLITE: Duration = Duration::from_secs(1);
/// How often it is looked whether there is such a device.
const GLANCE: Duration = Duration::from_millis(5);
/// Records that are read at a time.
const PAGE: usize = 128;
/// How often a record is read again that others change meanwhile, before it is left.
const TRIES: usize = 8;

/// Why it does not go on now.
#[derive(Debug, thiserror::Error)]
enum ScrubError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the record of the check cannot be read or written: {0}")]
    Record(#[from] kms_base::record::RecordError),
    #[error("the audit log does not accept what devices did: {0}")]
    Audit(String),
    #[error("no device answers: {0}")]
    Device(String),
    /// Somebody has asked for another one, or another daemon does it.
    #[error("another check was begun")]
    Replaced,
}

/// Does what was asked for, until the task is aborted.
pub(crate) async fn run(
    app: Arc<App>,
    (store, copies): (Arc<dyn Store>, Option<Arc<Replica>>),
    lease: Arc<Lease>,
    metrics: Arc<ScrubMetrics>,
) {
    let mut said = None;
    loop {
        lease.held().await;
        let pause = match look(&app, (&store, copies.as_ref()), &lease, &metrics).await {
            Ok(()) => {
                said = None;
                LOOK
            }
            Err(error) => {
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::warn!(error = text, "cannot check the store now, will try again");
                }
                said = Some(text);
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn look(
    app: &App,
    (store, copies): (&Arc<dyn Store>, Option<&Arc<Replica>>),
    lease: &Lease,
    metrics: &ScrubMetrics,
) -> Result<(), ScrubError> {
    let Some(entry) = store.get(scrub::KEY).await?.value else { return Ok(()) };
    let report = Scrub::decode(&entry.value)?;
    metrics.show(&report);
    if report.state == State::Complete {
        return Ok(());
    }
    let mut budget = tokio::time::interval(Duration::from_secs(1) / report.rate.max(1));
    budget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tracing::info!(rate = report.rate, records = report.records, "the store is checked");
    let store = Arc::clone(store);
    let mut walk = Walk {
        app,
        metrics,
        store,
        copies: copies.map(Arc::clone),
        report,
        revision: entry.revision,
        saved: Instant::now(),
        budget,
    };
    let done = walk.walk(lease).await;
    if done.is_err() && !matches!(done, Err(ScrubError::Replaced)) {
        // What was done until then need not be done again.
        walk.save().await?;
    }
    done
}

/// A check under way.
struct Walk<'a> {
    app: &'a App,
    metrics: &'a ScrubMetrics,
    store: Arc<dyn Store>,
    /// Where a damaged record may be whole.
    copies: Option<Arc<Replica>>,
    report: Scrub,
    /// Of the record of it.
    revision: Revision,
    saved: Instant,
    budget: Interval,
}

/// What became of a token or a secret.
enum Check {
    Opened,
    Skipped,
    Refused(String),
}

/// What a record has.
#[derive(Default)]
struct Found {
    opened: u64,
    skipped: u64,
    faults: Vec<(String, String)>,
}

impl Walk<'_> {
    async fn walk(&mut self, lease: &Lease) -> Result<(), ScrubError> {
        loop {
            let after = Some(self.report.after.clone()).filter(|after| !after.is_empty());
            let range = Range { prefix: Vec::new(), after, limit: PAGE };
            let page = self.store.range(range).await?.value;
            for entry in page.entries {
                let key = entry.key.clone();
                let found = self.entry(entry).await?;
                self.report.after = key;
                self.report.records += 1;
                self.report.opened += found.opened;
                self.report.skipped += found.skipped;
                for (name, reason) in found.faults {
                    tracing::error!(name, reason, "a record of the store is damaged");
                    self.report.note(name, reason);
                }
                if self.saved.elapsed() >= SAVE {
                    self.save().await?;
                    if !lease.is_held() {
                        return Ok(());
                    }
                }
            }
            if !page.more {
                break;
            }
        }
        self.report.state = State::Complete;
        self.report.finished = Some(event_time(SystemTime::now()));
        self.save().await?;
        let Scrub { records, opened, skipped, faults, repaired, .. } = self.report;
        tracing::info!(records, opened, skipped, faults, repaired, "the store was checked");
        Ok(())
    }

    /// Writes down how far it is.
    async fn save(&mut self) -> Result<(), ScrubError> {
        let value = self.report.encode()?;
        let transaction = Transaction::new().unchanged(scrub::KEY, self.revision);
        match self.store.commit(transaction.put(scrub::KEY, value)).await? {
            Commit::Conflict => return Err(ScrubError::Replaced),
            Commit::Applied { revision } => self.revision = revision,
        }
        self.saved = Instant::now();
        self.metrics.show(&self.report);
        Ok(())
    }

    /// Checks a record as it is now.
    async fn entry(&mut self, mut entry: Entry) -> Result<Found, ScrubError> {
        for _ in 0..TRIES {
            let found = self.check(&entry).await?;
            if found.faults.is_empty() {
                return Ok(found);
            }
            // Others may have changed it, or removed it with its key.
            match self.store.get(&entry.key).await?.value {
                None => return Ok(Found::default()),
                Some(now) if now.revision == entry.revision => {
                    match self.repair(&now, &found).await? {
                        Repair::Made(repaired) => return Ok(repaired),
                        Repair::Impossible => return Ok(found),
                        // It is read again.
                        Repair::Overtaken => {}
                    }
                }
                Some(now) => entry = now,
            }
        }
        Ok(Found::default())
    }

    async fn check(&mut self, entry: &Entry) -> Result<Found, ScrubError> {
        let Entry { key, value, .. } = entry;
        let mut found = Found::default();
        let name = String::from_utf8_lossy(key).into_owned();
        if let Err(error) = kms_keys::catalog::check(key, value) {
            found.faults.push((name, error.to_string()));
            return Ok(found);
        }
        let held = match holder(key, value) {
            Ok(held) => held,
            Err(error) => {
                found.faults.push((name, error.to_string()));
                return Ok(found);
            }
        };
        if let Some(held) = held {
            let count = held.tokens.len();
            for (n, token) in held.tokens.iter().enumerate() {
                let what = || format!("key token {} of {count}", n + 1);
                let checked = self.token(&held.region, token).await?;
                found.note(checked, &held.name, what);
            }
        }
        match secrets(key, value) {
            Err(error) => found.faults.push((name, error.to_string())),
            Ok(secrets) => {
                for secret in secrets {
                    let checked = self.secret(&secret).await?;
                    found.note(checked, &name, || "the sealed secret".to_owned());
                }
            }
        }
        Ok(found)
    }

    /// Waits until the next token or secret may be given to a device.
    async fn turn(&mut self, engine: &Engine) {
        self.budget.tick().await;
        let (pool, end) = (engine.pool(), Instant::now() + POLITE);
        if pool.is_busy() {
            self.metrics.yielded();
        }
        while pool.is_busy() && Instant::now() < end {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Has a device open a token.
    async fn token(&mut self, region: &str, token: &[u8]) -> Result<Check, ScrubError> {
        let Ok(engine) = self.app.service.regions().engine(region) else {
            return Ok(Check::Skipped);
        };
        self.turn(&engine).await;
        let mut receipts = Vec::new();
        let mut devices = engine.devices(*Uuid::new_v4().as_bytes(), &mut receipts);
        let made = devices.rewrap(token).await.map(drop);
        self.app.audit.rewrapped(&receipts).await.map_err(ScrubError::Audit)?;
        match made {
            Ok(()) => Ok(Check::Opened),
            Err(error) if is_refusal(&error) => Ok(Check::Refused(error.to_string())),
            Err(error) => Err(ScrubError::Device(error.to_string())),
        }
    }

    /// Has a device open a secret.
    async fn secret(&mut self, secret: &crate::iam::check::Secret) -> Result<Check, ScrubError> {
        let Ok(engine) = self.app.service.regions().engine(secret.region()) else {
            return Ok(Check::Skipped);
        };
        self.turn(&engine).await;
        let mut receipts = Vec::new();
        let trace = (*Uuid::new_v4().as_bytes(), &mut receipts);
        let opened = self.app.iam.check_secret(secret, trace).await;
        self.app.audit.rewrapped(&receipts).await.map_err(ScrubError::Audit)?;
        match opened {
            Ok(()) => Ok(Check::Opened),
            Err(error) if is_for_later(&error) => Err(ScrubError::Device(error.to_string())),
            Err(error) => Ok(Check::Refused(error.to_string())),
        }
    }
}

impl Found {
    fn note(&mut self, checked: Check, name: &str, what: impl Fn() -> String) {
        match checked {
            Check::Opened => self.opened += 1,
            Check::Skipped => self.skipped += 1,
            Check::Refused(why) => {
                self.faults.push((name.to_owned(), format!("no device opens {}: {why}", what())));
            }
        }
    }
}

/// Whether a device has answered, and will answer so again.
fn is_refusal(error: &CallError) -> bool {
    !error.retryable() && matches!(error, CallError::Refused { .. } | CallError::BadAnswer(_))
}

/// Whether a device may open it later.
fn is_for_later(error: &KmsError) -> bool {
    matches!(error.exception(), Exception::KeyUnavailable | Exception::DependencyTimeout)
}
