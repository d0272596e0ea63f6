//! Grants in the catalogue.
//!
//! Each grant has a record under its key, and entries under its grantee, its retiring principal
//! and the parameters it was named with, so that no listing scans. All of them change in one
//! transaction, together with the number of the key's grants, so the limit holds under any
//! concurrency.

use std::str::from_utf8;
use std::sync::Arc;

use super::form::{decode, encode};
use super::{Catalog, CatalogError, Listing, Stored, Update, Versioned, unreadable};
use crate::{GrantId, GrantRecord, KeyRecord, layout};
use kms_base::identifier::{KeyId, Scope};
use kms_base::record::RecordError;
use kms_store::{Entry, MAX_OPERATIONS, Range, Revision, Transaction};

/// Grants of a destroyed key that are removed at a time: each takes up to six writes.
const BATCH: usize = 20;
/// That the index has the unique ids in the grants of earlier releases.
const INDEXED: &[u8] = b"service/grants-indexed";

/// Most grants to one grantee that are held in memory for each key.
const MAX_HELD: usize = 50;
/// Grantees whose grants on one key are held in memory at a time: some 100 MB, if each has as many.
pub(super) const MAX_HOLDERS: usize = 4096;

/// Grants of a key to one grantee, in ascending order of their ids.
pub type HeldGrants = Vec<(GrantId, Stored<GrantRecord>)>;

/// The number of a key's grants, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantCount {
    /// The number.
    pub count: u64,
    revision: Option<Revision>,
}

/// A grant, and where it is.
#[derive(Debug, Clone)]
pub struct FoundGrant {
    /// Account and Region of its key.
    pub scope: Scope,
    /// Its key.
    pub key: KeyId,
    /// Its id.
    pub id: GrantId,
    /// The grant.
    pub record: Stored<GrantRecord>,
}

/// The grants of all keys.
#[derive(Clone, Copy)]
pub struct Grants<'c>(&'c Catalog);

impl Catalog {
    /// The grants of all keys.
    #[must_use]
    pub const fn grants(&self) -> Grants<'_> {
        Grants(self)
    }
}

