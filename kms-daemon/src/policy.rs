//! Authorization: who may do what with which key, and (in `identities`) who manages identities
//! and becomes a role.
//!
//! A key goes to the engine as [`Authorized`] only, which says for which action, so that neither a
//! forgotten check nor one for another action compiles. For requests there is one way to it,
//! [`Permitted::authorize`]: it decides in the order of the API, key policy and grants, then where
//! the key's material is from, then its state, then its usage and algorithm. What the service does
//! by itself is in `policy/service.rs`, with who vouches for it.
//!
//! ```compile_fail
//! use hsm_protocol::key_spec::{MessageType, SigningAlgorithm};
//! use kms_daemon::engine::Devices;
//! use kms_daemon::model::action;
//! use kms_daemon::policy::Authorized;
//!
//! async fn sign(devices: &mut Devices<'_>, key: &Authorized<action::DescribeKey>) {
//!     let algorithm = SigningAlgorithm::ECDSA_SHA_256;
//!     let _ = devices.sign(key, algorithm, MessageType::RAW, b"").await;
//! }
//! ```
//!
//! With a key that is authorized for `action::Sign` the same does:
//!
//! ```
//! use hsm_protocol::key_spec::{MessageType, SigningAlgorithm};
//! use kms_daemon::engine::Devices;
//! use kms_daemon::model::action;
//! use kms_daemon::policy::Authorized;
//!
//! async fn sign(devices: &mut Devices<'_>, key: &Authorized<action::Sign>) {
//!     let algorithm = SigningAlgorithm::ECDSA_SHA_256;
//!     let _ = devices.sign(key, algorithm, MessageType::RAW, b"").await;
//! }
//! ```
//!
//! The engine (`kms-policy`) evaluates; this module says what is asked of it. A policy that the
//! engine does not understand is refused when it is put, so that no statement is ever skipped.

use std::marker::PhantomData;
use std::ops::Deref;

use kms_policy::{Grant, Grantee, Resource};

use crate::clock::Timestamp;
use crate::error::{Exception, KmsError};
use crate::key::catalog::Versioned;
use crate::key::grant::{GrantUse, Pairs, Party};
use crate::key::spec::{self, Algorithm};
use crate::key::{GrantId, GrantRecord, KeyRecord, KeyState, Scope, Stored};
use crate::model::action::{AccountAction, Action, GRANTABLE, KeyAction};
use crate::principal::Principal;

mod asker;
mod conditions;
mod engine;
pub(crate) mod explanation;
pub(crate) mod identities;
mod lookups;
mod particulars;
mod retirement;
pub(crate) mod service;
pub(crate) mod simulation;
mod subject;

pub use self::asker::{Asker, CallerName, CallerPolicies};
pub use self::engine::Refusal;
pub use self::lookups::Lookups;
pub use self::particulars::Particulars;
pub use self::retirement::authorize_retirement;
pub use self::service::{Ownership, Replication, Shares};
pub use self::subject::{NewKey, Subject, Traits};

pub use crate::document::{Bound, IdentityPolicy, KeyPolicy, PolicyError, TrustPolicy};

#[cfg(test)]
pub(crate) use self::engine::decisions;

/// The name of the only policy of a key.
pub const DEFAULT_POLICY_NAME: &str = "default";
/// Longest key policy, in bytes. The shape in the service model is wider.
pub const MAX_POLICY: usize = 32_768;

/// What is asked: who wants to do what, with what, and what conditions are told of it. It is written
/// once, where the request is known, and read by everything that has a say.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub asker: Asker<'a>,
    /// For what.
    pub action: Action,
    /// Where it is, and whose.
    pub scope: &'a Scope,
    /// What it is about.
    pub subject: Subject<'a>,
    /// Under which name of the key; empty if it is about none.
    pub named: &'a str,
    /// With which algorithm, for actions that have one.
    pub algorithm: Option<Algorithm>,
    /// The encryption context of the request; empty if it has none.
    pub context: &'a Pairs,
    /// What else the operation tells.
    pub particulars: Particulars<'a>,
    /// What was looked up.
    pub lookups: &'a Lookups,
}

impl<'a> Request<'a> {
    /// About something in an account, with nothing else to tell.
    #[must_use]
    pub const fn new(
        asker: Asker<'a>,
        action: Action,
        scope: &'a Scope,
        subject: Subject<'a>,
    ) -> Self {
        Self {
            asker,
            action,
            scope,
            subject,
            named: "",
            algorithm: None,
            context: &NO_PAIRS,
            particulars: Particulars::None,
            lookups: Lookups::NONE,
        }
    }

    /// About a key, with nothing else to tell.
    #[must_use]
    pub const fn on_key(asker: Asker<'a>, action: Action, key: &'a KeyRecord) -> Self {
        Self::new(asker, action, &key.scope, Subject::Key(key))
    }
}

/// The encryption context of requests that have none.
static NO_PAIRS: Pairs = Pairs::new();

