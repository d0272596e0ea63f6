//! Keeps the history of a store on etcd, and knows how old it can be.
//!
//! One watch covers everything under the prefix. It goes on after the last revision it has
//! reported, on another member if need be.
//!
//! How old the history is cannot be learnt from the watch alone: a member that is cut off from the
//! others has nothing to report, and its progress notices say so with confidence; before 3.4.25 and
//! 3.5.8 they could also overtake changes. So a linearizable read asks for the revision of the
//! cluster, several times a second. Whatever was acknowledged before the read began is in the
//! history once the watch has come that far. If other users of the cluster have raised the
//! revision, the watch has nothing to report for it; then a *beat* is written, a key of no meaning
//! under the same prefix, and the watch has to report that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Cluster, Kind};
use super::keys::Keys;
use super::messages::{
    self, Header, RangeRequest, RangeResponse, TxnResponse, WatchEvent, WatchResponse,
};
use crate::history::History;
use crate::{Entry, Event, Revision};

/// The time between two looks at the revision of the cluster.
const INTERVAL: Duration = Duration::from_millis(150);
/// How long a look may take. After that another member is asked.
const LOOK: Duration = Duration::from_millis(400);
/// How long the watch may take to report what the cluster has, before a beat is written.
const TO_REPORT: Duration = Duration::from_millis(60);
/// The time before a watch that was broken is begun again, doubled with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest such time.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What both tasks share.
pub(super) struct Watcher {
    cluster: Arc<Cluster>,
    keys: Keys,
    history: History,
    /// The cluster that the history is of.
    id: u64,
    /// The revision up to which everything is in the history.
    reached: watch::Sender<Revision>,
    /// The history had everything that was acknowledged by then.
    known: Mutex<Instant>,
    /// Asks for a watch at another member.
    renew: Notify,
}

impl Watcher {
    /// A history of a cluster with this id, as it was at `known` or later.
    pub(super) fn new(
        cluster: Arc<Cluster>,
        keys: Keys,
        history: History,
        (id, known): (u64, Instant),
    ) -> Arc<Self> {
        let reached = watch::Sender::new(history.latest());
        let (known, renew) = (Mutex::new(known), Notify::new());
        Arc::new(Self { cluster, keys, history, id, reached, known, renew })
    }

    /// The cluster, and the revision up to which everything is in the history.
    pub(super) fn reached(&self) -> (u64, Revision) {
        (self.id, *self.reached.borrow())
    }

    /// How long ago it was known that the watches have dealt with everything acknowledged by then.
    pub(super) fn lag(&self) -> Duration {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Watches until the future is dropped.
    pub(super) async fn watch(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = *self.reached.borrow();
            let ended = self.watch_once().await;
            let reached = *self.reached.borrow();
            let has_reported = reached > before;
            if let Err(reason) = ended {
                // Once for each time that it breaks, however often it is begun again until it goes on.
                match has_reported || pause == FIRST_PAUSE {
                    true => {
                        tracing::warn!(reason, revision = %reached, "the watch of the store is renewed");
                    }
                    false => {
                        tracing::debug!(reason, revision = %reached, "the watch of the store is renewed");
                    }
                }
            }
            pause = match has_reported {
                true => FIRST_PAUSE,
                false => LONGEST_PAUSE.min(2 * pause),
            };
            sleep(pause).await;
        }
    }

