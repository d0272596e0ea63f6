//! How many keys there are, by Region and state: kept, so that to ask costs the same with any number.
//!
//! The keys are counted once, from the first question on, in the background, a page at a time; what
//! changes is learnt from the store's own events, in their order. Of each key its state is known, and the revision that it is of,
//! so that it does not matter which of the two comes first.
//!
//! Keys of a custom key store are counted for their store as well: when it is disconnected, as many of each state
//! become unavailable, and no key is looked at.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Catalog, CatalogError, layout};
use crate::custom_store::{ConnectionState, CustomKeyStores};
use kms_base::identifier::Scope;
use kms_base::record::Record as _;
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
    /// Custom key stores that have keys or a record.
    stores: HashMap<Arc<str>, InStore>,
    /// Of which revision the records of custom key stores are, by scope.
    scopes: HashMap<Scope, Revision>,
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
    /// The custom key store that it is in.
    store: Option<Arc<str>>,
}

/// What is known of a custom key store.
#[derive(Debug, Default)]
struct InStore {
    is_connected: bool,
    /// Its keys, by the states in their records.
    states: BTreeMap<KeyState, u64>,
}

/// The part of a key record that is read.
#[derive(Deserialize)]
struct Stored {
    state: KeyState,
    #[serde(default)]
    external: Option<External>,
}

