//! How many keys there are, of all accounts.

use std::collections::BTreeMap;

use super::layout::OWNERS;
use crate::store::{Range, Store, StoreError};

/// Entries that are read at a time.
const PAGE: usize = 4096;

/// The keys of each Region that has some, those that are pending deletion included. Costs a read of a
/// hundred bytes for each.
///
/// # Errors
/// If the store does not answer.
pub async fn keys_by_region(store: &dyn Store) -> Result<BTreeMap<String, u64>, StoreError> {
    let (mut keys, mut after) = (BTreeMap::new(), None);
    loop {
        let range = Range { prefix: OWNERS.as_bytes().to_vec(), after, limit: PAGE };
        let page = store.range(range).await?.value;
        for entry in &page.entries {
            let name = entry.key.get(OWNERS.len()..).unwrap_or_default();
            let region = name.split(|byte| *byte == b'/').next().unwrap_or_default();
            *keys.entry(String::from_utf8_lossy(region).into_owned()).or_default() += 1;
        }
        after = page.entries.last().map(|entry| entry.key.clone());
        if !page.more {
            return Ok(keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Transaction};

    #[tokio::test]
    async fn counts_across_pages() {
        let store = MemoryStore::new();
        for batch in 0..=PAGE / 64 {
            let keys = (0..64).fold(Transaction::new(), |all, key| {
                all.put(format!("owners/eu-west-1/{batch}-{key}/000000000000"), [])
            });
            let _ = store.commit(keys).await.unwrap();
        }
        let other = Transaction::new().put("owners/us-east-1/x/1", []).put("ownersx/us-east-1", []);
        let _ = store.commit(other).await.unwrap();
        let counted = keys_by_region(&store).await.unwrap();
        let expected = [("eu-west-1", PAGE as u64 + 64), ("us-east-1", 1)];
        assert_eq!(counted, expected.map(|(region, keys)| (region.to_owned(), keys)).into());
    }
}
