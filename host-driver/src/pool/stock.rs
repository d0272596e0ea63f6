//! The key-pair pool: pairs of slow specs, generated before they are asked for.
//!
//! A device looks for an RSA key pair between requests, for seconds or minutes. So the pool holds a small
//! number of pairs for each purpose, sealed as tokens, and a thread of its own refills it: for each spec and
//! purpose it asks one device at a time, with growing pauses, and goes to another device if that one fails. A
//! pair is handed out once. A caller that gives up keeps its place for a while ([`queue`]), and the search
//! continues for it. The pairs are in memory only and are lost with the process.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use hsm_protocol::key_spec::{KEY_SPECS, KeySpec};
use hsm_protocol::token::sealed::{PairPurpose, PreparedPair, Sealed};
use zeroize::Zeroizing;

use super::waiting::WaitingRoom;
use super::{Pool, Route, Shared};
use crate::error::CallError;
use crate::wait::Signal;

use queue::Queue;
use refill::Refill;

mod queue;
mod refill;

/// How many key pairs of each slow spec to keep for keys. For data key pairs and for imports, which
/// are rarer, one is kept of each spec that is not 0 here. With 0, a pair is looked for only when a
/// caller waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StockTargets {
    /// Pairs of RSA_2048.
    pub rsa_2048: usize,
    /// Pairs of RSA_3072.
    pub rsa_3072: usize,
    /// Pairs of RSA_4096.
    pub rsa_4096: usize,
}

impl StockTargets {
    /// No stock.
    pub const NONE: Self = Self { rsa_2048: 0, rsa_3072: 0, rsa_4096: 0 };

    fn of(self, spec: KeySpec, purpose: PairPurpose) -> usize {
        let keys = match spec {
            KeySpec::RSA_2048 => self.rsa_2048,
            KeySpec::RSA_3072 => self.rsa_3072,
            KeySpec::RSA_4096 => self.rsa_4096,
            _ => 0,
        };
        if purpose == PairPurpose::KEY { keys } else { keys.min(1) }
    }
}

impl Default for StockTargets {
    fn default() -> Self {
        Self { rsa_2048: 2, rsa_3072: 1, rsa_4096: 1 }
    }
}

/// How much there is of one slow spec for one purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StockLevel {
    /// The spec.
    pub spec: KeySpec,
    /// What the pairs may become.
    pub purpose: PairPurpose,
    /// Pairs in stock.
    pub level: usize,
    /// Pairs to keep in stock.
    pub target: usize,
    /// Callers that wait for a pair.
    pub waiting: usize,
    /// Pairs that devices found since the pool was started.
    pub found: u64,
    /// Pairs handed out since the pool was started.
    pub handed_out: u64,
}

impl Pool {
    /// Takes a key pair of a slow spec ([`hsm_protocol::key_spec::KeySpecRow::slow`]) out of
    /// stock, or waits until a device has found one: what the command of `purpose` takes. Nobody
    /// else gets the same pair.
    ///
    /// Whoever gives up and calls again with the same `claimant`, which is to tell one caller from
    /// another, has the place in the queue that it had: one that was dropped before its deadline too.
    ///
    /// # Errors
    /// [`CallError::NoCapableDevice`] if no device supports the spec, or it is not slow;
    /// at `deadline` why devices could not be asked, or [`CallError::NoPairYet`].
    pub async fn key_pair(
        &self,
        spec: KeySpec,
        purpose: PairPurpose,
        claimant: Option<&str>,
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let shared = &*self.shared;
        let shelf = shared.stock.shelf(spec, purpose).ok_or(CallError::NoCapableDevice(spec))?;
        let demand = shelf.demand(claimant, &shared.waiting);
        if let Some(pair) = demand.take() {
            shared.stock.wake();
            return Ok(pair);
        }
        shared.stock.wake();
        loop {
            let device = shared.pick(&Route { needs: spec.into(), ..Route::default() }, 0, &[])?;
            // On the list first, so that a pair that is found now is not missed.
            let found = shared.waiting.enter(shelf.wake_by(deadline));
            if let Some(pair) = demand.take() {
                drop(demand);
                shared.stock.wake(); // the shelf was full a moment ago
                return Ok(pair);
            }
            if Instant::now() >= deadline {
                let failure = shelf.lock().failure.clone();
                return Err(match (failure, device) {
                    (Some(error), _) => error,
                    (None, None) => shared.unavailable(),
                    (None, Some(_)) => CallError::NoPairYet(spec),
                });
            }
            // Resolves with an error too: the sender is dropped to wake.
            let _ = found.await;
        }
    }

    /// Puts a pair back that [`Pool::key_pair`] handed out, because the command that takes it
    /// certainly was not executed: it is handed out again.
    pub fn put_back(&self, spec: KeySpec, purpose: PairPurpose, pair: Zeroizing<Vec<u8>>) {
        if let Some(shelf) = self.shared.stock.shelf(spec, purpose) {
            shelf.put_back(pair);
            self.shared.waiting.wake_all();
        }
    }

