//! Authorization: who may do what with which key.
//!
//! [`authorize`] is the only way to an [`Authorized`] key, and the engine takes nothing else, so
//! a forgotten check does not compile. It decides in the order of the API: key policy and grants,
//! then the key's usage and algorithm, then its state.
//!
//! What can be evaluated today: key policies for the account root, with statements over
//! principals, actions and the resource (the default key policy among them). A policy with
//! anything else is refused when it is put, so that no statement is ever skipped.

use std::ops::Deref;

use crate::clock::Timestamp;
use crate::error::{Exception, KmsError};
use crate::key::catalog::{FoundGrant, Versioned};
use crate::key::grant::{self, GrantUse, Pairs, Terms};
use crate::key::spec::{self, Algorithm};
use crate::key::{GrantRecord, KeyRecord, Scope, Stored};
use crate::principal::Principal;
use crate::store::Revision;

mod action;
mod document;
pub(crate) mod identities;
mod json;
mod plain;

pub use self::action::{AccountAction, Action, Requirement};
pub use self::document::{KeyPolicy, PolicyError};

use self::document::Decision;

/// The name of the only policy of a key.
pub const DEFAULT_POLICY_NAME: &str = "default";
/// Longest key policy, in bytes. The shape in the service model is wider.
pub const MAX_POLICY: usize = 32_768;

/// What is asked of a key.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// For what.
    pub action: Action,
    /// With which algorithm, for actions that have one.
    pub algorithm: Option<Algorithm<'a>>,
    /// The encryption context of the request.
    pub context: &'a Pairs,
    /// The terms of the grant that is to be created, for [`Action::CreateGrant`].
    pub terms: Option<&'a Terms>,
}

/// A key that the caller may use for the action it was authorized for: policy, usage, algorithm
/// and state have been checked.
#[derive(Debug, Clone)]
pub struct Authorized<T>(Stored<T>);

impl<T> Authorized<T> {
    /// The record, as the catalogue shares it.
    #[must_use]
    pub fn stored(&self) -> Stored<T> {
        Stored::clone(&self.0)
    }
}

impl<T> Deref for Authorized<T> {
    type Target = Versioned<T>;

    fn deref(&self) -> &Versioned<T> {
        &self.0
    }
}

/// An account in which the caller may do what it was authorized for.
#[derive(Debug, Clone)]
pub struct AuthorizedAccount(Scope);

impl Deref for AuthorizedAccount {
    type Target = Scope;

    fn deref(&self) -> &Scope {
        &self.0
    }
}

/// Whether it depends on a grant if `request` may use `key`: the key policy says nothing.
#[must_use]
pub fn needs_grant(request: &Request<'_>, key: &KeyRecord) -> bool {
    let Request { principal, action, .. } = *request;
    grant::OPERATIONS.contains(&action)
        && key.policy.evaluate(principal, action, &key.arn()) == Decision::NotAllowed
}

/// Whether a grant on the key allows what `request` is about.
#[must_use]
pub fn grants(grant: &GrantRecord, request: &Request<'_>) -> bool {
    let Request { principal, action, context, terms, .. } = *request;
    grant.grantee.is_principal(&principal.arn())
        && grant.allows(GrantUse { action, context, child: terms })
}

/// Decides whether `request` may use `key`, on which the caller has `grant`.
///
/// # Errors
/// In this order: [`Exception::AccessDenied`], [`Exception::UnsupportedOperation`] or
/// [`Exception::InvalidKeyUsage`], then [`Exception::Disabled`] or
/// [`Exception::KmsInvalidState`].
pub fn authorize(
    request: &Request<'_>,
    key: Stored<KeyRecord>,
    grant: Option<&GrantRecord>,
) -> Result<Authorized<KeyRecord>, KmsError> {
    let Request { principal, action, .. } = *request;
    let arn = key.arn();
    match key.policy.evaluate(principal, action, &arn) {
        Decision::Allowed => {}
        Decision::NotAllowed if grant.is_some_and(|grant| grants(grant, request)) => {}
        _ if principal.account != key.scope.account => {
            return Err(deny_foreign(principal, action.name()));
        }
        Decision::ExplicitDeny => {
            return Err(denied(
                principal,
                action,
                &arn,
                "with an explicit deny in a resource-based policy",
            ));
        }
        Decision::NotAllowed => {
            let name = action.name();
            let reason = format!("because no resource-based policy allows the {name} action");
            return Err(denied(principal, action, &arn, &reason));
        }
    }
    spec::check_use(&key, action, request.algorithm)?;
    action.state_rule().check(key.state, &arn)?;
    Ok(Authorized(key))
}

