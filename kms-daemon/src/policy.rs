//! Authorization: who may do what with which key, and (in `identities`) who manages identities
//! and becomes a role.
//!
//! [`authorize`] is the only way to an [`Authorized`] key, and the engine takes nothing else, so
//! a forgotten check does not compile. It decides in the order of the API: key policy and grants,
//! then where the key's material is from, then its state, then its usage and algorithm.
//!
//! The engine (`kms-policy`) evaluates; this module says what is asked of it. A policy that the
//! engine does not understand is refused when it is put, so that no statement is ever skipped.

use std::ops::Deref;

use kms_policy::{Grant, Grantee, Resource};

use crate::clock::Timestamp;
use crate::error::{Exception, KmsError};
use crate::key::catalog::Versioned;
use crate::key::grant::{self, GrantUse, Pairs, Party};
use crate::key::spec::{self, Algorithm};
use crate::key::{GrantId, GrantRecord, KeyRecord, KeyState, Scope, Stored};
use crate::principal::Principal;
use crate::store::Revision;

mod action;
mod asker;
mod conditions;
mod document;
mod engine;
pub(crate) mod explanation;
pub(crate) mod identities;
mod lookups;
mod particulars;
mod retirement;
pub(crate) mod simulation;
mod subject;

pub use self::action::{AccountAction, Action, Requirement};
pub use self::asker::{Asker, CallerName, CallerPolicies};
pub use self::document::{Bound, IdentityPolicy, KeyPolicy, PolicyError, TrustPolicy};
pub use self::engine::Refusal;
pub use self::lookups::Lookups;
pub use self::particulars::Particulars;
pub use self::retirement::authorize_retirement;
pub use self::subject::{NewKey, Subject, Traits};

#[cfg(test)]
pub(crate) use self::engine::decisions;

use self::conditions::About;

/// The name of the only policy of a key.
pub const DEFAULT_POLICY_NAME: &str = "default";
/// Longest key policy, in bytes. The shape in the service model is wider.
pub const MAX_POLICY: usize = 32_768;

/// What is asked of a key.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub asker: Asker<'a>,
    /// For what.
    pub action: Action,
    /// Under which name of the key.
    pub named: &'a str,
    /// With which algorithm, for actions that have one.
    pub algorithm: Option<Algorithm>,
    /// The encryption context of the request.
    pub context: &'a Pairs,
    /// What else the operation tells.
    pub particulars: Particulars<'a>,
    /// What was looked up.
    pub lookups: &'a Lookups,
}

/// What is asked of an account: something about `resource`, the ARN of an alias, about a key that
/// is to be made, or about nothing in particular.
#[derive(Debug, Clone, Copy)]
pub struct AccountRequest<'a> {
    /// Who asks.
    pub asker: Asker<'a>,
    /// For what.
    pub action: AccountAction,
    /// Of which account, and where.
    pub scope: &'a Scope,
    /// The ARN of an alias.
    pub resource: Option<&'a str>,
    /// The key that is to be made.
    pub new_key: Option<NewKey<'a>>,
    /// What else the operation tells.
    pub particulars: Particulars<'a>,
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

/// A grant that lets the caller do something.
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    /// Its id.
    pub id: GrantId,
    /// How it names the caller.
    pub grantee: Grantee,
}

impl Request<'_> {
    fn decide(&self, key: &KeyRecord, granted: Option<Granted>) -> Result<(), Refusal> {
        let (arn, account) = (key.arn(), key.scope.account.as_str());
        let policy = Some(key.policy.compiled());
        let resource = Resource::Key { arn: &arn, account, policy };
        let id = granted.map(|granted| granted.id.to_string()).unwrap_or_default();
        let grant = granted.map(|granted| Grant { id: &id, grantee: granted.grantee });
        engine::decide(self.asker, self.action.engine(), resource, self.about(key), grant)
    }

    const fn about<'r>(&'r self, key: &'r KeyRecord) -> About<'r> {
        About {
            named: self.named,
            algorithm: self.algorithm,
            context: Some(self.context),
            particulars: self.particulars,
            lookups: self.lookups,
            ..About::new(&key.scope, Subject::Key(key))
        }
    }
}

/// Whether a grant could still let `request` use `key`, which policies refuse.
///
/// For a caller of another account one is always looked for, so that the time does not tell why
/// the request is refused, nor whether there is such a key.
#[must_use]
pub fn needs_grant(request: &Request<'_>, key: &KeyRecord, refusal: &Refusal) -> bool {
    let is_foreign = request.asker.is_foreign_to(&key.scope);
    grant::OPERATIONS.contains(&request.action) && (is_foreign || refusal.yields_to_grant)
}

/// Whether a grant on the key is to who has `name`, and allows what `request` is about.
#[must_use]
pub fn grants(grant: &GrantRecord, request: &Request<'_>, name: &CallerName) -> bool {
    let Request { action, context, particulars, .. } = *request;
    let child = particulars.terms();
    grant.grantee.is_principal(&name.arn, name.unique.as_deref())
        && grant.allows(GrantUse { action, context, child })
}

/// How a party of a grant names the caller.
fn how_named(party: &Party, asker: Asker<'_>) -> Option<Grantee> {
    let mut names = asker.names().into_iter();
    names
        .find(|name| party.is_principal(&name.arn, name.unique.as_deref()))
        .map(|name| name.grantee)
}

