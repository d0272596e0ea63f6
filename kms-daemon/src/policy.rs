//! Authorization: who may do what with which key, and (in `identities`) who may manage identities
//! and assume roles.
//!
//! The engine accepts keys only as [`Authorized`], whose type names the action. Code that forgets a
//! check, or checks another action, therefore does not compile. Requests have one way to get there,
//! [`Permitted::authorize`]. It decides in the order of the API: key policy and grants, the origin
//! of the key's material, the key's state, then its usage and algorithm. What the service does on
//! its own behalf, and who vouches for it, is in `policy/service.rs`.
//!
//! ```compile_fail
//! use hsm_protocol::key_spec::{MessageType, SigningAlgorithm};
//! use kms_daemon::engine::Devices;
//! use kms_model::action;
//! use kms_daemon::policy::Authorized;
//!
//! async fn sign(devices: &mut Devices<'_>, key: &Authorized<action::DescribeKey>) {
//!     let algorithm = SigningAlgorithm::ECDSA_SHA_256;
//!     let _ = devices.sign(key, algorithm, MessageType::RAW, b"").await;
//! }
//! ```
//!
//! With a key that is authorized for `action::Sign` the same code compiles:
//!
//! ```
//! use hsm_protocol::key_spec::{MessageType, SigningAlgorithm};
//! use kms_daemon::engine::Devices;
//! use kms_model::action;
//! use kms_daemon::policy::Authorized;
//!
//! async fn sign(devices: &mut Devices<'_>, key: &Authorized<action::Sign>) {
//!     let algorithm = SigningAlgorithm::ECDSA_SHA_256;
//!     let _ = devices.sign(key, algorithm, MessageType::RAW, b"").await;
//! }
//! ```
//!
//! The engine (`kms-policy`) evaluates policies; this module says what it is asked. A policy that
//! the engine does not understand is refused when it is put, so no statement is ever skipped.

use kms_keys::document::KeyPolicy;
use std::marker::PhantomData;
use std::ops::Deref;

use kms_policy::{Grantee, Resource};

use kms_base::clock::Timestamp;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_base::principal::Principal;
use kms_keys::catalog::Versioned;
use kms_keys::grant::{GrantUse, Pairs, Party};
use kms_keys::spec::{self, Algorithm};
use kms_keys::{GrantRecord, KeyRecord, Stored};
use kms_model::action::{AccountAction, Action, GRANTABLE, KeyAction};
use kms_model::state::KeyState;

mod attributes;
mod conditions;
mod engine;
pub(crate) mod explanation;
pub(crate) mod identities;
mod lookups;
mod requester;
mod retirement;
pub(crate) mod service;
pub(crate) mod simulation;
mod subject;

pub use self::attributes::RequestAttributes;
pub use self::engine::Refusal;
pub use self::lookups::Lookups;
pub use self::requester::{CallerName, CallerPolicies, Requester};
pub use self::retirement::authorize_retirement;
pub use self::service::{Ownership, Replication, Shares};
pub use self::subject::{NewKey, Subject, Traits};

#[cfg(test)]
pub(crate) use self::engine::decisions;

/// The name of the only policy of a key.
pub const DEFAULT_POLICY_NAME: &str = "default";
/// Longest key policy, in bytes. The service model allows longer ones.
pub const MAX_POLICY: usize = 32_768;

/// A request to be decided: the caller, the action, its object, and everything that conditions can
/// ask about. It is built once, where the request is known, and is read by all parts of the
/// decision.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The caller and the caller's policies.
    pub requester: Requester<'a>,
    /// The requested action.
    pub action: Action,
    /// The account and Region in which the request acts.
    pub scope: &'a Scope,
    /// The key that the request is about.
    pub subject: Subject<'a>,
    /// The name by which the request names the key; empty if the request is not about a key.
    pub named: &'a str,
    /// The requested algorithm, for actions that have one.
    pub algorithm: Option<Algorithm>,
    /// The encryption context of the request; empty if it has none.
    pub context: &'a Pairs,
    /// Other parameters that conditions can ask about.
    pub attributes: RequestAttributes<'a>,
    /// What was looked up for conditions.
    pub lookups: &'a Lookups,
}