/// Lets the account's owner give a new key, which is in no store yet, its first material.
#[must_use]
pub fn authorize_new(account: &AuthorizedAccount, key: KeyRecord) -> Authorized<KeyRecord> {
    debug_assert_eq!(account.0, key.scope);
    Authorized(Stored::new(Versioned { revision: Revision::default(), value: key }))
}

/// Lets the service make an AWS managed key of an account.
#[must_use]
pub fn authorize_managed(scope: &Scope) -> AuthorizedAccount {
    AuthorizedAccount(scope.clone())
}

/// Lets the service move the material of a multi-Region key to its other Regions, as its owner has
/// asked for.
#[must_use]
pub fn authorize_replication(key: Stored<KeyRecord>) -> Authorized<KeyRecord> {
    Authorized(key)
}

/// Decides whether a caller may ask anything of KMS at all.
///
/// What identity policies, boundaries and session policies say is not evaluated yet, and a Deny
/// among them must not be missed: so nobody but the account root may.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub fn authorize_caller(principal: &Principal, operation: &str) -> Result<(), KmsError> {
    if principal.is_root() {
        Ok(())
    } else {
        Err(not_allowed(principal, &format!("kms:{operation}")))
    }
}

/// The account of the keys that the service has for itself. It is no account number, so that no
/// request can name or reach them.
const SYSTEM: &str = "system";

/// Lets the service make keys for itself.
#[must_use]
pub(crate) fn authorize_system(region: &str) -> AuthorizedAccount {
    AuthorizedAccount(Scope::new(SYSTEM, region))
}

/// Lets the service use a key that it made for itself; `None` if it is another's.
#[must_use]
pub(crate) fn authorize_system_key(key: KeyRecord) -> Option<Authorized<KeyRecord>> {
    (key.scope.account == SYSTEM)
        .then(|| Authorized(Stored::new(Versioned { revision: Revision::default(), value: key })))
}

/// Lets the service rotate a key whose owner has asked for that, once it is due.
#[must_use]
pub fn authorize_scheduled(
    key: Stored<KeyRecord>,
    now: Timestamp,
) -> Option<Authorized<KeyRecord>> {
    let due = key.rotation.is_some_and(|schedule| schedule.next <= now);
    let usable = Action::RotateKeyOnDemand.state_rule().check(key.state, "").is_ok();
    (due && usable).then_some(Authorized(key))
}

/// Decides whether `principal` may do something in an account that is not about one key.
///
/// # Errors
/// [`Exception::AccessDenied`] unless it is the caller's own account.
pub fn authorize_account(
    principal: &Principal,
    action: AccountAction,
    account: &Scope,
) -> Result<AuthorizedAccount, KmsError> {
    if principal.account == account.account {
        return Ok(AuthorizedAccount(account.clone()));
    }
    Err(not_allowed(principal, action.name()))
}

/// Decides whether `principal` may retire a grant. The key policy has no say in it.
///
/// # Errors
/// [`Exception::AccessDenied`] unless it is the retiring principal, the account that made the
/// grant, or a grantee who was given [`Action::RetireGrant`].
pub fn authorize_retirement(principal: &Principal, found: &FoundGrant) -> Result<(), KmsError> {
    let (grant, arn) = (&found.record, principal.arn());
    let retiring = grant.retiring.as_ref().is_some_and(|party| party.is_principal(&arn));
    let action = Action::RetireGrant;
    let granted = grant.grantee.is_principal(&arn) && grant.terms.operations.contains(&action);
    if retiring || granted || grant.issuer == principal.account {
        return Ok(());
    }
    if found.scope.account != principal.account {
        return Err(deny_foreign(principal, action.name()));
    }
    let reason = "because the grant does not name it as the retiring principal";
    Err(denied(principal, action, &found.scope.key_arn(found.key), reason))
}

