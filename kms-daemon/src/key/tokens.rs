//! What the key tokens of a store say by themselves: which domain's devices can open them.

use std::collections::BTreeMap;

use hsm_protocol::DomainId;
use hsm_protocol::token::KeyToken;

use super::identifier::parse_key_arn;
use super::{CatalogError, KeyRecord, layout};
use crate::store::{Range, RedbStore};
use crate::{iam, trail};

/// Records that are read at a time.
const PAGE: usize = 1000;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Until the first token.
    First,
    /// All tokens.
    All,
}

/// How many key tokens of a Region are of which domain. Blocks.
///
/// # Errors
/// [`CatalogError`] if the store cannot be read.
pub fn domains(
    store: &RedbStore,
    region: &str,
    look: Look,
) -> Result<BTreeMap<DomainId, usize>, CatalogError> {
    let mut found = BTreeMap::new();
    type Token = fn(&[u8]) -> Result<Vec<u8>, super::record::RecordError>;
    let own: [(Vec<u8>, Token); 2] = [
        (iam::system_key_entry(region), iam::system_key_token),
        (trail::digest_key_entry(region), trail::digest_key_token),
    ];
    for (key, token) in own {
        if let Some(entry) = store.get_blocking(&key)? {
            let token = token(&entry.value);
            count(&mut found, &token.map_err(|error| unreadable(&key, error))?);
        }
    }
    let mut after = None;
    while found.is_empty() || look == Look::All {
        let page =
            store.range_blocking(&Range { prefix: layout::KEYS.into(), after, limit: PAGE })?;
        for entry in &page.entries {
            let of_region =
                layout::parse_key(&entry.key).is_some_and(|(scope, _)| *scope.region == *region);
            if of_region {
                let key = KeyRecord::decode(&entry.value);
                let key = key.map_err(|error| unreadable(&entry.key, error))?;
                let materials = key.materials.iter().chain(&key.pending);
                materials.for_each(|material| count(&mut found, &material.token));
            }
        }
        after = page.entries.last().map(|entry| entry.key.clone());
        if !page.more {
            break;
        }
    }
    Ok(found)
}

/// Material that was imported and is gone has an empty token.
fn count(found: &mut BTreeMap<DomainId, usize>, token: &[u8]) {
    if let Ok(token) = KeyToken::parse(token) {
        *found.entry(token.attributes.domain).or_default() += 1;
    }
}

/// Whether a store has a key. Blocks.
///
/// # Errors
/// [`CatalogError::Store`] if the store cannot be read.
pub fn has_key(store: &RedbStore, arn: &str) -> Result<bool, CatalogError> {
    let Some((scope, id)) = parse_key_arn(arn) else { return Ok(false) };
    Ok(store.get_blocking(&layout::key(&scope, id))?.is_some())
}

fn unreadable(key: &[u8], error: super::record::RecordError) -> CatalogError {
    CatalogError::Record { key: String::from_utf8_lossy(key).into_owned(), error }
}
