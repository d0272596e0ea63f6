//! Callers that wait for a pair, in the order of their arrival.
//!
//! Clients give up before a device has found a pair for each of many callers, and retry. So the
//! place of a caller that left without a pair is kept for a while: the pair that is found for it
//! waits for it, and a retry takes up its former place.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long the place of a caller that left is kept. SDKs pause for 20 s at most before they try
/// again.
pub(super) const KEPT: Duration = Duration::from_secs(60);
/// Most places of callers that left, of one spec and purpose. A device looks for as many pairs even
/// if none of them comes again.
pub(super) const MOST_KEPT: usize = 64;

/// The places of one shelf.
#[derive(Default)]
pub(super) struct Queue {
    places: VecDeque<Place>,
    /// Callers that ever came.
    callers: u64,
}

struct Place {
    ticket: u64,
    /// Who comes again, if that can be told.
    claimant: Option<Box<str>>,
    /// When the caller left; `None` while it waits.
    left: Option<Instant>,
}

impl Queue {
    /// A ticket for the place that this claimant left, or for a new one in the end.
    pub(super) fn join(&mut self, claimant: Option<&str>, now: Instant) -> u64 {
        self.forget(now);
        let ticket = self.callers;
        self.callers += 1;
        let left =
            |place: &&mut Place| place.left.is_some() && place.claimant.as_deref() == claimant;
        match self.places.iter_mut().find(left) {
            Some(place) => (place.ticket, place.left) = (ticket, None),
            None => {
                let claimant = claimant.map(Box::from);
                self.places.push_back(Place { ticket, claimant, left: None });
            }
        }
        ticket
    }

    /// Whether a caller that leaves without a pair had a place; it is kept if somebody can claim it.
    pub(super) fn leave(&mut self, ticket: u64, now: Instant) -> bool {
        self.forget(now);
        let Some(index) = self.places.iter().position(|place| place.ticket == ticket) else {
            return false;
        };
        let kept = self.places.iter().filter(|place| place.left.is_some()).count();
        match self.places.get_mut(index) {
            Some(place) if place.claimant.is_some() && kept < MOST_KEPT => place.left = Some(now),
            _ => drop(self.places.remove(index)),
        }
        true
    }

    /// Takes a caller out that has its pair.
    pub(super) fn served(&mut self, ticket: u64) {
        self.places.retain(|place| place.ticket != ticket);
    }

    /// Pairs that are meant for those who came before.
    pub(super) fn before(&mut self, ticket: u64, now: Instant) -> usize {
        self.forget(now);
        self.places.iter().take_while(|place| place.ticket != ticket).count()
    }

    /// Pairs that are wanted.
    pub(super) fn wanted(&mut self, now: Instant) -> usize {
        self.forget(now);
        self.places.len()
    }

    /// Callers that wait.
    pub(super) fn waiting(&self) -> usize {
        self.places.iter().filter(|place| place.left.is_none()).count()
    }

    /// When the next place is given up that was kept.
    pub(super) fn next_change(&self) -> Option<Instant> {
        self.places.iter().filter_map(|place| place.left).min().map(|left| left + KEPT)
    }

    fn forget(&mut self, now: Instant) {
        let over = |left: Instant| now.saturating_duration_since(left) >= KEPT;
        self.places.retain(|place| !place.left.is_some_and(over));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_again_has_its_place() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        let [first, second] = ["a", "b"].map(|name| queue.join(Some(name), start));
        assert!(queue.leave(first, start));
        assert_eq!((queue.before(second, start), queue.waiting()), (1, 1));
        let again = queue.join(Some("a"), start + KEPT / 2);
        assert_eq!((queue.before(again, start), queue.before(second, start)), (0, 1));
        assert!(!queue.leave(first, start), "the ticket of the first attempt no longer exists");
        // Somebody else has no part in it.
        assert!(queue.leave(again, start));
        let other = queue.join(Some("c"), start);
        assert_eq!(queue.before(other, start), 2);
    }

    #[test]
    fn places_are_not_kept_for_long_nor_for_those_who_cannot_claim_them() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        let nobody = queue.join(None, start);
        assert!(queue.leave(nobody, start));
        assert_eq!(queue.wanted(start), 0);
        let first = queue.join(Some("a"), start);
        let second = queue.join(Some("b"), start);
        queue.leave(first, start);
        assert_eq!(queue.next_change(), Some(start + KEPT));
        let almost = start + KEPT - Duration::from_millis(1);
        assert_eq!(queue.before(second, almost), 1);
        assert_eq!(queue.before(second, start + KEPT), 0);
        let late = queue.join(Some("a"), start + KEPT);
        assert_eq!(queue.before(late, start + KEPT), 1);
    }

    #[test]
    fn only_so_many_places_are_kept() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        for number in 0..3 * MOST_KEPT {
            let ticket = queue.join(Some(&number.to_string()), start);
            queue.leave(ticket, start);
        }
        assert_eq!((queue.wanted(start), queue.waiting()), (MOST_KEPT, 0));
    }
}