fn not_allowed(principal: &Principal, action: &str) -> KmsError {
    let text = format!(
        "User: {} is not authorized to perform: {action} because no identity-based policy allows \
         the {action} action",
        principal.caller_arn()
    );
    KmsError::new(Exception::AccessDenied, text)
}

/// The answer for a key of another account, whether or not it exists.
#[must_use]
pub fn deny_foreign(principal: &Principal, action: &str) -> KmsError {
    let text = format!(
        "User: {} is not authorized to perform: {action} on this resource because the resource \
         does not exist in this Region, no resource-based policies allow access, or a \
         resource-based policy explicitly denies access",
        principal.caller_arn()
    );
    KmsError::new(Exception::AccessDenied, text)
}

/// The answer for a key that was found from a ciphertext and is missing or not allowed.
#[must_use]
pub fn deny_ciphertext() -> KmsError {
    KmsError::new(
        Exception::AccessDenied,
        "The ciphertext refers to a customer master key that does not exist, does not exist in \
         this region, or you are not allowed to access.",
    )
}

/// Checks that `principal` could change `policy` again after it is attached to the key `arn`.
///
/// # Errors
/// [`Exception::MalformedPolicyDocument`].
pub fn check_lockout(policy: &KeyPolicy, principal: &Principal, arn: &str) -> Result<(), KmsError> {
    if policy.evaluate(principal, Action::PutKeyPolicy, arn) == Decision::Allowed {
        return Ok(());
    }
    Err(KmsError::new(
        Exception::MalformedPolicyDocument,
        "The new key policy will not allow you to update the key policy in the future.",
    ))
}

fn denied(principal: &Principal, action: Action, arn: &str, reason: &str) -> KmsError {
    let text = format!(
        "User: {} is not authorized to perform: {} on resource: {arn} {reason}",
        principal.caller_arn(),
        action.name()
    );
    KmsError::new(Exception::AccessDenied, text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::key::grant::{Constraints, Party};
    use crate::key::{GrantId, KeyId};

    #[test]
    fn a_grant_is_retired_by_those_it_names_and_by_its_issuer() {
        let grant = |retiring: Option<&str>, operations: &[Action]| {
            let value = GrantRecord {
                name: None,
                created: Timestamp::default(),
                grantee: Party::principal("111111111111", "aws").unwrap(),
                retiring: retiring.and_then(|text| Party::principal(text, "aws")),
                issuer: "222222222222".to_owned(),
                terms: Terms {
                    operations: operations.to_vec(),
                    constraints: Constraints::default(),
                },
            };
            FoundGrant {
                scope: Scope::new("000000000000", "us-east-1"),
                key: KeyId::random(),
                id: GrantId([0; 32]),
                record: Arc::new(Versioned { revision: Revision(1), value }),
            }
        };
        let plain = grant(None, &[Action::Encrypt]);
        let retirable = grant(Some("333333333333"), &[Action::Encrypt]);
        let by_grantee = grant(None, &[Action::Encrypt, Action::RetireGrant]);
        for (account, grant, may) in [
            ("111111111111", &plain, false),
            ("111111111111", &retirable, false),
            ("111111111111", &by_grantee, true),
            ("222222222222", &plain, true),
            ("333333333333", &plain, false),
            ("333333333333", &retirable, true),
            ("000000000000", &retirable, false),
        ] {
            let decided = authorize_retirement(&Principal::root(account, "AKIA"), grant);
            let refused = decided.err().map(|error| error.exception());
            assert_eq!(refused, (!may).then_some(Exception::AccessDenied), "{account}");
        }
    }
}