/// A key that policies and grants let the caller use. Whether it can be used is still to be seen.
#[derive(Debug)]
pub struct Permitted<'r> {
    request: Request<'r>,
    key: Stored<KeyRecord>,
}

impl Permitted<'_> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &KeyRecord {
        &self.key
    }

    /// Whether the key can be used for what is asked at that time. Material that has expired by
    /// then is gone, whether it was destroyed yet or not.
    ///
    /// # Errors
    /// In this order: [`Exception::UnsupportedOperation`] because of its origin,
    /// [`Exception::Disabled`] or [`Exception::KmsInvalidState`], and then
    /// [`Exception::InvalidKeyUsage`] or [`Exception::UnsupportedOperation`] because of its kind.
    pub fn authorize(self, now: Timestamp) -> Result<Authorized<KeyRecord>, KmsError> {
        let Self { request, key } = self;
        let action = request.action;
        spec::check_origin(&key, action)?;
        action.state_rule().check(key.state, || key.arn())?;
        if key.has_expired(now) {
            action.state_rule().check(KeyState::PendingImport, || key.arn())?;
        }
        spec::check_use(&key, action, request.algorithm)?;
        Ok(Authorized(key))
    }
}

/// Decides whether policies let `request` be about `key`, on which the caller has a grant.
///
/// # Errors
/// [`Refusal`].
pub fn permit<'r>(
    request: &Request<'r>,
    key: Stored<KeyRecord>,
    granted: Option<Granted>,
) -> Result<Permitted<'r>, Refusal> {
    request.decide(&key, granted)?;
    Ok(Permitted { request: *request, key })
}

/// Decides whether `request` may use `key`, on which the caller has a grant.
///
/// # Errors
/// [`Exception::AccessDenied`], then as [`Permitted::authorize`].
pub fn authorize(
    request: &Request<'_>,
    key: Stored<KeyRecord>,
    granted: Option<Granted>,
    now: Timestamp,
) -> Result<Authorized<KeyRecord>, KmsError> {
    permit(request, key, granted)?.authorize(now)
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

/// Lets the root of the key's account, or of the `first` account, have devices attest a key and bind an
/// approval rule to it: neither uses the key. With its long-term access key only.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub(crate) fn authorize_owner(
    key: Stored<KeyRecord>,
    principal: &Principal,
    action: &str,
    first: &str,
) -> Result<Authorized<KeyRecord>, KmsError> {
    let owns = principal.account == key.scope.account || principal.account == first;
    if principal.is_root() && principal.session.is_none() && owns {
        return Ok(Authorized(key));
    }
    let text = format!(
        "User: {} is not authorized to perform: {action}. Only the root of the key's account does, or \
         that of the first account, with its long-term access key.",
        principal.caller_arn()
    );
    Err(KmsError::new(Exception::AccessDenied, text))
}

/// The account of the keys that the service has for itself. It is no account number, so that no
/// request can name or reach them.
const SYSTEM: &str = "system";

/// Lets the service make keys for itself.
#[must_use]
pub(crate) fn authorize_system(region: &str) -> AuthorizedAccount {
    AuthorizedAccount(Scope::new(SYSTEM, region))
}

/// The policy of such keys: no request can be about them.
pub(crate) fn closed() -> KeyPolicy {
    KeyPolicy::closed()
}

/// The policy of what stands for a key that does not exist: it denies everything.
pub(crate) fn decoy(scope: &Scope) -> KeyPolicy {
    KeyPolicy::decoy_for(scope)
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
    let usable = Action::RotateKeyOnDemand.state_rule().check(key.state, String::new).is_ok();
    (due && usable).then_some(Authorized(key))
}

/// Decides whether a caller may do something in an account that is not about one key.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub fn authorize_account(request: &AccountRequest<'_>) -> Result<AuthorizedAccount, KmsError> {
    let AccountRequest { asker, action, scope, resource, new_key, particulars } = *request;
    if asker.principal.account != scope.account {
        return Err(not_allowed(asker.principal, action.name()));
    }
    let resource = Resource::Account { arn: resource, account: &scope.account };
    let subject = new_key.map_or(Subject::Account, Subject::New);
    let about = About { particulars, ..About::new(scope, subject) };
    engine::decide(asker, action.engine(), resource, about, None)?;
    Ok(AuthorizedAccount(scope.clone()))
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
    KmsError::new(Exception::AccessDenied, engine::foreign_text(principal, action))
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

/// Where a policy is to be attached.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// Account and Region of the key.
    pub scope: &'a Scope,
    /// Its ARN.
    pub arn: &'a str,
    /// The key itself.
    pub subject: Subject<'a>,
    /// What was looked up about it.
    pub lookups: &'a Lookups,
}

/// Checks that the caller could change `policy` again after it is attached.
///
/// # Errors
/// [`Exception::MalformedPolicyDocument`].
pub fn check_lockout(
    policy: &KeyPolicy,
    asker: Asker<'_>,
    place: Attachment<'_>,
) -> Result<(), KmsError> {
    let Attachment { scope, arn, subject, lookups } = place;
    let about = About { lookups, ..About::new(scope, subject) };
    if engine::can_put_again(asker, policy.compiled(), (arn, scope.account.as_str()), about) {
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
