//! A bounded cache of store entries that never shows what a later change has replaced.
//!
//! A reader that misses reads the store and inserts what it saw. A change that is made in
//! between invalidates the key before the reader inserts, so each shard remembers the latest
//! revision it was invalidated at, and takes only what was read at or after it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::Revision;

const SHARDS: usize = 16;
/// Entries per shard.
const CAPACITY: usize = 1024;

/// A value with the revision of its last change.
#[derive(Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// Revision of the last change.
    pub revision: Revision,
    /// The value.
    pub value: T,
}

impl<T> std::ops::Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A cache from store keys to decoded values.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    hasher: RandomState,
    shards: [Mutex<Shard<T>>; SHARDS],
}

#[derive(Debug)]
struct Shard<T> {
    entries: HashMap<Vec<u8>, Arc<Versioned<T>>>,
    /// Latest revision at which an entry of this shard was invalidated.
    floor: Revision,
}

impl<T> Cache<T> {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        let shard = |_| Mutex::new(Shard { entries: HashMap::new(), floor: Revision::default() });
        Self { hasher: RandomState::new(), shards: std::array::from_fn(shard) }
    }

    /// The cached value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Versioned<T>>> {
        self.shard(key).entries.get(key).cloned()
    }

    /// Keeps what a read of the store at revision `seen` found.
    pub(crate) fn insert(&self, key: Vec<u8>, value: Arc<Versioned<T>>, seen: Revision) {
        let mut shard = self.shard(&key);
        if seen < shard.floor {
            return;
        }
        if shard.entries.len() >= CAPACITY
            && let Some(victim) = shard.entries.keys().next().cloned()
        {
            // Hash order is as good as random, and needs no bookkeeping on the hot path.
            shard.entries.remove(&victim);
        }
        shard.entries.insert(key, value);
    }

    /// Forgets a key that was changed at `revision`.
    pub(crate) fn invalidate(&self, key: &[u8], revision: Revision) {
        let mut shard = self.shard(key);
        shard.floor = shard.floor.max(revision);
        if shard.entries.get(key).is_some_and(|entry| entry.revision < revision) {
            shard.entries.remove(key);
        }
    }

    /// Forgets everything that was read before `revision`.
    pub(crate) fn clear(&self, revision: Revision) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.floor = shard.floor.max(revision);
            shard.entries.clear();
        }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard<T>> {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(revision: u64) -> Arc<Versioned<u64>> {
        Arc::new(Versioned { revision: Revision(revision), value: revision })
    }

    #[test]
    fn a_slow_reader_does_not_bring_back_an_old_value() {
        let cache = Cache::new();
        cache.insert(b"k".to_vec(), at(5), Revision(5));
        cache.invalidate(b"k", Revision(7));
        cache.insert(b"k".to_vec(), at(5), Revision(6));
        assert_eq!(cache.get(b"k"), None);
        cache.insert(b"k".to_vec(), at(7), Revision(7));
        assert_eq!(cache.get(b"k"), Some(at(7)));
    }

    #[test]
    fn a_late_notice_keeps_the_newer_value() {
        let cache = Cache::new();
        cache.insert(b"k".to_vec(), at(7), Revision(9));
        cache.invalidate(b"k", Revision(7));
        assert_eq!(cache.get(b"k"), Some(at(7)));
        cache.clear(Revision(10));
        assert_eq!(cache.get(b"k"), None);
    }

    #[test]
    fn it_stays_bounded() {
        let cache = Cache::new();
        for n in 0..(SHARDS * CAPACITY * 2) {
            cache.insert(n.to_string().into_bytes(), at(1), Revision(1));
        }
        let held: usize = cache.shards.iter().map(|s| s.lock().unwrap().entries.len()).sum();
        assert!(held <= SHARDS * CAPACITY);
        assert!(held > SHARDS * CAPACITY / 2);
    }
}
