//! Keys with their tags, for those who look for them by these.

use super::{Catalog, CatalogError, Listing, unreadable};
use crate::{KeyRecord, layout};
use kms_base::identifier::{KeyId, Scope, Tags};
use kms_store::Range;

impl Catalog {
    /// Ids and tags of the keys of a scope, in ascending order of the ids. They are read from the
    /// store and do not go through the cache, in which they would take the place of others.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn list_tags(
        &self,
        scope: &Scope,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Listing<(KeyId, Tags)>, CatalogError> {
        let prefix = layout::keys(scope);
        let after = after.map(|id| layout::key(scope, id));
        let range = Range { prefix, after, limit };
        let page = self.store.range(range).await?.value;
        let mut items = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            let Some((_, id)) = layout::parse_key(&entry.key) else { continue };
            let tags = KeyRecord::tags_in(&entry.value);
            items.push((id, tags.map_err(|error| unreadable(&entry.key, error))?));
        }
        Ok(Listing { items, more: page.more })
    }
}
