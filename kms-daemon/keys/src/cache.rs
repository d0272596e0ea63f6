//! A bounded cache of store entries that never shows what a later change has replaced.
//!
//! A reader that misses reads the store and inserts what it saw. A change that is made in
//! between invalidates the key before the reader inserts, so each shard remembers the latest
//! revision it was invalidated at, and takes only what was read at or after it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use kms_store::Revision;

const SHARDS: usize = 16;
/// Entries per shard, unless there are to be fewer.
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
pub struct Cache<T> {
    hasher: RandomState,
    /// Entries per shard.
    capacity: usize,
    shards: [Mutex<Shard<T>>; SHARDS],
}

#[derive(Debug)]
struct Shard<T> {
    entries: HashTable<Entry<T>>,
    /// Latest revision at which an entry of this shard was invalidated.
    floor: Revision,
}

#[derive(Debug)]
struct Entry<T> {
    key: Vec<u8>,
    /// Of the key: it finds the shard and the entry.
    hash: u64,
    value: Arc<Versioned<T>>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self::of(SHARDS * CAPACITY)
    }
}

impl<T> Cache<T> {
    /// An empty cache for so many entries.
    pub(crate) fn of(entries: usize) -> Self {
        let shard = |_| Mutex::new(Shard { entries: HashTable::new(), floor: Revision::default() });
        Self {
            hasher: RandomState::new(),
            capacity: entries.div_ceil(SHARDS),
            shards: std::array::from_fn(shard),
        }
    }

    /// The cached value of a key.
    pub fn get(&self, key: &[u8]) -> Option<Arc<Versioned<T>>> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        shard.entries.find(hash, |entry| entry.key == key).map(|entry| Arc::clone(&entry.value))
    }

    /// Keeps what a read of the store at revision `seen` found.
    pub fn insert(&self, key: Vec<u8>, value: Arc<Versioned<T>>, seen: Revision) {
        let hash = self.hasher.hash_one(&*key);
        let mut shard = self.shard(hash);
        if seen < shard.floor {
            return;
        }
        if let Some(entry) = shard.entries.find_mut(hash, |entry| entry.key == key) {
            entry.value = value;
            return;
        }
        if shard.entries.len() >= self.capacity {
            // Hash order is as good as random, and needs no bookkeeping on the hot path.
            let victim = shard.entries.iter().next().map(|entry| entry.hash);
            let victim =
                victim.map(|hash| shard.entries.find_entry(hash, |entry| entry.hash == hash));
            if let Some(Ok(victim)) = victim {
                victim.remove();
            }
        }
        shard.entries.insert_unique(hash, Entry { key, hash, value }, |entry| entry.hash);
    }

    /// Forgets a key that was changed at `revision`.
    pub fn invalidate(&self, key: &[u8], revision: Revision) {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        shard.floor = shard.floor.max(revision);
        let is_old = |entry: &Entry<T>| entry.key == key && entry.value.revision < revision;
        if let Ok(entry) = shard.entries.find_entry(hash, is_old) {
            entry.remove();
        }
    }

    /// Forgets everything that was read before `revision`.
    pub fn clear(&self, revision: Revision) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.floor = shard.floor.max(revision);
            shard.entries.clear();
        }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<T>> {
        // The table goes by the other bits.
        let index = usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or_default();
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
        let cache = Cache::default();
        cache.insert(b"k".to_vec(), at(5), Revision(5));
        cache.invalidate(b"k", Revision(7));
        cache.insert(b"k".to_vec(), at(5), Revision(6));
        assert_eq!(cache.get(b"k"), None);
        cache.insert(b"k".to_vec(), at(7), Revision(7));
        assert_eq!(cache.get(b"k"), Some(at(7)));
    }

    #[test]
    fn a_late_notice_keeps_the_newer_value() {
        let cache = Cache::default();
        cache.insert(b"k".to_vec(), at(7), Revision(9));
        cache.invalidate(b"k", Revision(7));
        assert_eq!(cache.get(b"k"), Some(at(7)));
        cache.clear(Revision(10));
        assert_eq!(cache.get(b"k"), None);
    }

    #[test]
    fn it_stays_bounded() {
        for capacity in [SHARDS * CAPACITY, SHARDS * 8] {
            let cache = Cache::of(capacity);
            for n in 0..capacity * 2 {
                cache.insert(n.to_string().into_bytes(), at(1), Revision(1));
            }
            let held: usize = cache.shards.iter().map(|s| s.lock().unwrap().entries.len()).sum();
            assert!(held <= capacity);
            assert!(held > capacity / 2);
        }
    }
}
