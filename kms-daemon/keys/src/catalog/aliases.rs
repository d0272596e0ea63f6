//! Aliases in the catalogue.
//!
//! Each alias has a record under its name, and each key that has aliases a record with their
//! names. Both change in one transaction, so the limit of aliases per key holds under any
//! concurrency, and a key's aliases are found without a scan.

use super::form::{decode, encode};
use super::{Catalog, CatalogError, Listing, Stored, Update, Versioned, inserting, unreadable};
use crate::{AliasRecord, KeyRecord, layout};
use kms_base::identifier::{AliasName, KeyId, Scope};
use kms_base::record::RecordError;
use kms_policy::List;
use kms_store::{Entry, Range, Revision, Transaction};

/// The names of a key's aliases, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasIndex {
    /// The names.
    pub names: Vec<AliasName>,
    /// Where the index was read; `None` if the key has no aliases.
    revision: Option<Revision>,
}

/// The aliases of all keys.
#[derive(Clone, Copy)]
pub struct Aliases<'c>(&'c Catalog);

impl Catalog {
    /// The aliases of all keys.
    #[must_use]
    pub const fn aliases(&self) -> Aliases<'_> {
        Aliases(self)
    }
}

impl Aliases<'_> {
    /// An alias, if it exists.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn get(
        self,
        scope: &Scope,
        name: &AliasName,
    ) -> Result<Option<Stored<AliasRecord>>, CatalogError> {
        self.0.read(&self.0.aliases, layout::alias(scope, name), decode).await
    }

    /// The names of the aliases that point to a key.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn of_key(self, scope: &Scope, id: KeyId) -> Result<AliasIndex, CatalogError> {
        let key = layout::key_aliases(scope, id);
        Ok(match self.0.store.get(&key).await?.value {
            None => AliasIndex { names: Vec::new(), revision: None },
            Some(Entry { value, revision, .. }) => AliasIndex {
                names: decode(&value).map_err(|error| unreadable(&key, error))?,
                revision: Some(revision),
            },
        })
    }

    /// Aliases of a scope in byte order of their names.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn list(
        self,
        scope: &Scope,
        after: Option<&AliasName>,
        limit: usize,
    ) -> Result<Listing<(AliasName, AliasRecord)>, CatalogError> {
        let prefix = layout::aliases(scope);
        let after = after.map(|name| layout::alias(scope, name));
        let page = self.0.store.range(Range { prefix: prefix.clone(), after, limit }).await?.value;
        let read = |entry: Entry| {
            let name = entry.key.strip_prefix(prefix.as_slice());
            let name = name.and_then(|name| AliasName::parse(std::str::from_utf8(name).ok()?));
            let damaged = || RecordError::Damaged("not an alias name".to_owned());
            let record = name
                .ok_or_else(damaged)
                .and_then(|name| Ok((name, decode::<AliasRecord>(&entry.value)?)));
            record.map_err(|error| unreadable(&entry.key, error))
        };
        let items = page.entries.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listing { items, more: page.more })
    }

    /// Adds a key together with its only alias. Durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn create_managed(
        self,
        key: &KeyRecord,
        name: &AliasName,
        record: &AliasRecord,
    ) -> Result<Update, CatalogError> {
        let alias = layout::alias(&key.scope, name);
        let transaction =
            Transaction::new().absent(alias.clone()).put(alias.clone(), encode(&alias, record)?);
        let index = AliasIndex { names: Vec::new(), revision: None };
        let transaction = index.with(name).write(transaction, &key.scope, key.id)?;
        self.0.commit(inserting(transaction, key)?).await
    }

    /// Adds an alias to `target`, whose aliases are `index`.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn create(
        self,
        name: &AliasName,
        record: &AliasRecord,
        target: &Versioned<KeyRecord>,
        index: AliasIndex,
    ) -> Result<Update, CatalogError> {
        let scope = &target.scope;
        let key = layout::alias(scope, name);
        let transaction = Transaction::new()
            .absent(key.clone())
            .unchanged(layout::key(scope, target.id), target.revision)
            .put(key.clone(), encode(&key, record)?);
        let transaction = index.with(name).write(transaction, scope, target.id)?;
        self.0.commit(transaction).await
    }

    /// Points an alias, read as `old`, to another key.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn retarget(
        self,
        name: &AliasName,
        old: &Versioned<AliasRecord>,
        new: &AliasRecord,
        target: &Versioned<KeyRecord>,
        index: AliasIndex,
    ) -> Result<Update, CatalogError> {
        let scope = &target.scope;
        let key = layout::alias(scope, name);
        let transaction = Transaction::new()
            .unchanged(key.clone(), old.revision)
            .unchanged(layout::key(scope, target.id), target.revision)
            .put(key.clone(), encode(&key, new)?);
        let mut transaction = index.with(name).write(transaction, scope, target.id)?;
        if old.target != target.id {
            let from = self.of_key(scope, old.target).await?;
            transaction = from.without(name).write(transaction, scope, old.target)?;
        }
        self.0.commit(transaction).await
    }

    /// Removes an alias, read as `old`.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn delete(
        self,
        scope: &Scope,
        name: &AliasName,
        old: &Versioned<AliasRecord>,
    ) -> Result<Update, CatalogError> {
        let key = layout::alias(scope, name);
        let transaction = Transaction::new().unchanged(key.clone(), old.revision).delete(key);
        let index = self.of_key(scope, old.target).await?;
        let transaction = index.without(name).write(transaction, scope, old.target)?;
        self.0.commit(transaction).await
    }
}

