//! How many keys there are, by Region and state: kept, so that to ask costs the same with any number.
//!
//! The keys are counted once, from the first question on, in the background, a page at a time; what
//! changes is learnt from the store's own events, in their order. Of each key its state is known, and the revision that it is of,
//! so that it does not matter which of the two comes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Catalog, CatalogError, layout};
use kms_model::state::KeyState;
use kms_store::{Entry, Event, Range, Revision};

/// Keys that are counted in one step.
const PAGE: usize = 512;
/// How long to wait after a failure of the store.
const AGAIN: Duration = Duration::from_secs(5);

/// Keys by Region and state. A state that no key has any more counts zero.
pub type Counted = BTreeMap<(String, KeyState), u64>;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    keys: HashMap<Name, Known>,
    /// Keys that were deleted while the rest is counted, which may see them still.
    gone: HashMap<Name, Revision>,
    counted: Counted,
    begun: bool,
    complete: bool,
}

/// A key: the beginning of the SHA-256 of its place in the store.
type Name = [u8; 16];

#[derive(Debug)]
struct Known {
    revision: Revision,
    region: Arc<str>,
    state: KeyState,
}

/// The part of a key record that is read.
#[derive(Deserialize)]
struct Stored {
    state: KeyState,
}

impl Counts {
    /// The counts, once all keys are counted; otherwise, whether somebody has to begin.
    pub(super) fn now(&self) -> Result<Counted, bool> {
        let mut state = self.lock();
        match state.complete {
            true => Ok(state.counted.clone()),
            false => Err(!std::mem::replace(&mut state.begun, true)),
        }
    }

    /// Learns what a change of the store did.
    pub(super) fn apply(&self, events: &[Event], revision: Revision) {
        let mut state = self.lock();
        if !state.begun {
            // Who counts sees it.
            return;
        }
        for event in events.iter().filter(|event| event.key().starts_with(layout::KEYS.as_bytes()))
        {
            match event {
                Event::Put(entry) => state.put(entry),
                Event::Delete(key) => state.delete(key, revision),
            }
        }
    }

    /// Forgets everything: events were missed. The next question begins anew.
    pub(super) fn clear(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Changed in steps that leave it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, entry: &Entry) {
        let (Some((scope, _)), Ok(Stored { state })) =
            (layout::parse_key(&entry.key), serde_json::from_slice::<Stored>(&entry.value))
        else {
            // Who reads the record says what is wrong with it.
            return;
        };
        let name = name(&entry.key);
        let newer = |known: Revision| known >= entry.revision;
        let is_old = self.keys.get(&name).is_some_and(|known| newer(known.revision))
            || self.gone.get(&name).copied().is_some_and(newer);
        if is_old {
            return;
        }
        *self.counted.entry((scope.region.clone(), state)).or_default() += 1;
        let region = Arc::from(scope.region);
        let known = Known { revision: entry.revision, region, state };
        if let Some(before) = self.keys.insert(name, known) {
            self.take_off(&before);
        }
    }

    fn delete(&mut self, key: &[u8], revision: Revision) {
        let name = name(key);
        if !self.complete {
            self.gone.insert(name, revision);
        }
        if let Some(known) = self.keys.remove(&name) {
            self.take_off(&known);
        }
    }

    fn take_off(&mut self, known: &Known) {
        if let Some(count) = self.counted.get_mut(&(known.region.to_string(), known.state)) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Counts the keys of a catalogue, unless it ends before.
pub(super) async fn count(catalog: Weak<Catalog>) {
    while let Some(alive) = catalog.upgrade() {
        let Err(error) = count_all(&alive).await else { return };
        drop(alive);
        tracing::warn!(%error, "cannot count the keys, will try again");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn count_all(catalog: &Catalog) -> Result<(), CatalogError> {
    let mut after = None;
    loop {
        let range = Range { prefix: layout::KEYS.into(), after: after.clone(), limit: PAGE };
        let page = catalog.store.range(range).await?.value;
        {
            let mut state = catalog.counts.lock();
            page.entries.iter().for_each(|entry| state.put(entry));
        }
        match page.entries.last().filter(|_| page.more) {
            Some(last) => after = Some(last.key.clone()),
            None => break,
        }
        tokio::task::yield_now().await;
    }
    let mut state = catalog.counts.lock();
    // Not if all was forgotten meanwhile.
    state.complete = state.begun;
    state.gone = HashMap::new();
    Ok(())
}

fn name(key: &[u8]) -> Name {
    let digest = Sha256::digest(key);
    let mut name = Name::default();
    name.copy_from_slice(&digest[..16]);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u32, state: &str, revision: u64) -> Entry {
        let key = format!("keys/000000000000/us-east-1/{id:08x}-0000-4000-8000-000000000000");
        let value = format!(r#"{{"version":1,"state":"{state}","rest":[1]}}"#);
        Entry {
            key: key.into_bytes(),
            value: value.into_bytes().into(),
            revision: Revision(revision),
        }
    }

    fn of(counts: &Counts, state: KeyState) -> Option<u64> {
        counts.lock().counted.get(&("us-east-1".to_owned(), state)).copied()
    }

    #[test]
    fn whichever_comes_first() {
        let counts = Counts::default();
        assert_eq!(counts.now(), Err(true), "somebody has to count");
        assert_eq!(counts.now(), Err(false), "and does");
        // An event is newer than the page that is counted afterwards.
        counts.apply(&[Event::Put(entry(1, "Disabled", 5))], Revision(5));
        counts.lock().put(&entry(1, "Enabled", 2));
        assert_eq!(of(&counts, KeyState::Disabled), Some(1));
        assert_eq!(of(&counts, KeyState::Enabled), None);
        // The page is newer than the event that comes afterwards.
        counts.lock().put(&entry(2, "Enabled", 9));
        counts.apply(&[Event::Put(entry(2, "Disabled", 7))], Revision(7));
        assert_eq!(of(&counts, KeyState::Enabled), Some(1));
        // Deleted before the page, in which it still stands, is counted.
        let key = entry(3, "Enabled", 3).key;
        counts.apply(&[Event::Delete(key)], Revision(10));
        counts.lock().put(&entry(3, "Enabled", 3));
        assert_eq!(of(&counts, KeyState::Enabled), Some(1));
        // Made once more, with the same id.
        counts.apply(&[Event::Put(entry(3, "PendingImport", 11))], Revision(11));
        assert_eq!(of(&counts, KeyState::PendingImport), Some(1));
        assert_eq!(counts.now(), Err(false), "not all are counted yet");
    }
}