impl<'a> Request<'a> {
    /// Makes a request about something in an account, without further attributes.
    #[must_use]
    pub const fn new(
        requester: Requester<'a>,
        action: Action,
        scope: &'a Scope,
        subject: Subject<'a>,
    ) -> Self {
        Self {
            requester,
            action,
            scope,
            subject,
            named: "",
            algorithm: None,
            context: &NO_PAIRS,
            attributes: RequestAttributes::None,
            lookups: Lookups::NONE,
        }
    }

    /// Makes a request about a key, without further attributes.
    #[must_use]
    pub const fn on_key(requester: Requester<'a>, action: Action, key: &'a KeyRecord) -> Self {
        Self::new(requester, action, &key.scope, Subject::Key(key))
    }
}

/// The encryption context of requests without one.
static NO_PAIRS: Pairs = Pairs::new();

/// A key that may be used for `A`, which is an action or something that the service does by itself.
/// For the action of a request, policies, usage, algorithm and state have been checked.
#[derive(Debug, Clone)]
pub struct Authorized<A> {
    key: Stored<KeyRecord>,
    purpose: PhantomData<A>,
}

impl<A> Authorized<A> {
    /// Makes the proof. Call it only after a decision, here or in [`service`].
    const fn of(key: Stored<KeyRecord>) -> Self {
        Self { key, purpose: PhantomData }
    }

    /// Returns the key record, as the catalogue shares it.
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

/// An account in which `A`, an action that is not about a single key, may be done.
#[derive(Debug, Clone)]
pub struct AuthorizedAccount<A> {
    scope: Scope,
    action: PhantomData<A>,
}

impl<A> AuthorizedAccount<A> {
    /// Makes the proof. Call it only after a decision, here or in [`service`].
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

/// The proof that a grant allows a request, and how it names the caller.
#[derive(Debug, Clone, Copy)]
pub struct Granted(Grantee);

/// Whether the grantee of a grant is the principal that has `name`, and the grant allows `request`.
#[must_use]
pub fn grants(grant: &GrantRecord, request: &Request<'_>, name: &CallerName) -> Option<Granted> {
    let Request { action, context, attributes, .. } = *request;
    let child = attributes.terms();
    let allows = grant.grantee.is_principal(&name.arn, name.unique.as_deref())
        && grant.allows(GrantUse { action, context, child });
    allows.then_some(Granted(name.grantee))
}

/// Returns how a party of a grant names the caller; `None` if it does not.
fn how_named(party: &Party, requester: Requester<'_>) -> Option<Grantee> {
    let mut names = requester.names().into_iter();
    names
        .find(|name| party.is_principal(&name.arn, name.unique.as_deref()))
        .map(|name| name.grantee)
}

/// A key that policies do not let the caller use, as long as no grant does.
#[derive(Debug)]
pub struct Refused {
    refusal: Refusal,
    key: Permitted,
}

impl Refused {
    /// Whether a grant could still let `request` use the key.
    ///
    /// For a caller of another account this is always true if grants can allow the action. So the
    /// time shows neither why the request is refused nor whether the key exists.
    #[must_use]
    pub fn needs_grant(&self, request: &Request<'_>) -> bool {
        let is_foreign = request.requester.is_foreign_to(&self.key.key.scope);
        let yields = is_foreign || !self.refusal.grantees.is_empty();
        GRANTABLE.contains(&request.action) && yields
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &KeyRecord {
        self.key.key()
    }

    /// Returns the refusal, for which no grant is looked up.
    #[must_use]
    pub fn into_refusal(self) -> Refusal {
        self.refusal
    }

    /// Lets a grant on the key decide, if one allows the request. Policies are not asked again: they
    /// have said which grants they yield to.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn by_grant(self, granted: Option<Granted>) -> Result<Permitted, Refusal> {
        match granted {
            Some(Granted(grantee)) if self.refusal.grantees.contain(grantee) => Ok(self.key),
            _ => Err(self.refusal),
        }
    }
}

/// A key that policies and grants let the caller use. Whether the key is usable is not checked yet.
#[derive(Debug)]
pub struct Permitted {
    action: Action,
    algorithm: Option<Algorithm>,
    key: Stored<KeyRecord>,
}

impl Permitted {
    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &KeyRecord {
        &self.key
    }