impl AliasIndex {
    fn with(mut self, name: &AliasName) -> Self {
        if let Err(place) = self.names.binary_search(name) {
            self.names.insert(place, name.clone());
        }
        self
    }

    fn without(mut self, name: &AliasName) -> Self {
        self.names.retain(|known| known != name);
        self
    }

    /// Adds the guard and the write that make this the index of a key.
    fn write(
        &self,
        transaction: Transaction,
        scope: &Scope,
        id: KeyId,
    ) -> Result<Transaction, CatalogError> {
        let key = layout::key_aliases(scope, id);
        let transaction = self.guard(transaction, scope, id);
        Ok(match self.names.as_slice() {
            [] => transaction.delete(key),
            names => transaction.put(key.clone(), encode(&key, names)?),
        })
    }

    /// Adds the guard that the index is still as it was read.
    pub(crate) fn guard(&self, transaction: Transaction, scope: &Scope, id: KeyId) -> Transaction {
        let key = layout::key_aliases(scope, id);
        match self.revision {
            None => transaction.absent(key),
            Some(revision) => transaction.unchanged(key, revision),
        }
    }
}

/// The names, which is what `kms:ResourceAliases` lists.
impl List for AliasIndex {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.names.iter().any(|name| test(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_base::clock::Timestamp;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    /// Version 1 as it is stored. Revert your change, not this.
    #[test]
    fn version_1_is_stored_as_ever() {
        let record = AliasRecord {
            target: KeyId::parse(ID).unwrap(),
            created: Timestamp::from_millis(1),
            updated: Timestamp::from_millis(2),
        };
        let golden =
            format!(r#"{{"version":1,"value":{{"target":"{ID}","created":1,"updated":2}}}}"#);
        assert_eq!(String::from_utf8(encode(b"k", &record).unwrap()).unwrap(), golden);
        assert_eq!(decode::<AliasRecord>(golden.as_bytes()).unwrap(), record);

        let names =
            vec![AliasName::parse("alias/a").unwrap(), AliasName::parse("alias/b").unwrap()];
        let golden = r#"{"version":1,"value":["alias/a","alias/b"]}"#;
        assert_eq!(String::from_utf8(encode(b"k", &names).unwrap()).unwrap(), golden);
        assert_eq!(decode::<Vec<AliasName>>(golden.as_bytes()).unwrap(), names);
    }

    #[test]
    fn another_version_is_refused() {
        let newer = br#"{"version":2,"value":["alias/a"]}"#;
        assert!(matches!(decode::<Vec<AliasName>>(newer), Err(RecordError::Version(2))));
    }
}
