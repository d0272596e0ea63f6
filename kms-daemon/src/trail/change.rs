//! Operations of owners on trails: create, change, delete, start, stop, and show the status.

use super::record::{Span, Trail, TrailId};
use super::target::TargetError;
use super::{Trails, TrailsError, names};

use kms_audit::{AuditLog, Lookup, Page};
use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_base::record::{Record, Version};
use kms_query::{Code, IamError};
use kms_store::{Commit, Range, Transaction};

/// Most trails of an account in a Region, as AWS has it.
const MAX_TRAILS: usize = 5;
/// Most times of logging that are yet to be delivered.
const MAX_SPANS: usize = 64;
/// Most Regions whose digests a trail has.
const MAX_CHAINS: usize = 100;
/// Tries of a change that others interfere with.
const TRIES: usize = 16;

/// What a request says of a trail.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) bucket: Option<String>,
    /// An empty one: none.
    pub(crate) prefix: Option<String>,
    pub(crate) multi_region: Option<bool>,
    pub(crate) global_events: Option<bool>,
    pub(crate) validation: Option<bool>,
}

/// How it stands with a trail.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub(crate) delivered: Option<Timestamp>,
    pub(crate) digest_delivered: Option<Timestamp>,
    pub(crate) attempted: Option<Timestamp>,
    pub(crate) error: Option<String>,
    pub(crate) digest_error: Option<String>,
}

impl From<TrailsError> for IamError {
    fn from(error: TrailsError) -> Self {
        match error {
            TrailsError::NoPlace => {
                Self::new(Code::OperationNotPermittedException, error.to_string())
            }
            error => KmsError::internal(error).into(),
        }
    }
}

impl Trails {
    /// Makes a trail, which does not log yet.
    pub(crate) async fn create(
        &self,
        id: &TrailId,
        settings: &Settings,
    ) -> Result<Trail, IamError> {
        names::trail(&id.name)?;
        let prefix = format!("{}{}/{}/", super::record::TRAILS, id.account, id.region);
        let others = self.list(&prefix).await?;
        if others.iter().any(|other| other.id == *id) {
            return Err(taken(&id.name));
        }
        if others.len() >= MAX_TRAILS {
            let text = format!("An account has up to {MAX_TRAILS} trails in a Region.");
            return Err(IamError::new(Code::MaximumNumberOfTrailsExceededException, text));
        }
        let mut trail = Trail {
            version: Version,
            id: id.clone(),
            bucket: String::new(),
            prefix: None,
            multi_region: false,
            global_events: true,
            validation: false,
            created: self.now(),
            started: None,
            stopped: None,
            // No other trail of its name has had such numbers.
            spans_begun: self.now().as_millis(),
            spans: Vec::new(),
        };
        self.apply(&mut trail, settings).await?;
        let value = trail.encode().map_err(TrailsError::from)?;
        // What a trail of that name may have left is of another one.
        let transaction = Transaction::new()
            .absent(trail.key())
            .put(trail.key(), value)
            .delete(id.progress_key());
        match self.store.commit(transaction).await.map_err(TrailsError::from)? {
            Commit::Applied { .. } => {
                self.changed.send_replace(());
                Ok(trail)
            }
            Commit::Conflict => Err(taken(&id.name)),
        }
    }

    /// Changes what is said of a trail.
    pub(crate) async fn update(
        &self,
        id: &TrailId,
        settings: &Settings,
    ) -> Result<Trail, IamError> {
        let trail = self.find(id).await?;
        let mut checked = trail.clone();
        self.apply(&mut checked, settings).await?;
        self.change(id, |trail| {
            trail.bucket.clone_from(&checked.bucket);
            trail.prefix.clone_from(&checked.prefix);
            trail.multi_region = settings.multi_region.unwrap_or(trail.multi_region);
            trail.global_events = settings.global_events.unwrap_or(trail.global_events);
            trail.validation = settings.validation.unwrap_or(trail.validation);
            consistent(trail)
        })
        .await
    }

