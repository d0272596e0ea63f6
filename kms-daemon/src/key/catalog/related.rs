//! Multi-Region keys in the catalogue: changes that several Regions share.

use std::collections::BTreeMap;

use super::{Catalog, CatalogError, Stored, Update};
use crate::key::KeyRecord;
use crate::key::multi_region::Tokens;

impl Catalog {
    /// The related keys of a multi-Region key, in its other Regions.
    ///
    /// # Errors
    /// [`CatalogError::Related`] if one is missing: records of related keys name one another, so
    /// it has just been destroyed, or the store is damaged.
    pub async fn related(&self, key: &KeyRecord) -> Result<Vec<Stored<KeyRecord>>, CatalogError> {
        let mut related = Vec::new();
        for scope in key.related() {
            let missing = || CatalogError::Related(scope.key_arn(key.id));
            related.push(self.key(&scope, key.id).await?.ok_or_else(missing)?);
        }
        Ok(related)
    }

    /// Replaces a key record and, if it is a primary, what its `replicas` share with it: all of it
    /// or nothing. `tokens` are those of new material, by Region. Durable when it returns.
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
        let none = Tokens::new();
        let mut changes = vec![(old, new.clone())];
        for replica in replicas {
            let tokens = tokens.get(&replica.scope.region).unwrap_or(&none);
            let shared = replica.sharing(new, tokens);
            if shared != **replica {
                changes.push((replica, shared));
            }
        }
        self.change_keys(&changes, None).await
    }
}
