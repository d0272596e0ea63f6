//! Whether records of keys can be read by this release.

use super::form;
use crate::custom_store::CustomKeyStores;
use crate::{AliasRecord, GrantRecord, KeyRecord, layout};
use kms_base::record::{Record as _, RecordError};

/// Reads a record as its name says; records of other names are passed over.
///
/// # Errors
/// [`RecordError`], if it is not one of this release.
pub fn check(key: &[u8], value: &[u8]) -> Result<(), RecordError> {
    let is_of = |prefix: &str| key.starts_with(prefix.as_bytes());
    if is_of(layout::KEYS) {
        KeyRecord::decode(value).map(drop)
    } else if is_of(layout::ALIASES) {
        form::decode::<AliasRecord>(value).map(drop)
    } else if is_of(layout::GRANTS) {
        form::decode::<GrantRecord>(value).map(drop)
    } else if is_of(layout::CUSTOM_KEY_STORES) {
        CustomKeyStores::decode(value).map(drop)
    } else {
        Ok(())
    }
}