    /// Deletes a trail. What was delivered stays.
    pub(crate) async fn delete(&self, id: &TrailId) -> Result<(), IamError> {
        for _ in 0..TRIES {
            let found = self.read(id).await?;
            let (_, revision) = found.ok_or_else(|| missing(id))?;
            let chains = Range { prefix: id.chains().into_bytes(), after: None, limit: MAX_CHAINS };
            let chains = self.store.range(chains).await.map_err(TrailsError::from)?.value.entries;
            let transaction = Transaction::new()
                .unchanged(id.key(), revision)
                .delete(id.key())
                .delete(id.progress_key());
            let transaction =
                chains.into_iter().fold(transaction, |all, chain| all.delete(chain.key));
            let commit = self.store.commit(transaction).await.map_err(TrailsError::from)?;
            if matches!(commit, Commit::Applied { .. }) {
                self.changed.send_replace(());
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Begins to log, unless it does already.
    pub(crate) async fn start(&self, id: &TrailId) -> Result<(), IamError> {
        if self.place.is_none() {
            return Err(TrailsError::NoPlace.into());
        }
        let now = self.now();
        let after = self.audit.sequence();
        // Before the change, so that nothing of it is removed first.
        self.note(id, |state| state.held.get_or_insert(after).to_owned());
        let changed = self.change(id, |trail| {
            if trail.is_logging() {
                return Ok(());
            }
            if trail.spans.len() >= MAX_SPANS {
                let text = "The trail was started and stopped too often to be delivered yet.";
                return Err(IamError::new(Code::ConflictException, text));
            }
            let ended = trail.spans.last().and_then(|last| last.ended).or(trail.stopped);
            let whole = Timestamp::from_millis(now.as_millis() / 1000 * 1000);
            trail.spans_begun += 1;
            let begun = ended.map_or(whole, |ended| whole.max(ended));
            trail.spans.push(Span { number: trail.spans_begun, after, begun, ended: None });
            trail.started = Some(now);
            Ok(())
        });
        changed.await.map(drop)
    }

    /// Ends to log, unless it does not. What happens in the second of the request is still delivered.
    pub(crate) async fn stop(&self, id: &TrailId) -> Result<(), IamError> {
        let now = self.now();
        let changed = self.change(id, |trail| {
            let Some(span) = trail.spans.last_mut().filter(|span| span.ended.is_none()) else {
                return Ok(());
            };
            let end = (now.as_millis() / 1000 + 2) * 1000;
            let end = end.max(span.begun.as_millis() + 1000);
            span.ended = Some(Timestamp::from_millis(end));
            trail.stopped = Some(now);
            Ok(())
        });
        changed.await.map(drop)
    }

    /// A trail.
    pub(crate) async fn find(&self, id: &TrailId) -> Result<Trail, IamError> {
        let found = self.read(id).await?;
        found.map(|(trail, _)| trail).ok_or_else(|| missing(id))
    }

    /// The trails of an account that are seen in a Region: its own, and those of all Regions.
    pub(crate) async fn seen(&self, account: &str, region: &str) -> Result<Vec<Trail>, IamError> {
        let mut trails = self.of_account(account).await?;
        trails.retain(|trail| trail.multi_region || trail.id.region == region);
        Ok(trails)
    }

    /// The trails of an account.
    pub(crate) async fn of_account(&self, account: &str) -> Result<Vec<Trail>, IamError> {
        Ok(self.list(&format!("{}{account}/", super::record::TRAILS)).await?)
    }

    /// How it stands with a trail.
    pub(crate) async fn status(&self, id: &TrailId) -> Result<(Trail, Status), IamError> {
        let trail = self.find(id).await?;
        let progress = self.progress(id).await?;
        let state = self.note(id, |state| state.clone());
        let (of_digest, text) = match state.error {
            Some((of_digest, text)) => (of_digest, Some(text)),
            None => (false, None),
        };
        let status = Status {
            delivered: progress.as_ref().and_then(|progress| progress.delivered),
            digest_delivered: progress.and_then(|progress| progress.digest_delivered),
            attempted: state.attempted,
            error: text.clone().filter(|_| !of_digest),
            digest_error: text.filter(|_| of_digest),
        };
        Ok((trail, status))
    }

    /// The key of a Region's digests: public half in Base64, fingerprint, and when it was made.
    pub(crate) async fn public_key(
        &self,
        region: &str,
    ) -> Result<Option<(String, String, Timestamp)>, IamError> {
        let key = self.keys.known(region).await?;
        Ok(key.map(|key| (key.public_text(), key.fingerprint(), key.created)))
    }

    /// A page of the history of events.
    pub(crate) async fn look_up(&self, lookup: Lookup) -> Result<Page, IamError> {
        // It is never closed.
        let _turn = self.lookups.acquire().await.ok();
        let audit = std::sync::Arc::clone(&self.audit);
        let found = tokio::task::spawn_blocking(move || AuditLog::look_up(&audit, &lookup)).await;
        Ok(found.map_err(KmsError::internal)?.map_err(KmsError::internal)?)
    }

    /// Checks what a request says and that the bucket is there.
    async fn apply(&self, trail: &mut Trail, settings: &Settings) -> Result<(), IamError> {
        if let Some(bucket) = &settings.bucket {
            names::bucket(bucket)?;
            let place = self.place.as_ref().ok_or(TrailsError::NoPlace)?;
            let probed = async { place.bucket(bucket)?.probe().await };
            probed.await.map_err(|error| match error {
                TargetError::NoBucket { .. } => {
                    IamError::new(Code::S3BucketDoesNotExistException, error.to_string())
                }
                error => IamError::new(Code::ServiceUnavailable, error.to_string()),
            })?;
            trail.bucket.clone_from(bucket);
        }
        match settings.prefix.as_deref() {
            None => {}
            Some("") => trail.prefix = None,
            Some(text) => {
                names::prefix(text)?;
                trail.prefix = Some(text.to_owned());
            }
        }
        trail.multi_region = settings.multi_region.unwrap_or(trail.multi_region);
        trail.global_events = settings.global_events.unwrap_or(trail.global_events);
        trail.validation = settings.validation.unwrap_or(trail.validation);
        consistent(trail)
    }

    async fn change(
        &self,
        id: &TrailId,
        change: impl Fn(&mut Trail) -> Result<(), IamError>,
    ) -> Result<Trail, IamError> {
        for _ in 0..TRIES {
            let found = self.read(id).await?;
            let (mut trail, revision) = found.ok_or_else(|| missing(id))?;
            change(&mut trail)?;
            let value = trail.encode().map_err(TrailsError::from)?;
            let transaction = Transaction::new().unchanged(id.key(), revision).put(id.key(), value);
            let commit = self.store.commit(transaction).await.map_err(TrailsError::from)?;
            if matches!(commit, Commit::Applied { .. }) {
                self.changed.send_replace(());
                return Ok(trail);
            }
        }
        Err(contended())
    }
}

/// As AWS has it: what is about all Regions is about what has none as well.
fn consistent(trail: &Trail) -> Result<(), IamError> {
    if trail.multi_region && !trail.global_events {
        let text = "A multi-Region trail must include global service events.";
        return Err(IamError::new(Code::InvalidParameterCombinationException, text));
    }
    Ok(())
}

fn taken(name: &str) -> IamError {
    let text = format!("Trail {name} already exists.");
    IamError::new(Code::TrailAlreadyExistsException, text)
}

fn missing(id: &TrailId) -> IamError {
    let text = format!("Unknown trail: {} for the user: {}", id.arn(), id.account);
    IamError::new(Code::TrailNotFoundException, text)
}

fn contended() -> IamError {
    IamError::new(Code::ConflictException, "The trail is changed by others; try again.")
}
