//! Where things are in the store.
//!
//! ```text
//! keys/<account>/<region>/<key id>                    key record
//! aliases/<account>/<region>/<alias name>             alias record
//! key-aliases/<account>/<region>/<key id>             names of the key's aliases
//! deletions/<date>/<account>/<region>/<key id>        due dates of keys that are pending deletion
//! rotations/<date>/<account>/<region>/<key id>        due dates of keys that rotate by themselves
//! grants/<account>/<region>/<key id>/<grant id>       grant record
//! grantees/<account>/<region>/<key id>/<grantee>|<grant id>
//!                                                     the grants of a grantee
//! retirable/<region>/<retiring>|<account>/<key id>/<grant id>
//!                                                     the grants that somebody may retire; both under
//!                                                     the name and under the unique id if there is one
//! grant-names/<account>/<region>/<key id>/<digest>    id of the grant made with these parameters
//! grant-counts/<account>/<region>/<key id>            how many grants a key has
//! last-usage/<account>/<region>/<key id>              last use of a key
//! orphans/<account>/<region>/<key id>                 a destroyed key whose grants are left
//! expiries/<date>/<account>/<region>/<key id>         first expiry of a key's imported material
//! owners/<region>/<key id>/<account>                  whose key it is
//! custom-key-stores/<account>/<region>                the custom key stores of a scope
//! external-keys/<account>/<region>/<store>/<id>       which KMS key an external key has
//! errands/<region>/<account>/<from region>/<key id>   what a Region of another daemon has yet to be told
//! ```
//! Dates are milliseconds since the epoch in 16 hexadecimal digits, so that they sort.

use super::GrantId;
use super::record::ExternalKey;
use kms_base::clock::Timestamp;
use kms_base::identifier::{AliasName, KEY_ID_LENGTH, KeyId, Scope};

/// Start of everything that belongs to keys.
pub(super) const ALL: [&str; 16] = [
    KEYS,
    ALIASES,
    KEY_ALIASES,
    DELETIONS,
    ROTATIONS,
    EXPIRIES,
    GRANTS,
    GRANTEES,
    RETIRABLE,
    GRANT_NAMES,
    GRANT_COUNTS,
    LAST_USAGE,
    OWNERS,
    OUTBOX,
    CUSTOM_KEY_STORES,
    EXTERNAL_KEYS,
];
/// Start of every key record.
pub(super) const KEYS: &str = "keys/";
/// Start of every alias record.
pub(super) const ALIASES: &str = "aliases/";
/// Start of every grant record.
pub(super) const GRANTS: &str = "grants/";
/// Start of the name of every destroyed key whose grants are left.
pub(super) const ORPHANS: &str = "orphans/";
const KEY_ALIASES: &str = "key-aliases/";
/// Start of every entry of a grant under its grantee.
pub(super) const GRANTEES: &str = "grantees/";
const GRANT_NAMES: &str = "grant-names/";
const GRANT_COUNTS: &str = "grant-counts/";
const LAST_USAGE: &str = "last-usage/";
pub(super) const OWNERS: &str = "owners/";
const RETIRABLE: &str = "retirable/";
/// Ends the grantee or retiring principal in an index: no ARN or service name has it.
const END: &str = "|";
/// Start of every outbox entry for a Region of another daemon.
pub(super) const OUTBOX: &str = "errands/";
/// Start of every record of custom key stores.
pub(super) const CUSTOM_KEY_STORES: &str = "custom-key-stores/";
/// Start of every entry of an external key.
pub(super) const EXTERNAL_KEYS: &str = "external-keys/";
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
    of_key(KEYS, scope, id, "")
}

/// Reads what [`key`] wrote.
pub(super) fn parse_key(entry: &[u8]) -> Option<(Scope, KeyId)> {
    parse_place(KEYS, entry)
}

/// The accounts that have a key of this id in a Region. It is one, unless the id was chosen.
pub(super) fn owners(region: &str, id: KeyId) -> Vec<u8> {
    format!("{OWNERS}{region}/{id}/").into_bytes()
}

/// An entry of [`owners`].
pub(super) fn owner(scope: &Scope, id: KeyId) -> Vec<u8> {
    [owners(&scope.region, id).as_slice(), scope.account.as_bytes()].concat()
}

/// The custom key stores of a scope.
pub(super) fn custom_key_stores(scope: &Scope) -> Vec<u8> {
    format!("{CUSTOM_KEY_STORES}{}/{}", scope.account, scope.region).into_bytes()
}

/// Reads what [`custom_key_stores`] wrote.
pub(super) fn parse_custom_key_stores(entry: &[u8]) -> Option<Scope> {
    let place = std::str::from_utf8(entry).ok()?.strip_prefix(CUSTOM_KEY_STORES)?;
    let (account, region) = place.split_once('/')?;
    Some(Scope::new(account, region))
}

/// The external keys that KMS keys of a custom key store have.
pub(super) fn external_keys(scope: &Scope, store: &str) -> Vec<u8> {
    format!("{EXTERNAL_KEYS}{}/{}/{store}/", scope.account, scope.region).into_bytes()
}

/// An entry of [`external_keys`].
pub(super) fn external_key(scope: &Scope, key: &ExternalKey) -> Vec<u8> {
    [external_keys(scope, &key.store).as_slice(), key.id.as_bytes()].concat()
}

