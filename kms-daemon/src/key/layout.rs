//! Where things are in the store.
//!
//! ```text
//! keys/<account>/<region>/<key id>                    key record
//! aliases/<account>/<region>/<alias name>             alias record
//! key-aliases/<account>/<region>/<key id>             names of the key's aliases
//! deletions/<date>/<account>/<region>/<key id>        due dates of keys that are pending deletion
//! rotations/<date>/<account>/<region>/<key id>        due dates of keys that rotate by themselves
//! expiries/<date>/<account>/<region>/<key id>         first expiry of a key's imported material
//! ```
//! Dates are milliseconds since the epoch in 16 hexadecimal digits, so that they sort.

use super::{AliasName, KeyId, Scope};
use crate::clock::Timestamp;

/// Start of every key record.
pub(super) const KEYS: &str = "keys/";
/// Start of every alias record.
pub(super) const ALIASES: &str = "aliases/";
/// Start of every due date of a deletion.
pub(super) const DELETIONS: &str = "deletions/";
/// Start of every expiry date of imported material.
pub(super) const EXPIRIES: &str = "expiries/";
/// Start of every due date of a rotation.
pub(super) const ROTATIONS: &str = "rotations/";

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

/// A due date of a key, of the kind that starts with `prefix`.
pub(super) fn due(prefix: &str, due: Timestamp, scope: &Scope, id: KeyId) -> Vec<u8> {
    format!("{prefix}{:016x}/{}/{}/{id}", due.as_millis(), scope.account, scope.region).into_bytes()
}

/// Reads what [`due`] wrote.
pub(super) fn parse_due(prefix: &str, key: &[u8]) -> Option<(Timestamp, Scope, KeyId)> {
    let mut fields = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?.split('/');
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
        let early = due(DELETIONS, Timestamp::from_millis(0xff), &scope, id);
        let late = due(DELETIONS, Timestamp::from_millis(0x100), &scope, id);
        assert!(early < late);
        let read = Some((Timestamp::from_millis(0x100), scope, id));
        assert_eq!(parse_due(DELETIONS, &late), read);
        assert_eq!(parse_due(ROTATIONS, &late), None);
    }
}