    /// Watches until the stream ends, and says why.
    async fn watch_once(&self) -> Result<(), String> {
        let (start, end) = self.keys.everything();
        let from = self.reached.borrow().next();
        let request = messages::watch(&start, &end, from);
        let begun = self.cluster.stream(messages::WATCH, &request).await;
        let (mut stream, generation) = begun.map_err(|status| status.to_string())?;
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                () = self.renew.notified() => {
                    self.cluster.leave(generation).await;
                    return Err("it does not report what the cluster has".to_owned());
                }
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return Err("the member has ended it".to_owned()),
                Err(status) => {
                    self.cluster.judge(&status, generation).await;
                    return Err(status.to_string());
                }
            };
            let response = WatchResponse::read(message).map_err(|error| error.to_string())?;
            if response.compacted != Revision::default() {
                let oldest = response.compacted;
                tracing::warn!(%oldest, "changes of the store were compacted before they were reported");
                self.history.compact(oldest);
                self.reach(Revision(oldest.0.saturating_sub(1)));
                return Ok(());
            }
            if response.canceled {
                self.cluster.leave(generation).await;
                return Err(response.reason);
            }
            self.take(response.events);
        }
    }

    /// Adds what a response of the watch reports. All events of a revision are in one response.
    fn take(&self, events: Vec<WatchEvent>) {
        let mut events = events.into_iter().peekable();
        while let Some(revision) = events.peek().map(|event| event.entry.revision) {
            let mut of_one = Vec::new();
            while let Some(event) = events.next_if(|event| event.entry.revision == revision) {
                // A beat has no name among the records.
                if let Some(key) = self.keys.key_of(&event.entry.key) {
                    let key = key.to_vec();
                    of_one.push(match event.is_deletion {
                        true => Event::Delete(key),
                        false => {
                            let value = (&*event.entry.value).into();
                            Event::Put(Entry { key, value, revision })
                        }
                    });
                }
            }
            // A stream that is begun again starts after the last one, so this is for a member that
            // does not keep to that.
            if revision <= *self.reached.borrow() {
                continue;
            }
            if !of_one.is_empty() {
                self.history.publish(revision, of_one);
            }
            self.reach(revision);
        }
    }

    fn reach(&self, revision: Revision) {
        self.reached.send_if_modified(|reached| {
            let is_later = revision > *reached;
            *reached = revision.max(*reached);
            is_later
        });
    }

    /// Measures again and again how old the history is, until the future is dropped.
    pub(super) async fn look(&self) {
        let mut is_known = true;
        loop {
            let begin = Instant::now();
            match self.catch_up().await {
                Ok(true) => {
                    *self.known.lock().unwrap_or_else(PoisonError::into_inner) = begin;
                    if !is_known {
                        tracing::info!("how old the caches are is known again");
                    }
                    is_known = true;
                }
                Ok(false) => self.renew.notify_one(),
                Err(reason) => {
                    match is_known {
                        true => tracing::warn!(reason, "how old the caches are is not known"),
                        false => tracing::debug!(reason, "how old the caches are is not known"),
                    }
                    is_known = false;
                }
            }
            sleep(INTERVAL.saturating_sub(begin.elapsed())).await;
        }
    }

    /// Whether the watches have dealt with everything that was acknowledged before the call.
    async fn catch_up(&self) -> Result<bool, String> {
        let reached = *self.reached.borrow();
        let request = RangeRequest { key: self.keys.beat(), limit: 1, ..RangeRequest::default() };
        let message = request.write().finish();
        let looking = self.cluster.call_within(messages::RANGE, &message, Kind::Read, LOOK);
        let response = looking.await.map_err(|status| status.to_string())?;
        let response = RangeResponse::read(response).map_err(|error| error.to_string())?;
        let Header { cluster, revision } = response.header;
        if cluster != self.id || revision < reached {
            // The watch would report nothing until the revision is where it was.
            return Err(
                "the cluster was put back to an older state; start the daemon again".to_owned()
            );
        }
        if self.is_reached(revision).await {
            return Ok(true);
        }
        let beat = messages::put(&self.keys.beat(), b"");
        let message = messages::transaction(std::iter::empty(), std::iter::once(beat));
        let writing = self.cluster.call_within(messages::TXN, &message, Kind::Write, LOOK);
        let response = writing.await.map_err(|status| status.to_string())?;
        let response = TxnResponse::read(response).map_err(|error| error.to_string())?;
        Ok(timeout(LOOK, self.until(response.header.revision)).await.is_ok())
    }

    async fn is_reached(&self, revision: Revision) -> bool {
        timeout(TO_REPORT, self.until(revision)).await.is_ok()
    }

    /// Waits until the watches have dealt with everything up to a revision.
    async fn until(&self, revision: Revision) {
        let mut reached = self.reached.subscribe();
        // The sender lives as long as `self`.
        let _ = reached.wait_for(|reached| *reached >= revision).await;
        while !self.history.is_dealt_with() {
            sleep(Duration::from_millis(1)).await;
        }
    }
}
