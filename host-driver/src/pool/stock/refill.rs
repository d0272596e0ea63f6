//! The thread that refills the key-pair pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hsm_protocol::command::key::PrepareKeyPair;
use hsm_protocol::{AuditTag, ErrorCode};
use zeroize::Zeroizing;

use super::Shelf;
use crate::device::Device;
use crate::error::CallError;
use crate::pool::Shared;
use crate::pool::slot::{Candidate, Slot};

/// First pause before a device is asked again.
const SHORTEST: Duration = Duration::from_millis(20);
/// Longest pause while the device goes on looking. It looks between requests whether it is asked
/// or not; a question only collects what it has found.
const LONGEST: Duration = Duration::from_secs(1);
/// Longest pause while a caller waits.
const DEMANDED: Duration = Duration::from_millis(50);
/// Longest pause after failures.
const FAILING: Duration = Duration::from_secs(10);

/// All searches of a pool.
pub(super) struct Refill<'a> {
    shared: &'a Shared,
    searches: Vec<Search<'a>>,
}

/// The search for pairs of one spec for one purpose.
struct Search<'a> {
    shelf: &'a Shelf,
    /// Number of the device that looks for a pair.
    device: Option<usize>,
    asked: Option<Instant>,
    pause: Duration,
    failing: bool,
}

impl<'a> Refill<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        let search =
            |shelf| Search { shelf, device: None, asked: None, pause: SHORTEST, failing: false };
        Self { shared, searches: shared.stock.shelves.iter().map(search).collect() }
    }

    pub(super) fn run(mut self) {
        while !self.shared.is_closed() {
            // Those that a caller waits for come first: a device begins one search at a time.
            for demanded in [true, false] {
                for index in 0..self.searches.len() {
                    let Some(search) = self.searches.get(index) else { continue };
                    if search.shelf.is_demanded() == demanded {
                        self.advance(index);
                    }
                }
            }
            let due = self.searches.iter().filter_map(Search::due).min();
            // Without a device there is nothing to be done until one comes.
            let due =
                due.filter(|_| self.shared.slots().iter().any(|slot| slot.device().is_some()));
            let patience = due.map_or(Duration::from_secs(3600), |due| {
                due.saturating_duration_since(Instant::now())
            });
            self.shared.stock.signal.wait(patience);
        }
    }

    /// Asks for a pair, if it is time.
    fn advance(&mut self, index: usize) {
        let Some(search) = self.searches.get_mut(index) else { return };
        match search.due() {
            None => return search.rest(),
            Some(due) if due > Instant::now() => return,
            Some(_) => {}
        }
        let chosen = self.choose(index);
        let Some(search) = self.searches.get_mut(index) else { return };
        search.asked = Some(Instant::now());
        let Some((slot, device)) = chosen else { return search.wait_for_turn() };
        search.device = Some(slot);
        let Shelf { spec, purpose, .. } = *search.shelf;
        let command = PrepareKeyPair { spec, purpose };
        let reply = device.call_blocking(&command, AuditTag::default());
        drop(device); // a device that is held does not close its line
        let pair = reply.and_then(|reply| Ok(Zeroizing::new(reply.response()?.pair.to_vec())));
        match pair {
            Ok(pair) => {
                search.shelf.put(pair);
                search.rest();
                // The device looks for nothing now: those that wait for their turn may ask it.
                self.searches.iter_mut().for_each(Search::take_turn);
                self.shared.waiting.wake_all();
            }
            Err(CallError::Refused { code: ErrorCode::NOT_READY, .. }) => search.not_ready(),
            Err(error) => search.failed(error),
        }
    }

    /// The device that looks for pairs of this spec already, or the least busy one that looks for
    /// nothing. While a caller waits, one that looks for something else will do.
    fn choose(&self, index: usize) -> Option<(usize, Arc<Device>)> {
        let search = self.searches.get(index)?;
        let needs = search.shelf.spec.into();
        let slots = self.shared.slots();
        let ready = |slot: &Arc<Slot>| match slot.candidate(needs, 0) {
            Candidate::Ready(device) => Some((slot.number, device)),
            Candidate::NotNow | Candidate::Incapable(_) => None,
        };
        let of = |number: usize| slots.iter().find(|slot| slot.number == number);
        let demanded = search.shelf.is_demanded();
        if let Some(found) = search.device.and_then(of).and_then(ready) {
            // A pair that nobody waits for can stay in the device until those that do have theirs.
            let yields = !demanded && self.is_demanded(found.0);
            return Some(found).filter(|_| !yields);
        }
        let start = self.shared.next.load(Ordering::Relaxed);
        let count = slots.len();
        let taken =
            |slot: &Slot| self.searches.iter().any(|search| search.device == Some(slot.number));
        (0..count)
            .filter_map(|offset| slots.get(start.wrapping_add(offset) % count))
            .filter(|slot| demanded || !taken(slot))
            .filter(|slot| ready(slot).is_some())
            .min_by_key(|slot| (taken(slot), slot.counters.in_flight()))
            .and_then(ready)
    }

    /// Whether a caller waits for a pair that this device looks for.
    fn is_demanded(&self, slot: usize) -> bool {
        let here = |search: &&Search<'_>| search.device == Some(slot);
        self.searches.iter().filter(here).any(|search| search.shelf.is_demanded())
    }
}

impl Search<'_> {
    /// When to ask next; `None` if there is enough.
    fn due(&self) -> Option<Instant> {
        if self.shelf.is_full() {
            return None;
        }
        let hurried = self.shelf.is_demanded() && !self.failing;
        let pause = if hurried { self.pause.min(DEMANDED) } else { self.pause };
        Some(self.asked.map_or_else(Instant::now, |asked| asked + pause))
    }

    fn rest(&mut self) {
        (self.device, self.asked) = (None, None);
        (self.pause, self.failing) = (SHORTEST, false);
    }

    fn not_ready(&mut self) {
        self.shelf.lock().failure = None;
        self.failing = false;
        self.pause = (self.pause * 3 / 2).min(LONGEST);
    }

    fn wait_for_turn(&mut self) {
        self.pause = (self.pause * 3 / 2).min(LONGEST);
    }

    fn take_turn(&mut self) {
        if self.device.is_none() && !self.failing {
            (self.asked, self.pause) = (None, SHORTEST);
        }
    }

    fn failed(&mut self, error: CallError) {
        tracing::debug!(spec = ?self.shelf.spec, %error, "no key pair from a device");
        self.shelf.lock().failure = Some(error);
        self.device = None;
        self.failing = true;
        self.pause = (self.pause * 2).min(FAILING);
    }
}