impl Grants<'_> {
    /// A grant, if it exists.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn get(
        self,
        scope: &Scope,
        key: KeyId,
        id: GrantId,
    ) -> Result<Option<FoundGrant>, CatalogError> {
        let record = self.0.read(&self.0.grants, layout::grant(scope, key, id), decode).await?;
        Ok(record.map(|record| FoundGrant { scope: scope.clone(), key, id, record }))
    }

    /// The grant that was made with a name and the same parameters, by its
    /// [fingerprint](GrantRecord::fingerprint).
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn named(
        self,
        scope: &Scope,
        key: KeyId,
        fingerprint: &str,
    ) -> Result<Option<GrantId>, CatalogError> {
        let entry = layout::grant_name(scope, key, fingerprint);
        let Some(found) = self.0.store.get(&entry).await?.value else { return Ok(None) };
        read_id(&found.value).ok_or_else(|| damaged(&entry)).map(Some)
    }

    /// How many grants a key has.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn count(self, scope: &Scope, key: KeyId) -> Result<GrantCount, CatalogError> {
        let entry = layout::grant_count(scope, key);
        Ok(match self.0.store.get(&entry).await?.value {
            None => GrantCount { count: 0, revision: None },
            Some(Entry { value, revision, .. }) => {
                let count = from_utf8(&value).ok().and_then(|text| text.parse().ok());
                let count = count.ok_or_else(|| damaged(&entry))?;
                GrantCount { count, revision: Some(revision) }
            }
        })
    }

    /// Adds a grant to `key`, which has `count` of them. Durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn create(
        self,
        key: &Versioned<KeyRecord>,
        id: GrantId,
        record: &GrantRecord,
        count: GrantCount,
    ) -> Result<Update, CatalogError> {
        let (scope, entry) = (&key.scope, layout::grant(&key.scope, key.id, id));
        let transaction = Transaction::new()
            .unchanged(layout::key(scope, key.id), key.revision)
            .absent(entry.clone());
        let transaction = match record.fingerprint() {
            Some(name) => transaction.absent(layout::grant_name(scope, key.id, &name)),
            None => transaction,
        };
        let transaction = count.write(transaction, scope, key.id, count.count + 1);
        let transaction = index(scope, key.id, id, record)
            .into_iter()
            .fold(transaction, |t, (entry, value)| t.put(entry, value));
        let value = encode(&entry, record)?;
        self.0.commit(transaction.put(entry, value)).await
    }

    /// Removes a grant. Durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn delete(self, grant: &FoundGrant) -> Result<Update, CatalogError> {
        let FoundGrant { scope, key, id, record } = grant;
        let entry = layout::grant(scope, *key, *id);
        let count = self.count(scope, *key).await?;
        let transaction =
            Transaction::new().unchanged(entry.clone(), record.revision).delete(entry);
        let transaction = count.write(transaction, scope, *key, count.count.saturating_sub(1));
        let transaction = index(scope, *key, *id, record)
            .into_iter()
            .fold(transaction, |t, (entry, _)| t.delete(entry));
        self.0.commit(transaction).await
    }

    /// Grants of a key in ascending order of their ids.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn list(
        self,
        scope: &Scope,
        key: KeyId,
        after: Option<GrantId>,
        limit: usize,
    ) -> Result<Listing<FoundGrant>, CatalogError> {
        let prefix = layout::grants(scope, key);
        let after = after.map(|id| layout::grant(scope, key, id));
        let page = self.0.store.range(Range { prefix: prefix.clone(), after, limit }).await?.value;
        let read = |Entry { key: entry, value, revision }: Entry| {
            let id = read_id(entry.strip_prefix(prefix.as_slice()).unwrap_or_default());
            let id = id.ok_or_else(|| damaged(&entry))?;
            let value = decode(&value).map_err(|error| unreadable(&entry, error))?;
            let record = Arc::new(Versioned { revision, value });
            Ok(FoundGrant { scope: scope.clone(), key, id, record })
        };
        let items = page.entries.into_iter().map(read).collect::<Result<_, CatalogError>>()?;
        Ok(Listing { items, more: page.more })
    }

    /// All grants of a key to one grantee, by what it [stays known by](crate::grant::Party::lasting),
    /// through a cache; `None` if they are many.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn held(
        self,
        scope: &Scope,
        key: KeyId,
        grantee: &str,
    ) -> Result<Option<Stored<HeldGrants>>, CatalogError> {
        let prefix = layout::grants_to(scope, key, grantee);
        if let Some(held) = self.0.held.get(&prefix) {
            return Ok(Some(held));
        }
        let range = Range { prefix: prefix.clone(), after: None, limit: MAX_HELD };
        let page = self.0.store.range(range).await?;
        if page.value.more {
            return Ok(None);
        }
        let mut value = Vec::with_capacity(page.value.entries.len());
        for entry in page.value.entries {
            let id = read_id(entry.key.strip_prefix(prefix.as_slice()).unwrap_or_default());
            let id = id.ok_or_else(|| damaged(&entry.key))?;
            // One that is gone meanwhile has taken its entry with it, so this is read anew.
            value.extend(self.get(scope, key, id).await?.map(|found| (id, found.record)));
        }
        let held = Arc::new(Versioned { revision: page.revision, value });
        self.0.held.insert(prefix, Arc::clone(&held), page.revision);
        Ok(Some(held))
    }

    /// Grants of a key to one grantee, by its name or what it
    /// [stays known by](crate::grant::Party::lasting), in ascending order of their ids. What is being
    /// removed meanwhile is left out.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn list_to(
        self,
        scope: &Scope,
        key: KeyId,
        grantee: &str,
        after: Option<GrantId>,
        limit: usize,
    ) -> Result<Listing<(GrantId, Option<FoundGrant>)>, CatalogError> {
        let prefix = layout::grants_to(scope, key, grantee);
        let after = after.map(|id| [prefix.as_slice(), id.to_string().as_bytes()].concat());
        let page = self.0.store.range(Range { prefix: prefix.clone(), after, limit }).await?.value;
        let mut items = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            let id = read_id(entry.key.strip_prefix(prefix.as_slice()).unwrap_or_default());
            let id = id.ok_or_else(|| damaged(&entry.key))?;
            items.push((id, self.get(scope, key, id).await?));
        }
        Ok(Listing { items, more: page.more })
    }

    /// Grants in a Region that `retiring` may retire, of the keys of one account if it is given,
    /// with their positions, in ascending order of these. What is being removed meanwhile is
    /// left out.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn list_retirable(
        self,
        region: &str,
        retiring: &str,
        account: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing<(String, Option<FoundGrant>)>, CatalogError> {
        let start = layout::retirable_by(region, retiring, None);
        let prefix = layout::retirable_by(region, retiring, account);
        let after = after.map(|position| [start.as_slice(), position.as_bytes()].concat());
        let page = self.0.store.range(Range { prefix, after, limit }).await?.value;
        let mut items = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            let position = entry.key.strip_prefix(start.as_slice()).unwrap_or_default();
            let position = from_utf8(position).map_err(|_| damaged(&entry.key))?;
            let (account, key, id) = read_position(position).ok_or_else(|| damaged(&entry.key))?;
            let grant = self.get(&Scope::new(account, region), key, id).await?;
            items.push((position.to_owned(), grant));
        }
        Ok(Listing { items, more: page.more })
    }

    /// Adds the unique ids in the grants of a store that an earlier release has made to the index.
    pub(super) async fn index(self) -> Result<(), CatalogError> {
        if self.0.store.get(INDEXED).await?.value.is_some() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let limit = MAX_OPERATIONS / 4; // each takes up to four writes
            let range = Range { prefix: layout::GRANTS.into(), after, limit };
            let page = self.0.store.range(range).await?.value;
            let mut transaction = Transaction::new();
            for entry in &page.entries {
                let place = layout::parse_grant(&entry.key).ok_or_else(|| damaged(&entry.key))?;
                let record: GrantRecord =
                    decode(&entry.value).map_err(|error| unreadable(&entry.key, error))?;
                for place in places(&place.0, place.1, place.2, &record) {
                    transaction = transaction.put(place, Vec::new());
                }
            }
            // Nothing is guarded: an entry of a grant that is gone leads nowhere.
            let _ = self.0.store.commit(transaction).await?;
            after = page.entries.into_iter().last().map(|entry| entry.key);
            if !page.more {
                break;
            }
        }
        let done = Transaction::new().put(INDEXED, encode(INDEXED, &true)?);
        let _ = self.0.store.commit(done).await?;
        Ok(())
    }

    /// Removes the grants of destroyed keys, and returns how many there were.
    ///
    /// # Errors
    /// [`CatalogError`]; what was removed before it stays removed.
    pub async fn remove_orphans(self) -> Result<usize, CatalogError> {
        let mut removed = 0;
        loop {
            let range = Range { prefix: layout::ORPHANS.into(), after: None, limit: 1 };
            let page = self.0.store.range(range).await?.value;
            let Some(orphan) = page.entries.into_iter().next() else { return Ok(removed) };
            let (scope, key) =
                layout::parse_orphan(&orphan.key).ok_or_else(|| damaged(&orphan.key))?;
            loop {
                let Listing { items, more } = self.list(&scope, key, None, BATCH).await?;
                let mut transaction = Transaction::new();
                for grant in &items {
                    transaction = transaction.delete(layout::grant(&scope, key, grant.id));
                    for (entry, _) in index(&scope, key, grant.id, &grant.record) {
                        transaction = transaction.delete(entry);
                    }
                }
                if !more {
                    transaction = transaction
                        .delete(layout::grant_count(&scope, key))
                        .delete(orphan.key.clone());
                }
                // Nothing is guarded: nobody adds to the grants of a key that is gone, and to
                // remove one twice does no harm.
                let _ = self.0.commit(transaction).await?;
                removed += items.len();
                if !more {
                    break;
                }
            }
        }
    }
}

