//! The delivery of one trail.
//!
//! Time is cut into intervals. The records of an interval become files once it is over, one for
//! each Region, and each hour of intervals becomes a digest. The intervals follow one another, also
//! after a time in which the bucket, the devices or the daemon were away: none is skipped, and
//! meanwhile only the place in the log is kept.
//!
//! Names and contents follow from durable data: before the first file of a batch is written, the
//! store records up to which line it goes. After a crash at any point the same files are written
//! again.

use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, Limits, Reading};
use super::digest::digest;
use super::record::{Chain, LogFile, Previous, Progress, Span, Trail, TrailId};
use super::target::TargetError;
use super::{Trails, TrailsError};
use kms_audit::{VerifyError, event_time, file_name};
use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_base::record::{Record, Version};
use kms_store::{Commit, Range, Revision, StoreError, Transaction};

/// How long a failed delivery waits; twice as long each time, up to the second.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Why a delivery failed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("cannot read the audit log: {0}")]
    Log(#[from] VerifyError),
    #[error("cannot sign a digest: {0}")]
    Sign(KmsError),
    #[error(transparent)]
    Trails(#[from] TrailsError),
    #[error("{0}")]
    Other(String),
}

impl From<StoreError> for DeliveryError {
    fn from(error: StoreError) -> Self {
        Self::Trails(error.into())
    }
}

/// What is next.
enum Next {
    /// More, now.
    Again,
    /// Nothing for that long.
    After(Duration),
    /// Nothing until the trail is changed.
    Change,
    /// Nothing any more: there is no such trail.
    Gone,
}

/// Delivers a trail.
pub(super) struct Delivery {
    trails: Arc<Trails>,
    id: TrailId,
    /// As it was committed last, and further where nothing was to be delivered.
    progress: Option<Progress>,
    reading: Option<Reading>,
}

/// The trail as it was read, which must not have changed when something is committed.
struct Current {
    trail: Trail,
    revision: Revision,
}

impl Delivery {
    pub(super) fn new(trails: Arc<Trails>, id: TrailId) -> Self {
        Self { trails, id, progress: None, reading: None }
    }

    /// Delivers until there is no such trail.
    pub(super) async fn run(mut self) {
        let mut changes = self.trails.changes();
        let mut patience = PATIENCE.0;
        loop {
            changes.mark_unchanged();
            let wait = match self.step().await {
                Ok(Next::Gone) => return self.trails.forget(&self.id),
                Ok(next) => {
                    self.trails.note(&self.id, |state| state.error = None);
                    patience = PATIENCE.0;
                    match next {
                        Next::Again | Next::Gone => continue,
                        Next::After(time) => Some(time),
                        Next::Change => None,
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    let wait = patience;
                    patience = (2 * patience).min(PATIENCE.1);
                    Some(wait)
                }
            };
            let sleep = async {
                match wait {
                    Some(time) => tokio::time::sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Delivers what is due.
    #[cfg(test)]
    pub(super) async fn settle(&mut self) -> Result<(), DeliveryError> {
        while let Next::Again = self.step().await? {}
        Ok(())
    }

    fn failed(&mut self, error: &DeliveryError) {
        let (text, arn) = (error.to_string(), self.id.arn());
        let of_digest = matches!(error, DeliveryError::Sign(_));
        let new = self.trails.note(&self.id, |state| {
            state.attempted = Some(self.trails.now());
            let known = state.error.replace((of_digest, text.clone()));
            known.is_none_or(|(_, known)| known != text)
        });
        if new {
            tracing::error!(trail = arn, error = text, "a trail is not delivered; trying again");
        }
        // What was read is read again from what is durable.
        (self.progress, self.reading) = (None, None);
    }

    async fn step(&mut self) -> Result<Next, DeliveryError> {
        let Some((trail, revision)) = self.trails.read(&self.id).await? else {
            return Ok(Next::Gone);
        };
        let current = Current { trail, revision };
        let Some(span) = current.trail.spans.first().cloned() else {
            self.trails.release(&self.id);
            return Ok(Next::Change);
        };
        let mut progress = self.progress(&span).await?;
        self.trails.hold(&self.id, progress.position);
        let next = self.advance(&current, &span, &mut progress).await;
        // Only what is committed, or delivers nothing, may be gone on from.
        match next {
            Ok(Some(next)) => {
                self.trails.note(&self.id, |state| state.window = Some(progress.window));
                self.progress = Some(progress);
                Ok(next)
            }
            // Somebody has changed the trail: decide anew.
            Ok(None) => {
                (self.progress, self.reading) = (None, None);
                Ok(Next::Again)
            }
            Err(error) => Err(error),
        }
    }

    /// Delivers up to the next commit, or to the present; `None` if the trail was changed meanwhile.
    async fn advance(
        &mut self,
        current: &Current,
        span: &Span,
        progress: &mut Progress,
    ) -> Result<Option<Next>, DeliveryError> {
        let schedule = self.trails.schedule();
        loop {
            let now = self.trails.now();
            let regular = schedule.end_after(progress.window);
            let end = span.ended.map_or(regular, |ended| regular.min(ended));
            let over = span.ended == Some(end);
            let due = end.as_millis().saturating_add(schedule.grace());
            if let wait @ 1.. = due.saturating_sub(now.as_millis()) {
                return Ok(Some(Next::After(Duration::from_millis(wait))));
            }
            let limits = Limits {
                end: event_time(end.into()),
                now: event_time(now.into()),
                cut: progress.cut,
            };
            let batch = self.batch(&current.trail, progress.position, limits).await?;
            for gap in &batch.gaps {
                tracing::error!(trail = self.id.arn(), gap, "the log lacks records of a trail");
            }
            let full = batch.full;
            if batch.files.is_empty() {
                (progress.position, progress.cut) = (batch.to, None);
            } else {
                if progress.cut.is_none() {
                    progress.cut = Some(batch.to);
                    if !self.commit(current, progress, &[]).await? {
                        return Ok(None);
                    }
                }
                if !self.deliver(current, span, progress, batch, end).await? {
                    return Ok(None);
                }
            }
            if full {
                return Ok(Some(Next::Again));
            }
            progress.window = end;
            if over || end >= schedule.digest_after(progress.digested) {
                let ended = self.end_digests(current, span, progress, (end, over)).await?;
                return Ok(ended.then_some(Next::Again));
            }
        }
    }

    async fn batch(
        &mut self,
        trail: &Trail,
        position: u64,
        limits: Limits,
    ) -> Result<Batch, DeliveryError> {
        let _turn = self.trails.turn().await;
        let known = self.reading.take().filter(|known| known.position() == position);
        let (trail, audit) = (trail.clone(), Arc::clone(&self.trails.audit));
        let read = tokio::task::spawn_blocking(move || {
            let mut reading = match known {
                Some(known) => known,
                None => Reading::behind(audit.directory(), position)?,
            };
            let batch = reading.batch(&trail, audit.place(), &limits)?;
            Ok::<_, VerifyError>((reading, batch))
        });
        let (reading, batch) =
            read.await.map_err(|error| DeliveryError::Other(error.to_string()))??;
        self.reading = Some(reading);
        Ok(batch)
    }

    /// Writes the files of a batch and commits that.
    async fn deliver(
        &mut self,
        current: &Current,
        span: &Span,
        progress: &mut Progress,
        batch: Batch,
        end: Timestamp,
    ) -> Result<bool, DeliveryError> {
        let trail = &current.trail;
        let bucket = self.trails.bucket(&trail.bucket)?;
        let (time, root) =
            (event_time(end.into()), format!("{} {}", self.id.arn(), progress.position));
        let mut chains = Vec::new();
        for (region, content, summary) in batch.files {
            let object = trail.object(&file_name((&self.id.account, &region), &time, &root));
            bucket.put(&object, content, None).await?;
            if trail.validation {
                let mut chain = self.chain(span, &region, progress.digested).await?;
                chain.files.push(LogFile {
                    bucket: trail.bucket.clone(),
                    object,
                    hash: summary.sha256,
                    newest: summary.newest,
                    oldest: summary.oldest,
                });
                chains.push(chain);
            }
        }
        let now = self.trails.now();
        (progress.position, progress.cut) = (batch.to, None);
        progress.delivered = Some(now);
        let committed = self.commit(current, progress, &chains).await?;
        if committed {
            self.trails.hold(&self.id, progress.position);
            self.trails.note(&self.id, |state| state.attempted = Some(now));
        }
        Ok(committed)
    }

    /// Writes the digests that end at `end`, and commits that; the span is gone if it is `over`.
    async fn end_digests(
        &mut self,
        current: &Current,
        span: &Span,
        progress: &mut Progress,
        (end, over): (Timestamp, bool),
    ) -> Result<bool, DeliveryError> {
        let trail = &current.trail;
        if trail.validation {
            let regions = match trail.multi_region {
                true => self.trails.regions.names(),
                false => vec![self.id.region.clone()],
            };
            for region in regions {
                let chain = self.chain(span, &region, progress.digested).await?;
                if chain.digested < end && !self.digest(current, chain, end).await? {
                    return Ok(false);
                }
            }
            progress.digest_delivered = Some(self.trails.now());
        }
        progress.digested = end;
        let mut transaction = Transaction::new();
        if over {
            let mut rest = trail.clone();
            rest.spans.retain(|other| other.number != span.number);
            transaction = transaction.put(rest.key(), encode(&rest)?);
        }
        if over || !trail.validation {
            // What comes after it begins chains of its own.
            for chain in self.chain_keys().await? {
                transaction = transaction.delete(chain);
            }
        }
        let transaction = transaction
            .unchanged(current.trail.key(), current.revision)
            .put(progress.key(), encode(progress)?);
        Ok(matches!(self.trails.store.commit(transaction).await?, Commit::Applied { .. }))
    }

    /// Signs and writes a digest, and commits that.
    async fn digest(
        &self,
        current: &Current,
        mut chain: Chain,
        end: Timestamp,
    ) -> Result<bool, DeliveryError> {
        let (trail, keys) = (&current.trail, &self.trails.keys);
        let key = keys.ensure(&chain.region, self.trails.now()).await;
        let key = key.map_err(DeliveryError::Sign)?;
        let digest = digest(trail, &chain, end, &key.fingerprint());
        let signature = keys.sign(&key, &digest.to_sign).await.map_err(DeliveryError::Sign)?;
        let content =
            digest.compressed().map_err(|error| DeliveryError::Other(error.to_string()))?;
        let bucket = self.trails.bucket(&trail.bucket)?;
        bucket.put(&digest.object, content, Some(&signature)).await?;
        chain.previous = Some(Previous {
            bucket: trail.bucket.clone(),
            object: digest.object,
            hash: digest.hash,
            signature,
        });
        chain.files.clear();
        chain.digested = end;
        let transaction = Transaction::new()
            .unchanged(trail.key(), current.revision)
            .put(chain.key(), encode(&chain)?);
        Ok(matches!(self.trails.store.commit(transaction).await?, Commit::Applied { .. }))
    }

    async fn commit(
        &self,
        current: &Current,
        progress: &Progress,
        chains: &[Chain],
    ) -> Result<bool, DeliveryError> {
        let mut transaction = Transaction::new()
            .unchanged(current.trail.key(), current.revision)
            .put(progress.key(), encode(progress)?);
        for chain in chains {
            transaction = transaction.put(chain.key(), encode(chain)?);
        }
        Ok(matches!(self.trails.store.commit(transaction).await?, Commit::Applied { .. }))
    }

    /// Where the delivery of a span stands.
    async fn progress(&mut self, span: &Span) -> Result<Progress, DeliveryError> {
        let known = match self.progress.take() {
            Some(known) => Some(known),
            None => self.trails.progress(&self.id).await?,
        };
        Ok(match known {
            Some(known) if known.span == span.number => known,
            last => {
                self.reading = None;
                Progress {
                    version: Version,
                    id: self.id.clone(),
                    span: span.number,
                    // The span before it may have taken more than was there when this one began.
                    position: last.as_ref().map_or(0, |last| last.position).max(span.after),
                    window: span.begun,
                    digested: span.begun,
                    cut: None,
                    delivered: last.as_ref().and_then(|last| last.delivered),
                    digest_delivered: last.and_then(|last| last.digest_delivered),
                }
            }
        })
    }

    /// The digests of a Region in a span; new ones begin at `digested`.
    async fn chain(
        &self,
        span: &Span,
        region: &str,
        digested: Timestamp,
    ) -> Result<Chain, DeliveryError> {
        let new = Chain {
            version: Version,
            id: self.id.clone(),
            region: region.to_owned(),
            span: span.number,
            digested,
            previous: None,
            files: Vec::new(),
        };
        let Some(entry) = self.trails.store.get(&new.key()).await?.value else { return Ok(new) };
        let known = Chain::decode(&entry.value).map_err(TrailsError::from)?;
        Ok(if known.span == span.number { known } else { new })
    }

    async fn chain_keys(&self) -> Result<Vec<Vec<u8>>, DeliveryError> {
        let range = Range { prefix: self.id.chains().into_bytes(), after: None, limit: 100 };
        let page = self.trails.store.range(range).await?.value;
        Ok(page.entries.into_iter().map(|entry| entry.key).collect())
    }
}

fn encode<R: Record>(record: &R) -> Result<Vec<u8>, DeliveryError> {
    Ok(record.encode().map_err(TrailsError::from)?)
}