/// A key that may be used for `A`, an action or something that the service does by itself. For an
/// action of a request, policies, usage, algorithm and state have been checked.
#[derive(Debug, Clone)]
pub struct Authorized<A> {
    key: Stored<KeyRecord>,
    purpose: PhantomData<A>,
}

impl<A> Authorized<A> {
    /// After a decision, here or in [`service`].
    const fn of(key: Stored<KeyRecord>) -> Self {
        Self { key, purpose: PhantomData }
    }

    /// The record, as the catalogue shares it.
    #[must_use]
    pub fn stored(&self) -> Stored<KeyRecord> {
        Stored::clone(&self.key)
    }
}

impl<A> Deref for Authorized<A> {
    type Target = Versioned<KeyRecord>;

    fn deref(&self) -> &Versioned<KeyRecord> {
        &self.key
    }
}

/// An account in which `A`, an action that is not about one key, may be done.
#[derive(Debug, Clone)]
pub struct AuthorizedAccount<A> {
    scope: Scope,
    action: PhantomData<A>,
}

impl<A> AuthorizedAccount<A> {
    /// After a decision, here or in [`service`].
    const fn of(scope: Scope) -> Self {
        Self { scope, action: PhantomData }
    }
}

impl<A> Deref for AuthorizedAccount<A> {
    type Target = Scope;

    fn deref(&self) -> &Scope {
        &self.scope
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

/// Whether a grant could still let `request` use `key`, which policies refuse.
///
/// For a caller of another account one is always looked for, so that the time does not tell why
/// the request is refused, nor whether there is such a key.
#[must_use]
pub fn needs_grant(request: &Request<'_>, key: &KeyRecord, refusal: &Refusal) -> bool {
    let is_foreign = request.asker.is_foreign_to(&key.scope);
    GRANTABLE.contains(&request.action) && (is_foreign || refusal.yields_to_grant)
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
pub struct Permitted {
    action: Action,
    algorithm: Option<Algorithm>,
    key: Stored<KeyRecord>,
}

impl Permitted {
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
    pub fn authorize<A: KeyAction>(self, now: Timestamp) -> Result<Authorized<A>, KmsError> {
        let Self { action, algorithm, key } = self;
        let rule = A::RULE;
        if action != rule.action {
            return Err(KmsError::internal("a decision about another action"));
        }
        spec::check_origin(&key, rule)?;
        rule.states.check(key.state, || key.arn())?;
        if key.has_expired(now) {
            rule.states.check(KeyState::PendingImport, || key.arn())?;
        }
        spec::check_use(&key, rule, algorithm)?;
        Ok(Authorized::of(key))
    }
}

/// Decides whether policies let `request` be about `key`, on which the caller has a grant. What the
/// request says of its place and subject is taken from the key.
///
/// # Errors
/// [`Refusal`].
pub fn permit(
    request: &Request<'_>,
    key: Stored<KeyRecord>,
    granted: Option<Granted>,
) -> Result<Permitted, Refusal> {
    let (arn, account) = (key.arn(), key.scope.account.as_str());
    let policy = Some(key.policy.compiled());
    let resource = Resource::Key { arn: &arn, account, policy };
    let id = granted.map(|granted| granted.id.to_string()).unwrap_or_default();
    let grant = granted.map(|granted| Grant { id: &id, grantee: granted.grantee });
    let about = Request { scope: &key.scope, subject: Subject::Key(&key), ..*request };
    engine::decide(&about, resource, grant)?;
    let Request { action, algorithm, .. } = *request;
    Ok(Permitted { action, algorithm, key })
}

/// Decides whether `request` may use `key`, on which the caller has a grant.
///
/// # Errors
/// [`Exception::AccessDenied`], then as [`Permitted::authorize`].
pub fn authorize<A: KeyAction>(
    request: &Request<'_>,
    key: Stored<KeyRecord>,
    granted: Option<Granted>,
    now: Timestamp,
) -> Result<Authorized<A>, KmsError> {
    permit(request, key, granted)?.authorize(now)
}

/// Decides whether a caller may do something in an account that is not about one key, but about
/// `resource`, the ARN of an alias, about a key that is to be made, or about nothing in particular.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub fn authorize_account<A: AccountAction>(
    request: &Request<'_>,
    resource: Option<&str>,
) -> Result<AuthorizedAccount<A>, KmsError> {
    let Request { asker, action, scope, .. } = *request;
    if action != A::ACTION {
        return Err(KmsError::internal("a question about another action"));
    }
    if asker.principal.account != scope.account {
        return Err(not_allowed(asker.principal, action.name()));
    }
    let resource = Resource::Account { arn: resource, account: &scope.account };
    engine::decide(request, resource, None)?;
    Ok(AuthorizedAccount::of(scope.clone()))
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
    let request = Request { lookups, ..Request::new(asker, Action::PutKeyPolicy, scope, subject) };
    if engine::can_put_again(&request, policy.compiled(), arn) {
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
