//! A limit that several owners share, and none of them uses up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A limit on what owners have at once. An owner gets more only while that leaves at least as much as it has: one
/// gets half of it at most, two a third each, and so on, so that there is room for the next one always.
#[derive(Debug, Clone)]
pub struct Shares(Arc<Limited>);

#[derive(Debug)]
struct Limited {
    limit: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    by_owner: BTreeMap<String, usize>,
}

/// A part of a limit. It is given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Limited>,
    owner: String,
}

impl Shares {
    /// A limit that nobody has a part of yet.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Limited { limit, used: Mutex::default() }))
    }

    /// One part for an owner; `None` if it has as many already as it may have now.
    #[must_use]
    pub fn take(&self, owner: &str) -> Option<Share> {
        let mut used = lock(&self.0.used);
        let own = used.by_owner.get(owner).copied().unwrap_or_default();
        if own + used.all >= self.0.limit {
            return None;
        }
        used.all += 1;
        used.by_owner.insert(owner.to_owned(), own + 1);
        drop(used);
        Some(Share { of: Arc::clone(&self.0), owner: owner.to_owned() })
    }
}

/// Two are the same limit if they are equally high.
impl PartialEq for Shares {
    fn eq(&self, other: &Self) -> bool {
        self.0.limit == other.0.limit
    }
}

impl Eq for Shares {}

impl Drop for Share {
    fn drop(&mut self) {
        let mut used = lock(&self.of.used);
        used.all = used.all.saturating_sub(1);
        if let Some(own) = used.by_owner.get_mut(&self.owner) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                used.by_owner.remove(&self.owner);
            }
        }
    }
}

fn lock(used: &Mutex<Used>) -> MutexGuard<'_, Used> {
    // It is whole between any two statements.
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(shares: &Shares, owner: &str) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(owner)).collect()
    }

    #[test]
    fn nobody_uses_it_up() {
        let shares = Shares::new(128);
        let first = all_of(&shares, "a");
        assert_eq!(first.len(), 64);
        let second = all_of(&shares, "b");
        assert_eq!(second.len(), 32);
        assert!(shares.take("a").is_none() && shares.take("b").is_none());
        drop(first);
        assert!(all_of(&shares, "b").len() >= 16);
        let mut all = vec![second];
        for owner in 0..1000 {
            all.push(all_of(&shares, &owner.to_string()));
        }
        let taken: usize = all.iter().map(Vec::len).sum();
        assert!(taken <= 128, "{taken}");
        drop(all);
        assert!(lock(&shares.0.used).by_owner.is_empty());
        assert_eq!(all_of(&shares, "c").len(), 64);
        assert!(Shares::new(1).take("a").is_some() && Shares::new(0).take("a").is_none());
    }
}
