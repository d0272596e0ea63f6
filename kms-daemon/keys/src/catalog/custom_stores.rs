//! Custom key stores in the store, and the external keys that KMS keys have.

use std::sync::Arc;

use super::{Catalog, CatalogError, Stored, Update, Versioned, inserting, unreadable};
use crate::custom_store::CustomKeyStores;
use crate::{ExternalKey, KeyRecord, layout};
use kms_base::identifier::Scope;
use kms_base::record::{Record, RecordError};
use kms_store::{Range, Revision, Transaction};

impl Catalog {
    /// The custom key stores of a scope, from the cache if it has them. A scope that has none yet has a record
    /// of revision zero.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn custom_key_stores(
        &self,
        scope: &Scope,
    ) -> Result<Stored<CustomKeyStores>, CatalogError> {
        let at = layout::custom_key_stores(scope);
        let found = self.read(&self.stores, at, CustomKeyStores::decode).await?;
        Ok(found.unwrap_or_else(|| {
            let value = CustomKeyStores::none(scope.clone());
            Arc::new(Versioned { revision: Revision::default(), value })
        }))
    }

    /// Every scope's custom key stores.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn all_custom_key_stores(&self) -> Result<Vec<CustomKeyStores>, CatalogError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let range = Range { prefix: layout::CUSTOM_KEY_STORES.into(), after, limit: 100 };
            let page = self.store.range(range).await?.value;
            for entry in &page.entries {
                let decoded = CustomKeyStores::decode(&entry.value);
                all.push(decoded.map_err(|error| unreadable(&entry.key, error))?);
            }
            match page.entries.last().filter(|_| page.more) {
                Some(last) => after = Some(last.key.clone()),
                None => return Ok(all),
            }
        }
    }

    /// Replaces the custom key stores of a scope. Durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn replace_custom_key_stores(
        &self,
        old: &Versioned<CustomKeyStores>,
        new: &CustomKeyStores,
    ) -> Result<Update, CatalogError> {
        self.commit(replacing_stores(Transaction::new(), old, new)?).await
    }

    /// Whether a KMS key has an external key.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn has_external_key(
        &self,
        scope: &Scope,
        key: &ExternalKey,
    ) -> Result<bool, CatalogError> {
        Ok(self.store.get(&layout::external_key(scope, key)).await?.value.is_some())
    }

    /// Whether a custom key store has KMS keys, in whatever state.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn has_keys_in(&self, scope: &Scope, store: &str) -> Result<bool, CatalogError> {
        let prefix = layout::external_keys(scope, store);
        let range = Range { prefix, after: None, limit: 1 };
        Ok(!self.store.range(range).await?.value.entries.is_empty())
    }

    /// Up to `limit` ids of external keys of a custom key store, in order, after one of them.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn external_keys_in(
        &self,
        scope: &Scope,
        store: &str,
        (after, limit): (Option<&str>, usize),
    ) -> Result<Vec<String>, CatalogError> {
        let prefix = layout::external_keys(scope, store);
        let after = after.map(|id| [prefix.as_slice(), id.as_bytes()].concat());
        let range = Range { prefix: prefix.clone(), after, limit };
        let page = self.store.range(range).await?.value;
        let id = |key: &[u8]| {
            let id = key.strip_prefix(prefix.as_slice()).unwrap_or_default();
            String::from_utf8_lossy(id).into_owned()
        };
        Ok(page.entries.iter().map(|entry| id(&entry.key)).collect())
    }

    /// Adds a new key with its external key, unless the stores of its scope have changed since `stores` was
    /// read, or another key has its external key. Durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn insert_external_key(
        &self,
        stores: &Versioned<CustomKeyStores>,
        record: &KeyRecord,
        external: &ExternalKey,
    ) -> Result<Update, CatalogError> {
        let entry = layout::external_key(&record.scope, external);
        // The stores are written as they are, so that whoever deletes the store meanwhile, having found no key
        // in it, fails.
        let transaction = replacing_stores(Transaction::new(), stores, stores)?;
        let id = record.id.to_string().into_bytes();
        let transaction = transaction.absent(entry.clone()).put(entry, id);
        self.commit(inserting(transaction, record)?).await
    }
}

fn replacing_stores(
    transaction: Transaction,
    old: &Versioned<CustomKeyStores>,
    new: &CustomKeyStores,
) -> Result<Transaction, CatalogError> {
    let at = new.key();
    let encoded = new.encode().map_err(|error: RecordError| unreadable(&at, error))?;
    let transaction = match old.revision == Revision::default() {
        true => transaction.absent(at.clone()),
        false => transaction.unchanged(at.clone(), old.revision),
    };
    Ok(transaction.put(at, encoded))
}

#[cfg(test)]
mod tests {
    use kms_store::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn a_change_in_between_is_noticed() {
        let catalog = Catalog::open(Arc::new(MemoryStore::new())).await.unwrap();
        let scope = Scope::new("000000000000", "us-east-1");
        let none = catalog.custom_key_stores(&scope).await.unwrap();
        assert!(none.stores.is_empty());
        let again = || catalog.replace_custom_key_stores(&none, &none);
        assert_eq!(again().await.unwrap(), Update::Applied);
        assert_eq!(again().await.unwrap(), Update::Conflict);
        let first = catalog.custom_key_stores(&scope).await.unwrap();
        assert_ne!(first.revision, none.revision);
        assert_eq!(
            catalog.all_custom_key_stores().await.unwrap(),
            std::slice::from_ref(&first.value)
        );
        assert!(!catalog.has_keys_in(&scope, "cks-1").await.unwrap());
    }
}