impl GrantCount {
    /// Adds the guard that the number is as it was read.
    pub(crate) fn guard(self, transaction: Transaction, scope: &Scope, key: KeyId) -> Transaction {
        let entry = layout::grant_count(scope, key);
        match self.revision {
            None => transaction.absent(entry),
            Some(revision) => transaction.unchanged(entry, revision),
        }
    }

    fn write(self, transaction: Transaction, scope: &Scope, key: KeyId, count: u64) -> Transaction {
        let transaction = self.guard(transaction, scope, key);
        let entry = layout::grant_count(scope, key);
        match count {
            0 => transaction.delete(entry),
            count => transaction.put(entry, count.to_string().into_bytes()),
        }
    }
}

/// Everything that leads to a grant.
fn index(scope: &Scope, key: KeyId, id: GrantId, record: &GrantRecord) -> Vec<(Vec<u8>, Vec<u8>)> {
    let places = places(scope, key, id, record).into_iter();
    let mut entries: Vec<_> = places.map(|place| (place, Vec::new())).collect();
    if let Some(name) = record.fingerprint() {
        entries.push((layout::grant_name(scope, key, &name), id.to_string().into_bytes()));
    }
    entries
}

/// The entries of a grant under those whom it names.
fn places(scope: &Scope, key: KeyId, id: GrantId, record: &GrantRecord) -> Vec<Vec<u8>> {
    let grantee = [Some(record.grantee.text().into()), record.grantee.unique()];
    let grantee = grantee.into_iter().flatten();
    let mut places: Vec<_> = grantee.map(|name| layout::grantee(scope, key, &name, id)).collect();
    if let Some(retiring) = &record.retiring {
        let retiring = [Some(retiring.text().into()), retiring.unique()].into_iter().flatten();
        places.extend(retiring.map(|name| layout::retirable(scope, key, &name, id)));
    }
    places
}

/// Reads the position of a retirable grant: `<account>/<key id>/<grant id>`.
fn read_position(position: &str) -> Option<(&str, KeyId, GrantId)> {
    let mut fields = position.split('/');
    let (account, key, id) = (fields.next()?, fields.next()?, fields.next()?);
    let found = (account, KeyId::parse(key)?, GrantId::parse(id)?);
    fields.next().is_none().then_some(found)
}

fn read_id(text: &[u8]) -> Option<GrantId> {
    GrantId::parse(from_utf8(text).ok()?)
}

fn damaged(key: &[u8]) -> CatalogError {
    unreadable(key, RecordError::Damaged("not about a grant".to_owned()))
}