#[derive(Deserialize)]
struct External {
    store: String,
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
        for event in events {
            let is_of = |prefix: &str| event.key().starts_with(prefix.as_bytes());
            match event {
                Event::Put(entry) if is_of(layout::KEYS) => state.put(entry),
                Event::Delete(key) if is_of(layout::KEYS) => state.delete(key, revision),
                Event::Put(entry) if is_of(layout::CUSTOM_KEY_STORES) => state.put_stores(entry),
                Event::Delete(key) if is_of(layout::CUSTOM_KEY_STORES) => {
                    if let Some(scope) = layout::parse_custom_key_stores(key) {
                        state.set_stores(CustomKeyStores::none(scope), revision);
                    }
                }
                _ => {}
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
        let (Some((scope, _)), Ok(Stored { state, external })) =
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
        let store = external.map(|external| self.store(&scope, &external.store));
        let region = Arc::from(scope.region);
        let known = Known { revision: entry.revision, region, state, store };
        self.add(&known);
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

    /// The name of a custom key store, of which something is known from now on.
    fn store(&mut self, scope: &Scope, id: &str) -> Arc<str> {
        let name = format!("{}/{}/{id}", scope.account, scope.region);
        if let Some((known, _)) = self.stores.get_key_value(name.as_str()) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.stores.insert(Arc::clone(&name), InStore::default());
        name
    }

    fn put_stores(&mut self, entry: &Entry) {
        if let Ok(stores) = CustomKeyStores::decode(&entry.value) {
            self.set_stores(stores, entry.revision);
        }
    }

    /// Learns which custom key stores of a scope are connected.
    fn set_stores(&mut self, stores: CustomKeyStores, revision: Revision) {
        let known = self.scopes.entry(stores.scope.clone()).or_default();
        if *known >= revision {
            return;
        }
        *known = revision;
        let connected: HashSet<_> = stores
            .stores
            .iter()
            .filter(|store| store.connection.state == ConnectionState::Connected)
            .map(|store| self.store(&stores.scope, &store.id))
            .collect();
        let Scope { account, region } = &stores.scope;
        let prefix = format!("{account}/{region}/");
        for (name, store) in self.stores.iter_mut().filter(|(name, _)| name.starts_with(&*prefix)) {
            let is_connected = connected.contains(name);
            if store.is_connected == is_connected {
                continue;
            }
            let seen = |state: KeyState, is_connected| (region.clone(), state.seen(is_connected));
            for (state, count) in &store.states {
                *self.counted.entry(seen(*state, is_connected)).or_default() += count;
                let before = self.counted.entry(seen(*state, !is_connected)).or_default();
                *before = before.saturating_sub(*count);
            }
            store.is_connected = is_connected;
        }
        self.stores.retain(|name, store| {
            store.is_connected
                || store.states.values().any(|count| *count > 0)
                || !name.starts_with(&*prefix)
        });
    }

    fn add(&mut self, known: &Known) {
        let mut state = known.state;
        if let Some(store) = known.store.as_ref().and_then(|store| self.stores.get_mut(store)) {
            *store.states.entry(state).or_default() += 1;
            state = state.seen(store.is_connected);
        }
        *self.counted.entry((known.region.to_string(), state)).or_default() += 1;
    }

    fn take_off(&mut self, known: &Known) {
        let mut state = known.state;
        if let Some(store) = known.store.as_ref().and_then(|store| self.stores.get_mut(store)) {
            if let Some(count) = store.states.get_mut(&state) {
                *count = count.saturating_sub(1);
            }
            state = state.seen(store.is_connected);
        }
        if let Some(count) = self.counted.get_mut(&(known.region.to_string(), state)) {
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
    type Learn = fn(&mut State, &Entry);
    for (prefix, learn) in [
        (layout::CUSTOM_KEY_STORES, State::put_stores as Learn),
        (layout::KEYS, State::put as Learn),
    ] {
        let mut after = None;
        loop {
            let range = Range { prefix: prefix.into(), after: after.clone(), limit: PAGE };
            let page = catalog.store.range(range).await?.value;
            {
                let mut state = catalog.counts.lock();
                page.entries.iter().for_each(|entry| learn(&mut state, entry));
            }
            match page.entries.last().filter(|_| page.more) {
                Some(last) => after = Some(last.key.clone()),
                None => break,
            }
            tokio::task::yield_now().await;
        }
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

    fn stores(state: ConnectionState, revision: u64) -> Entry {
        let scope = Scope::new("000000000000", "us-east-1");
        let mut stores = CustomKeyStores::none(scope);
        let now = kms_base::clock::Timestamp::from_millis(1);
        let secret = crate::own::Sealed { region: "us-east-1".to_owned(), blob: vec![1] };
        stores.stores.push(crate::custom_store::CustomKeyStore {
            id: "cks-1".to_owned(),
            name: "partner".to_owned(),
            created: now,
            backend: crate::custom_store::Backend::Xks(crate::custom_store::XksProxy {
                endpoint: "https://xks.example.com".to_owned(),
                path: "/kms/xks/v1".to_owned(),
                vpc_endpoint_service: None,
                access_key_id: "XKSAAAAAAAAAAAAAAAAA".to_owned(),
                secret,
                credential_since: now,
            }),
            connection: crate::custom_store::Connection::new(state, now),
        });
        let (key, value) = (stores.key(), stores.encode().unwrap());
        Entry { key, value: value.into(), revision: Revision(revision) }
    }

    /// A key in the store.
    fn inside(id: u32, state: &str, revision: u64) -> Entry {
        let external = r#","external":{"store":"cks-1","id":"k"}}"#;
        let entry = entry(id, state, revision);
        let text = String::from_utf8(entry.value.to_vec()).unwrap();
        let text = format!("{}{external}", &text[..text.len() - 1]);
        Entry { value: text.into_bytes().into(), ..entry }
    }

    #[test]
    fn keys_of_a_store_follow_it() {
        let counts = Counts::default();
        assert_eq!(counts.now(), Err(true));
        let put = |entry: Entry, revision| counts.apply(&[Event::Put(entry)], Revision(revision));
        let all = |enabled, disabled, pending, unavailable| {
            let states = [
                (KeyState::Enabled, enabled),
                (KeyState::Disabled, disabled),
                (KeyState::PendingDeletion, pending),
                (KeyState::Unavailable, unavailable),
            ];
            for (state, count) in states {
                assert_eq!(of(&counts, state).unwrap_or_default(), count, "{state:?}");
            }
        };
        // Keys before their store, as pages may have them.
        put(entry(1, "Enabled", 1), 1);
        put(inside(2, "Enabled", 2), 2);
        put(inside(3, "Disabled", 3), 3);
        put(inside(4, "PendingDeletion", 4), 4);
        all(1, 0, 1, 2);
        put(stores(ConnectionState::Connected, 5), 5);
        all(2, 1, 1, 0);
        // A page that is older than the event says nothing new.
        counts.lock().put_stores(&stores(ConnectionState::Disconnected, 4));
        all(2, 1, 1, 0);
        for (revision, state) in [
            (6, ConnectionState::Disconnected),
            (7, ConnectionState::Connecting),
            (8, ConnectionState::Failed),
        ] {
            put(stores(state, revision), revision);
            all(1, 0, 1, 2);
        }
        // What happens to keys meanwhile shows when the store is connected again.
        put(inside(3, "Enabled", 9), 9);
        counts.apply(&[Event::Delete(inside(4, "", 0).key)], Revision(10));
        put(inside(5, "Enabled", 11), 11);
        all(1, 0, 0, 3);
        put(stores(ConnectionState::Connected, 12), 12);
        all(4, 0, 0, 0);
        // All is removed at once, in whatever order.
        counts.apply(&[Event::Delete(stores(ConnectionState::Failed, 0).key)], Revision(13));
        all(1, 0, 0, 3);
        for id in [1, 2, 3, 5] {
            counts.apply(&[Event::Delete(entry(id, "", 0).key)], Revision(14));
        }
        all(0, 0, 0, 0);
    }
}
