//! Where things are in the store.
//!
//! ```text
//! keys/<account>/<region>/<key id>                    key record
//! aliases/<account>/<region>/<alias name>             alias record
//! key-aliases/<account>/<region>/<key id>             names of the key's aliases
//! deletions/<date>/<account>/<region>/<key id>        due dates of keys that are pending deletion
//! ```
//! Dates are milliseconds since the epoch in 16 hexadecimal digits, so that they sort.

use super::{AliasName, KeyId, Scope};
use crate::clock::Timestamp;

/// Start of every key record.
pub(super) const KEYS: &str = "keys/";
/// Start of every alias record.
pub(super) const ALIASES: &str = "aliases/";
/// Start of every due date.
pub(super) const DELETIONS: &str = "deletions/";

/// All key records of a scope.
pub(super) fn keys(scope: &Scope) -> Vec<u8> {
    format!("{KEYS}{}/{}/", scope.account, scope.region).into_bytes()
}

/// A key record.
pub(super) fn key(scope: &Scope, id: KeyId) -> Vec<u8> {
    format!("{KEYS}{}/{}/{id}", scope.account, scope.region).into_bytes()
}

/// All alias records of a scope.
pub(super) fn aliases(scope: &Scope) -> Vec<u8> {
    format!("{ALIASES}{}/{}/", scope.account, scope.region).into_bytes()
}

/// An alias record.
pub(super) fn alias(scope: &Scope, name: &AliasName) -> Vec<u8> {
    format!("{ALIASES}{}/{}/{name}", scope.account, scope.region).into_bytes()
}

/// The names of a key's aliases.
pub(super) fn key_aliases(scope: &Scope, id: KeyId) -> Vec<u8> {
    format!("key-aliases/{}/{}/{id}", scope.account, scope.region).into_bytes()
}

/// The due date of a key that is pending deletion.
pub(super) fn deletion(due: Timestamp, scope: &Scope, id: KeyId) -> Vec<u8> {
    format!("{DELETIONS}{:016x}/{}/{}/{id}", due.as_millis(), scope.account, scope.region)
        .into_bytes()
}

/// Reads what [`deletion`] wrote.
pub(super) fn parse_deletion(key: &[u8]) -> Option<(Timestamp, Scope, KeyId)> {
    let mut fields = std::str::from_utf8(key).ok()?.strip_prefix(DELETIONS)?.split('/');
    let due = u64::from_str_radix(fields.next()?, 16).ok()?;
    let scope = Scope::new(fields.next()?, fields.next()?);
    let id = KeyId::parse(fields.next()?)?;
    fields.next().is_none().then_some((Timestamp::from_millis(due), scope, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_dates_sort_and_read_back() {
        let scope = Scope::new("000000000000", "us-east-1");
        let id = KeyId::random();
        let early = deletion(Timestamp::from_millis(0xff), &scope, id);
        let late = deletion(Timestamp::from_millis(0x100), &scope, id);
        assert!(early < late);
        assert_eq!(parse_deletion(&late), Some((Timestamp::from_millis(0x100), scope, id)));
    }
}
