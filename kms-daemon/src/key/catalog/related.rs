//! Multi-Region keys in the catalogue: changes that several Regions share.
//!
//! The keys of one store change together. A Region that another daemon serves is told afterwards:
//! the change leaves an *errand* for it in the store, which stays until it is done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::form::{decode, encode};
use super::{Catalog, CatalogError, Stored, Update, replacing, unreadable};
use crate::key::multi_region::Tokens;
use crate::key::{KeyId, KeyRecord, Scope, layout};
use crate::store::{Range, Revision, Transaction};

/// Errands that are read at a time.
const BATCH: usize = 100;

/// What a Region that another daemon serves has yet to be told of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Errand {
    /// The account and Region of this daemon that it is about.
    pub from: Scope,
    /// What has happened there.
    pub what: What,
}

/// Why a Region is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// The primary has changed what is shared.
    Changed,
    /// The replica is destroyed.
    Gone,
    /// The primary is to move to the Region that is told.
    Moves,
}

/// An errand, and where it is.
#[derive(Debug, Clone)]
pub struct FoundErrand {
    /// The Region to be told.
    pub region: String,
    /// The key.
    pub key: KeyId,
    /// The errand.
    pub errand: Errand,
    entry: Vec<u8>,
    revision: Revision,
}

impl Catalog {
    /// The related keys of a multi-Region key that are in this store.
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

    /// Replaces a key record and, if it is a primary, what its `replicas` share with it: all of it
    /// or nothing. `tokens` are those of new material, by Region. Regions of other daemons get an
    /// errand. Durable when it returns.
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

    /// As [`Catalog::change_keys`] for the keys of a multi-Region key, of which the first is the
    /// primary then; the Regions `elsewhere` are told of it.
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

    /// Replaces a key record and leaves an errand for a Region. Durable when it returns.
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

    /// The errands that are to be done, after `after`.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn errands(
        &self,
        after: Option<&FoundErrand>,
    ) -> Result<Vec<FoundErrand>, CatalogError> {
        let after = after.map(|errand| errand.entry.clone());
        let range = Range { prefix: layout::ERRANDS.into(), after, limit: BATCH };
        let page = self.store.range(range).await?.value;
        let read = |entry: crate::store::Entry| {
            let errand = decode(&entry.value).map_err(|error| unreadable(&entry.key, error))?;
            let place = layout::parse_errand(&entry.key);
            Ok(place.map(|(region, key)| FoundErrand {
                region,
                key,
                errand,
                revision: entry.revision,
                entry: entry.key,
            }))
        };
        page.entries.into_iter().filter_map(|entry| read(entry).transpose()).collect()
    }

    /// Forgets an errand that is done, unless it is to be done again.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn errand_done(&self, errand: &FoundErrand) -> Result<(), CatalogError> {
        let transaction = Transaction::new()
            .unchanged(errand.entry.clone(), errand.revision)
            .delete(errand.entry.clone());
        self.commit(transaction).await.map(|_| ())
    }
}

/// Where related keys are that are not among those found in the store.
#[must_use]
pub fn elsewhere(key: &KeyRecord, found: &[Stored<KeyRecord>]) -> Vec<Scope> {
    let mut related = key.related();
    related.retain(|scope| !found.iter().any(|found| found.scope == *scope));
    related
}

/// Leaves an errand about a key for a Region of another daemon.
pub(in crate::key) fn tell(
    transaction: Transaction,
    region: &str,
    key: &KeyRecord,
    what: What,
) -> Result<Transaction, CatalogError> {
    let entry = layout::errand(region, &key.scope, key.id);
    let errand = Errand { from: key.scope.clone(), what };
    let value = encode(&entry, &errand)?;
    Ok(transaction.put(entry, value))
}