/// All alias records of a scope.
pub(super) fn aliases(scope: &Scope) -> Vec<u8> {
    format!("{ALIASES}{}/{}/", scope.account, scope.region).into_bytes()
}

/// An alias record.
pub(super) fn alias(scope: &Scope, name: &AliasName) -> Vec<u8> {
    [ALIASES, &scope.account, "/", &scope.region, "/", name.as_str()].concat().into_bytes()
}

/// The names of a key's aliases.
pub(super) fn key_aliases(scope: &Scope, id: KeyId) -> Vec<u8> {
    of_key(KEY_ALIASES, scope, id, "")
}

/// All grant records of a key.
pub(super) fn grants(scope: &Scope, key: KeyId) -> Vec<u8> {
    of_key(GRANTS, scope, key, "/")
}

/// A grant record.
pub(super) fn grant(scope: &Scope, key: KeyId, id: GrantId) -> Vec<u8> {
    of_key(GRANTS, scope, key, &format!("/{id}"))
}

/// Reads what [`grant`] wrote.
pub(super) fn parse_grant(entry: &[u8]) -> Option<(Scope, KeyId, GrantId)> {
    let (place, id) = std::str::from_utf8(entry).ok()?.rsplit_once('/')?;
    let (scope, key) = parse_place(GRANTS, place.as_bytes())?;
    Some((scope, key, GrantId::parse(id)?))
}

/// All grants of a key to one grantee.
pub(super) fn grants_to(scope: &Scope, key: KeyId, grantee: &str) -> Vec<u8> {
    of_key(GRANTEES, scope, key, &["/", grantee, END].concat())
}

/// The [`grants_to`] that an entry belongs to.
pub(super) fn grants_of_entry(entry: &[u8]) -> &[u8] {
    let end = entry.iter().rposition(|byte| END.as_bytes() == [*byte]).map_or(0, |at| at + 1);
    &entry[..end]
}

/// An entry of [`grants_to`].
pub(super) fn grantee(scope: &Scope, key: KeyId, grantee: &str, id: GrantId) -> Vec<u8> {
    let mut entry = grants_to(scope, key, grantee);
    entry.extend_from_slice(id.to_string().as_bytes());
    entry
}

/// All grants in a Region that somebody may retire; of the keys of one account if it is given.
pub(super) fn retirable_by(region: &str, retiring: &str, account: Option<&str>) -> Vec<u8> {
    let account = account.map(|account| format!("{account}/")).unwrap_or_default();
    format!("{RETIRABLE}{region}/{retiring}{END}{account}").into_bytes()
}

/// An entry of [`retirable_by`].
pub(super) fn retirable(scope: &Scope, key: KeyId, retiring: &str, id: GrantId) -> Vec<u8> {
    let mut entry = retirable_by(&scope.region, retiring, Some(&scope.account));
    entry.extend_from_slice(format!("{key}/{id}").as_bytes());
    entry
}

/// Which grant was made with a name and other parameters.
pub(super) fn grant_name(scope: &Scope, key: KeyId, fingerprint: &str) -> Vec<u8> {
    of_key(GRANT_NAMES, scope, key, &format!("/{fingerprint}"))
}

/// How many grants a key has.
pub(super) fn grant_count(scope: &Scope, key: KeyId) -> Vec<u8> {
    of_key(GRANT_COUNTS, scope, key, "")
}

/// The last use of a key.
pub(super) fn last_usage(scope: &Scope, key: KeyId) -> Vec<u8> {
    of_key(LAST_USAGE, scope, key, "")
}

/// A destroyed key whose grants are left.
pub(super) fn orphan(scope: &Scope, key: KeyId) -> Vec<u8> {
    of_key(ORPHANS, scope, key, "")
}

/// Reads what [`orphan`] wrote.
pub(super) fn parse_orphan(entry: &[u8]) -> Option<(Scope, KeyId)> {
    parse_place(ORPHANS, entry)
}

fn parse_place(prefix: &str, entry: &[u8]) -> Option<(Scope, KeyId)> {
    let mut fields = std::str::from_utf8(entry).ok()?.strip_prefix(prefix)?.split('/');
    let scope = Scope::new(fields.next()?, fields.next()?);
    let key = KeyId::parse(fields.next()?)?;
    fields.next().is_none().then_some((scope, key))
}

/// What a Region has yet to be told of the key in `from`.
pub(super) fn outbox_entry(region: &str, from: &Scope, key: KeyId) -> Vec<u8> {
    format!("{OUTBOX}{region}/{}/{}/{key}", from.account, from.region).into_bytes()
}

/// The Region and the key of what [`outbox_entry`] wrote.
pub(super) fn parse_outbox_entry(entry: &[u8]) -> Option<(String, KeyId)> {
    let mut fields = std::str::from_utf8(entry).ok()?.strip_prefix(OUTBOX)?.split('/');
    let region = fields.next()?.to_owned();
    let key = KeyId::parse(fields.nth(2)?)?;
    fields.next().is_none().then_some((region, key))
}

fn of_key(prefix: &str, scope: &Scope, key: KeyId, rest: &str) -> Vec<u8> {
    let mut id = [0; KEY_ID_LENGTH];
    let parts = [prefix, &scope.account, "/", &scope.region, "/", key.encode(&mut id), rest];
    parts.concat().into_bytes()
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