    /// Checks that the key can be used as requested at the time `now`, and returns it as authorized.
    /// Material that has expired by then counts as gone, even if it is not destroyed yet.
    ///
    /// # Errors
    /// In this order: [`Exception::UnsupportedOperation`] because of the key's origin,
    /// [`Exception::Disabled`] or [`Exception::KmsInvalidState`], and then
    /// [`Exception::InvalidKeyUsage`] or [`Exception::UnsupportedOperation`] because of the key's
    /// kind.
    pub fn authorize<A: KeyAction>(self, now: Timestamp) -> Result<Authorized<A>, KmsError> {
        let state = self.key.state;
        self.authorize_in(state, now)
    }

    /// As [`Permitted::authorize`], for a key whose `state` is not in its record: a custom key store decides
    /// about it, too.
    ///
    /// # Errors
    /// Those of [`Permitted::authorize`].
    pub fn authorize_in<A: KeyAction>(
        self,
        state: KeyState,
        now: Timestamp,
    ) -> Result<Authorized<A>, KmsError> {
        let Self { action, algorithm, key } = self;
        let rule = A::RULE;
        if action != rule.action {
            return Err(KmsError::internal("a decision about another action"));
        }
        spec::check_origin(&key, rule)?;
        rule.states.check(state, || key.arn())?;
        if key.has_expired(now) {
            rule.states.check(KeyState::PendingImport, || key.arn())?;
        }
        spec::check_use(&key, rule, algorithm)?;
        Ok(Authorized::of(key))
    }
}

/// Decides whether policies allow `request` on `key`. The scope and subject in the request are
/// replaced by those of the key.
///
/// # Errors
/// [`Refused`] if they do not, by which a grant can still allow it.
pub fn permit(request: &Request<'_>, key: Stored<KeyRecord>) -> Result<Permitted, Box<Refused>> {
    let (arn, account) = (key.arn(), key.scope.account.as_str());
    let policy = Some(key.policy.compiled());
    let resource = Resource::Key { arn: &arn, account, policy };
    let about = Request { scope: &key.scope, subject: Subject::Key(&key), ..*request };
    let decided = engine::decide(&about, resource);
    let Request { action, algorithm, .. } = *request;
    let key = Permitted { action, algorithm, key };
    match decided {
        Ok(()) => Ok(key),
        Err(refusal) => Err(Box::new(Refused { refusal, key })),
    }
}

/// Decides whether a caller may do something in an account that is not about one existing key, but
/// about `resource` (the ARN of an alias), a key that is to be created, or nothing in particular.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub fn authorize_account<A: AccountAction>(
    request: &Request<'_>,
    resource: Option<&str>,
) -> Result<AuthorizedAccount<A>, KmsError> {
    let Request { requester, action, scope, .. } = *request;
    if action != A::ACTION {
        return Err(KmsError::internal("a question about another action"));
    }
    if requester.principal.account != scope.account {
        return Err(not_allowed(requester.principal, action.name()));
    }
    let resource = Resource::Account { arn: resource, account: &scope.account };
    engine::decide(request, resource)?;
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

/// Returns the refusal for a key of another account, whether or not the key exists.
#[must_use]
pub fn deny_foreign(principal: &Principal, action: &str) -> KmsError {
    KmsError::new(Exception::AccessDenied, engine::foreign_text(principal, action))
}

/// Returns the refusal for a key that a ciphertext names and that is missing or not allowed.
#[must_use]
pub fn deny_ciphertext() -> KmsError {
    KmsError::new(
        Exception::AccessDenied,
        "The ciphertext refers to a customer master key that does not exist, does not exist in \
         this region, or you are not allowed to access.",
    )
}

/// The key that a policy is to be attached to.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// Account and Region of the key.
    pub scope: &'a Scope,
    /// The ARN of the key.
    pub arn: &'a str,
    /// The key as conditions see it.
    pub subject: Subject<'a>,
    /// What was looked up about the key for conditions.
    pub lookups: &'a Lookups,
}

/// Checks that the caller could change `policy` again after it is attached.
///
/// # Errors
/// [`Exception::MalformedPolicyDocument`] if the caller could not.
pub fn check_lockout(
    policy: &KeyPolicy,
    requester: Requester<'_>,
    place: Attachment<'_>,
) -> Result<(), KmsError> {
    let Attachment { scope, arn, subject, lookups } = place;
    let request =
        Request { lookups, ..Request::new(requester, Action::PutKeyPolicy, scope, subject) };
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
