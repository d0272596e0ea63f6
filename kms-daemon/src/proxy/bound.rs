//! How many calls are under way at a time, of each store and of all of them.
//!
//! A store may have as many calls as there are places left (the dynamic threshold of Choudhury and Hahne, 1998): one
//! that is alone gets all that a store may have, and among many with slow proxies none takes what a further one needs.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Calls of one store under way at a time: 1,800 a second, AWS's default rate, of which each takes 35 ms, are 63.
const OF_STORE: usize = 64;
/// Calls of all stores: with as many requests waiting for proxies, the daemon still lets others in
/// (`crate::admission`).
const OF_ALL: usize = 128;
/// The same while a store that has no call under way makes its first one.
pub(super) const WITH_FIRST: usize = 192;

/// The calls of all stores.
#[derive(Debug, Default)]
pub(super) struct Bound(Mutex<usize>);

/// The calls of one store, counted by a [`Bound`].
#[derive(Debug, Default)]
pub(super) struct Own(Mutex<usize>);

/// A call, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay<'b> {
    all: &'b Bound,
    own: &'b Own,
}

impl Bound {
    /// Counts a call; `None` if there are too many.
    pub(super) fn enter<'b>(&'b self, own: &'b Own) -> Option<UnderWay<'b>> {
        let (mut count, mut of_store) = (lock(&self.0), lock(&own.0));
        let left = OF_ALL.saturating_sub(*count);
        let is_first = *of_store == 0 && *count < WITH_FIRST;
        if *of_store >= OF_STORE || (*of_store >= left && !is_first) {
            return None;
        }
        *count += 1;
        *of_store += 1;
        Some(UnderWay { all: self, own })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let (mut count, mut of_store) = (lock(&self.all.0), lock(&self.own.0));
        *count = count.saturating_sub(1);
        *of_store = of_store.saturating_sub(1);
    }
}

fn lock(count: &Mutex<usize>) -> MutexGuard<'_, usize> {
    // A number is whole at any time.
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets each store take what it gets, in turn, until none gets more; how many each has.
    fn greedy<'b>(all: &'b Bound, stores: &'b [Own]) -> (Vec<usize>, Vec<UnderWay<'b>>) {
        let mut calls = Vec::new();
        loop {
            let before = calls.len();
            calls.extend(stores.iter().filter_map(|store| all.enter(store)));
            if calls.len() == before {
                return (stores.iter().map(|store| *lock(&store.0)).collect(), calls);
            }
        }
    }

    fn stores(count: usize) -> Vec<Own> {
        (0..count).map(|_| Own::default()).collect()
    }

    #[test]
    fn a_store_that_is_alone_gets_all_that_it_may_have() {
        let (all, own) = (Bound::default(), stores(1));
        let (counts, calls) = greedy(&all, &own);
        assert_eq!(counts, [OF_STORE]);
        drop(calls);
        assert_eq!((*lock(&all.0), *lock(&own[0].0)), (0, 0));
    }

    #[test]
    fn however_many_are_greedy_another_one_gets_as_much() {
        for count in [1, 2, 5, 20, 60] {
            let (all, own, other) = (Bound::default(), stores(count), stores(1));
            let (counts, _calls) = greedy(&all, &own);
            assert!(counts.iter().sum::<usize>() <= OF_ALL);
            let (mut left, mut calls) = (0, Vec::new());
            while let Some(call) = all.enter(&other[0]) {
                calls.push(call);
                left += 1;
            }
            let least = OF_ALL / (count + 1) / 2;
            assert!(left >= least.max(1), "{count} have {counts:?}, another one {left}");
        }
    }

    #[test]
    fn the_first_call_of_a_store_gets_in_when_all_is_taken() {
        let (all, own) = (Bound::default(), stores(1000));
        let (counts, _calls) = greedy(&all, &own);
        assert_eq!(counts.iter().sum::<usize>(), WITH_FIRST);
        assert!(counts.iter().all(|count| *count <= 1));
    }
}
