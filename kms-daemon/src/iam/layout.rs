//! Where identities are in the store.
//!
//! ```text
//! iam/accounts/<account>                  account
//! iam/users/<account>/<name>              user
//! iam/groups/<account>/<name>            group
//! iam/roles/<account>/<name>              role
//! iam/policies/<account>/<name>           managed policy
//! iam/access-keys/<access key id>         access key
//! iam/external-stores/<prefix>            external key store
//! iam/external-credentials/<id>           credential of an external key store
//! iam/reports/<account>                   when a credential report was asked for
//! iam/renamed/<id>                        present name of a user that had another one
//! iam/uses/<id>                           last uses of an access key, user, role or account root
//! system-keys/<region>                    key that secrets are sealed with
//! ```
//! Names are in lower case, because two that differ in case only are the same to IAM.

/// Start of all accounts.
pub(crate) const ACCOUNTS: &str = "iam/accounts/";
/// Start of all users.
pub(crate) const USERS: &str = "iam/users/";
/// Start of all groups.
pub(crate) const GROUPS: &str = "iam/groups/";
/// Start of all roles.
pub(crate) const ROLES: &str = "iam/roles/";
/// Start of all managed policies.
pub(crate) const POLICIES: &str = "iam/policies/";
/// Start of all access keys.
pub(crate) const ACCESS_KEYS: &str = "iam/access-keys/";

/// Start of all external key stores. Their prefixes are as they are in paths, in either case.
pub(crate) const EXTERNAL_STORES: &str = "iam/external-stores/";
/// Start of all credentials of external key stores.
pub(crate) const EXTERNAL_CREDENTIALS: &str = "iam/external-credentials/";

/// An external key store.
pub(crate) fn external_store(prefix: &str) -> Vec<u8> {
    [EXTERNAL_STORES, prefix].concat().into_bytes()
}

/// A credential of an external key store.
pub(crate) fn external_credential(id: &str) -> Vec<u8> {
    [EXTERNAL_CREDENTIALS, id].concat().into_bytes()
}

/// When an access key, a user, a role or an account root was last used.
pub(crate) fn uses(id: &str) -> Vec<u8> {
    ["iam/uses/", id].concat().into_bytes()
}

/// The present name of a user that had another one.
pub(crate) fn renamed(id: &str) -> Vec<u8> {
    ["iam/renamed/", id].concat().into_bytes()
}

/// When a credential report of an account was asked for.
pub(crate) fn report(account: &str) -> Vec<u8> {
    ["iam/reports/", account].concat().into_bytes()
}

/// An account.
pub(crate) fn account(id: &str) -> Vec<u8> {
    format!("{ACCOUNTS}{id}").into_bytes()
}

/// A user.
pub(crate) fn user(account: &str, name: &str) -> Vec<u8> {
    named(USERS, account, name)
}

/// A group.
pub(crate) fn group(account: &str, name: &str) -> Vec<u8> {
    named(GROUPS, account, name)
}

/// A role.
pub(crate) fn role(account: &str, name: &str) -> Vec<u8> {
    named(ROLES, account, name)
}

/// A managed policy.
pub(crate) fn policy(account: &str, name: &str) -> Vec<u8> {
    named(POLICIES, account, name)
}

/// An access key.
pub(crate) fn access_key(id: &str) -> Vec<u8> {
    [ACCESS_KEYS, id].concat().into_bytes()
}

/// Something of an account, or the start of all of the kind if `name` is empty.
pub(crate) fn named(prefix: &str, account: &str, name: &str) -> Vec<u8> {
    let mut key = [prefix, account, "/", name].concat();
    key[prefix.len()..].make_ascii_lowercase(); // an account has digits only
    key.into_bytes()
}
