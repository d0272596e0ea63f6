//! Keys as AWS-LC has read them: reading one costs more than a signature with it.
//!
//! A key is held from [`Prepared::hold`] to [`Prepared::release`], which the core calls while it keeps the secret
//! itself: what is here lives no longer than that. AWS-LC erases a key that is freed. A key is found by the
//! hash of its secret, so that it is never used for another one, wherever that lies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use hsm_core::secret::SecretBuf;

/// The keys of one kind, of all devices in this process.
pub(super) struct Prepared<K>(Mutex<Vec<Entry<K>>>);

struct Entry<K> {
    secret: Digest,
    /// Places of devices' caches that have it.
    holders: usize,
    key: Arc<K>,
}

impl<K: Default> Prepared<K> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Keeps a place for what is made of this secret, until it is released as often as it was held.
    pub(super) fn hold(&self, secret: &SecretBuf) {
        let secret = hash(secret);
        let mut entries = self.lock();
        match entries.iter_mut().find(|entry| is_of(entry, &secret)) {
            Some(entry) => entry.holders += 1,
            None => entries.push(Entry { secret, holders: 1, key: Arc::default() }),
        }
    }

    /// The place, if there is one. A key in it lives until the last use has ended, too.
    pub(super) fn find(&self, secret: &SecretBuf) -> Option<Arc<K>> {
        let secret = hash(secret);
        let entries = self.lock();
        entries.iter().find(|entry| is_of(entry, &secret)).map(|entry| Arc::clone(&entry.key))
    }

    pub(super) fn release(&self, secret: &SecretBuf) {
        let secret = hash(secret);
        let mut entries = self.lock();
        let place = entries.iter().position(|entry| is_of(entry, &secret));
        if let Some(place) = place
            && let Some(entry) = entries.get_mut(place)
        {
            entry.holders -= 1;
            if entry.holders == 0 {
                entries.swap_remove(place);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry<K>>> {
        // The list is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(secret: &SecretBuf) -> Digest {
    digest(&SHA256, secret.expose())
}

fn is_of<K>(entry: &Entry<K>, secret: &Digest) -> bool {
    entry.secret.as_ref() == secret.as_ref()
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    fn secret(byte: u8) -> SecretBuf {
        SecretBuf::copy_from(&[byte; 32]).unwrap()
    }

    #[test]
    fn a_key_is_kept_while_anybody_holds_its_secret() {
        static KEYS: Prepared<OnceLock<u32>> = Prepared::new();
        assert!(KEYS.find(&secret(1)).is_none());
        KEYS.hold(&secret(1));
        KEYS.hold(&secret(2));
        KEYS.hold(&secret(1));
        KEYS.find(&secret(1)).unwrap().set(7).unwrap();
        assert_eq!(KEYS.find(&secret(2)).unwrap().get(), None, "each key has a place of its own");
        KEYS.release(&secret(1));
        assert_eq!(KEYS.find(&secret(1)).unwrap().get(), Some(&7));
        KEYS.release(&secret(1));
        assert!(KEYS.find(&secret(1)).is_none());
        KEYS.release(&secret(1));
        assert!(KEYS.find(&secret(2)).is_some(), "a release too many takes nobody's place");
    }
}
