//! Multi-Region keys in the catalogue: changes that several Regions share.
//!
//! Related keys in one store change together. A Region that another daemon serves is notified
//! afterwards: the change leaves an *outbox entry* ([`OutboxEntry`]) for that Region in the store, which
//! stays until it is done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::form::{decode, encode};
use super::{Catalog, CatalogError, Stored, Update, replacing, unreadable};
use crate::multi_region::Tokens;
use crate::{KeyRecord, layout};
use kms_base::identifier::{KeyId, Scope};
use kms_store::{Range, Revision, Transaction};

/// The number of outbox entries that are read at a time.
const BATCH: usize = 100;

/// What a Region of another daemon still has to be told about a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutboxEntry {
    /// The account and Region of this daemon whose key has changed.
    pub from: Scope,
    /// The event in that Region.
    pub what: What,
}

/// The events that a Region is notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// The primary has changed the settings that related keys share.
    Changed,
    /// The replica has been destroyed.
    Gone,
    /// The primary is about to move to the notified Region.
    Moves,
}

/// An outbox entry and its place in the store.
#[derive(Debug, Clone)]
pub struct FoundOutboxEntry {
    /// The Region to be notified.
    pub region: String,
    /// The id of the key that the entry is about.
    pub key: KeyId,
    /// What the Region is to be told.
    pub content: OutboxEntry,
    entry: Vec<u8>,
    revision: Revision,
}

impl Catalog {
    /// Returns the related keys of a multi-Region key that are in this store.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn related(&self, key: &KeyRecord) -> Result<Vec<Stored<KeyRecord>>, CatalogError> {
        let mut related = Vec::new();
        for scope in key.related() {
            related.extend(self.key(&scope, key.id).await?);
        }
        Ok(related)
    }

    /// Replaces a key record and, if the key is a primary, what its `replicas` share with it, in
    /// one transaction. `tokens` are those of new material, by Region. Regions of other daemons get
    /// an outbox entry. The change is durable on return.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn replace_shared(
        &self,
        old: Stored<KeyRecord>,
        new: &KeyRecord,
        replicas: Vec<Stored<KeyRecord>>,
        tokens: &BTreeMap<String, Tokens>,
    ) -> Result<Update, CatalogError> {
        let new = match new.is_replica() {
            true => new.clone(),
            false => new.next_version(),
        };
        let Some(shared) = new.shared().filter(|_| !new.is_replica()) else {
            return self.replace_key(&old, &new).await;
        };
        let none = Tokens::new();
        let elsewhere = elsewhere(&new, &replicas);
        let mut changes = vec![(old, new.clone())];
        for replica in replicas {
            let tokens = tokens.get(&replica.scope.region).unwrap_or(&none);
            let next = replica.sharing(&shared, tokens);
            changes.push((replica, next));
        }
        self.change_related(&changes, None, &elsewhere).await
    }

    /// Changes the keys of a multi-Region key as [`Catalog::change_keys`] does. The first key is
    /// the primary after the change; the Regions `elsewhere` get an outbox entry.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn change_related(
        &self,
        changes: &[(Stored<KeyRecord>, KeyRecord)],
        new: Option<&KeyRecord>,
        elsewhere: &[Scope],
    ) -> Result<Update, CatalogError> {
        let mut transaction = Transaction::new();
        for (old, new) in changes {
            transaction = replacing(transaction, old, new)?;
        }
        if let Some(record) = new {
            transaction = super::inserting(transaction, record)?;
        }
        if let Some((_, primary)) = changes.first() {
            for scope in elsewhere {
                transaction = tell(transaction, &scope.region, primary, What::Changed)?;
            }
        }
        self.commit(transaction).await
    }

    /// Replaces a key record and leaves an outbox entry for a Region. The change is durable on
    /// return.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn replace_and_tell(
        &self,
        old: &Stored<KeyRecord>,
        new: &KeyRecord,
        region: &str,
        what: What,
    ) -> Result<Update, CatalogError> {
        let transaction = replacing(Transaction::new(), old, new)?;
        self.commit(tell(transaction, region, new, what)?).await
    }

    /// Returns the outbox entries after `after`, which are still to be done.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn outbox(
        &self,
        after: Option<&FoundOutboxEntry>,
    ) -> Result<Vec<FoundOutboxEntry>, CatalogError> {
        let after = after.map(|last| last.entry.clone());
        let range = Range { prefix: layout::OUTBOX.into(), after, limit: BATCH };
        let page = self.store.range(range).await?.value;
        let read = |entry: kms_store::Entry| {
            let content = decode(&entry.value).map_err(|error| unreadable(&entry.key, error))?;
            let place = layout::parse_outbox_entry(&entry.key);
            Ok(place.map(|(region, key)| FoundOutboxEntry {
                region,
                key,
                content,
                revision: entry.revision,
                entry: entry.key,
            }))
        };
        page.entries.into_iter().filter_map(|entry| read(entry).transpose()).collect()
    }

    /// Deletes an outbox entry that is done, unless it has been left again since.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn outbox_entry_sent(&self, sent: &FoundOutboxEntry) -> Result<(), CatalogError> {
        let transaction = Transaction::new()
            .unchanged(sent.entry.clone(), sent.revision)
            .delete(sent.entry.clone());
        self.commit(transaction).await.map(|_| ())
    }
}

/// Returns the Regions of related keys that were not found in the store.
#[must_use]
pub fn elsewhere(key: &KeyRecord, found: &[Stored<KeyRecord>]) -> Vec<Scope> {
    let mut related = key.related();
    related.retain(|scope| !found.iter().any(|found| found.scope == *scope));
    related
}

/// Adds an outbox entry about a key, for a Region of another daemon, to a transaction.
pub(crate) fn tell(
    transaction: Transaction,
    region: &str,
    key: &KeyRecord,
    what: What,
) -> Result<Transaction, CatalogError> {
    let entry = layout::outbox_entry(region, &key.scope, key.id);
    let content = OutboxEntry { from: key.scope.clone(), what };
    let value = encode(&entry, &content)?;
    Ok(transaction.put(entry, value))
}