    /// Throws away the pairs in stock that are sealed under another domain key than this one: once the domain
    /// forgets that key, no device takes them, and what is made after a rotation should not have been
    /// under the key before it. New ones are looked for.
    pub fn keep_pairs_under(&self, domain_key: u32) {
        for shelf in &self.shared.stock.shelves {
            shelf.lock().pairs.retain(|pair| {
                Sealed::<PreparedPair>::parse(pair).is_ok_and(|it| it.domain_key == domain_key)
            });
        }
        self.shared.stock.wake();
    }

    /// How much there is of each slow spec, for keys, for data key pairs, and for imports.
    #[must_use]
    pub fn stock(&self) -> Vec<StockLevel> {
        self.shared.stock.shelves.iter().map(Shelf::level).collect()
    }
}

/// The stock of all slow specs and purposes.
pub(super) struct Stock {
    shelves: Vec<Shelf>,
    /// Raised when there may be something to do: a pair is gone, a device came.
    signal: Signal,
}

/// The stock of one spec for one purpose.
struct Shelf {
    spec: KeySpec,
    purpose: PairPurpose,
    target: usize,
    found: AtomicU64,
    handed_out: AtomicU64,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    pairs: VecDeque<Zeroizing<Vec<u8>>>,
    /// Whoever comes later takes no pair before those who came first.
    queue: Queue,
    /// Why the latest question failed, if it did.
    failure: Option<CallError>,
}

/// Starts the thread that refills the stock; it ends when the pool is closed.
pub(super) fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let refill = move || Refill::new(&shared).run();
    thread::Builder::new().name("hsm-stock".to_owned()).spawn(refill)
}

impl Stock {
    pub(super) fn new(targets: StockTargets) -> Self {
        let shelf = |(purpose, spec)| Shelf {
            spec,
            purpose,
            target: targets.of(spec, purpose),
            found: AtomicU64::new(0),
            handed_out: AtomicU64::new(0),
            content: Mutex::default(),
        };
        let slow = || KEY_SPECS.iter().filter(|row| row.slow).map(|row| row.spec);
        let of_purpose = |purpose| slow().map(move |spec| (purpose, spec));
        let shelves = PairPurpose::ALL.into_iter().flat_map(of_purpose).map(shelf).collect();
        Self { shelves, signal: Signal::default() }
    }

    pub(super) fn wake(&self) {
        self.signal.raise();
    }

    fn shelf(&self, spec: KeySpec, purpose: PairPurpose) -> Option<&Shelf> {
        self.shelves.iter().find(|shelf| (shelf.spec, shelf.purpose) == (spec, purpose))
    }
}

impl Shelf {
    fn put(&self, pair: Zeroizing<Vec<u8>>) {
        let mut content = self.lock();
        content.pairs.push_back(pair);
        content.failure = None;
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    fn put_back(&self, pair: Zeroizing<Vec<u8>>) {
        self.lock().pairs.push_front(pair);
        self.handed_out.fetch_sub(1, Ordering::Relaxed);
    }

    /// Queues a caller until the guard is dropped.
    fn demand<'a>(&'a self, claimant: Option<&str>, waiting: &'a WaitingRoom) -> Demand<'a> {
        let ticket = self.lock().queue.join(claimant, Instant::now());
        Demand { shelf: self, waiting, ticket }
    }

    fn is_demanded(&self) -> bool {
        let mut content = self.lock();
        content.queue.wanted(Instant::now()) > content.pairs.len()
    }

    fn is_full(&self) -> bool {
        let mut content = self.lock();
        content.pairs.len() >= self.target.max(content.queue.wanted(Instant::now()))
    }

    /// When to look again whether there is a pair: a place that was kept may be given up before the
    /// deadline.
    fn wake_by(&self, deadline: Instant) -> Instant {
        self.lock().queue.next_change().map_or(deadline, |change| change.min(deadline))
    }

    fn level(&self) -> StockLevel {
        let content = self.lock();
        StockLevel {
            spec: self.spec,
            purpose: self.purpose,
            level: content.pairs.len(),
            target: self.target,
            waiting: content.queue.waiting(),
            found: self.found.load(Ordering::Relaxed),
            handed_out: self.handed_out.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        // The content is whole between any two statements, so a panic elsewhere spoils nothing.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that waits for a pair.
struct Demand<'a> {
    shelf: &'a Shelf,
    waiting: &'a WaitingRoom,
    ticket: u64,
}

impl Demand<'_> {
    /// A pair, once there is one more than callers who came before.
    fn take(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut content = self.shelf.lock();
        if content.queue.before(self.ticket, Instant::now()) >= content.pairs.len() {
            return None;
        }
        let pair = content.pairs.pop_front()?;
        // At once: who counts the callers before it must not count this one, nor its pair.
        content.queue.served(self.ticket);
        drop(content);
        self.shelf.handed_out.fetch_add(1, Ordering::Relaxed);
        Some(pair)
    }
}

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        let gave_up = self.shelf.lock().queue.leave(self.ticket, Instant::now());
        if gave_up {
            self.waiting.wake_all(); // the next one may take what was this one's
        }
    }
}

#[cfg(test)]
mod tests;
