//! What the service does with keys that no policy was asked about: who vouches for it instead, and
//! for what.
//!
//! Beside the decisions about requests (`policy.rs`), nothing else in the daemon makes an
//! [`Authorized`] or an [`AuthorizedAccount`]. Each function checks what it stands for or takes what
//! only its caller has. Two check nothing: [`account_of_managed_key`], because whoever names the alias of
//! an AWS service has its key made and gains no use of it, and [`own_account`], whose keys no request can
//! name.

use super::{Authorized, AuthorizedAccount};
use kms_base::clock::Timestamp;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_base::principal::Principal;
use kms_keys::catalog::Versioned;
use kms_keys::document::KeyPolicy;
use kms_keys::{KeyRecord, Stored};
use kms_model::action::{self, KeyAction};
use kms_store::Revision;

/// The account of the keys that the service has for itself. It is not an account number, so no
/// request can name or reach them.
const SYSTEM: &str = "system";

/// What the root of a key's account may have devices do with it that uses no key: state what it is,
/// and bind an approval rule to it.
#[derive(Debug, Clone, Copy)]
pub struct Ownership;

/// Moving the material of a multi-Region key to its other Regions.
#[derive(Debug, Clone, Copy)]
pub struct Replication;

/// An action that changes what the keys of a multi-Region key share.
pub trait Shares: KeyAction {}

impl Shares for action::DeleteImportedKeyMaterial {}
impl Shares for action::DisableKeyRotation {}
impl Shares for action::EnableKeyRotation {}
impl Shares for action::ImportKeyMaterial {}
impl Shares for action::ReplicateKey {}
impl Shares for action::RotateKeyOnDemand {}

impl<A: Shares> Authorized<A> {
    /// Lets the service bring the other Regions of a key what its owner changes.
    #[must_use]
    pub fn for_replicas(&self) -> Authorized<Replication> {
        Authorized::of(self.stored())
    }
}

impl Authorized<action::Encrypt> {
    /// Lets the service see whether what it has just encrypted for a caller can be decrypted. The plaintext
    /// is the caller's own, and nobody else gets it.
    #[must_use]
    pub(crate) fn for_check(&self) -> Authorized<action::Decrypt> {
        Authorized::of(self.stored())
    }
}

/// Lets the service bring the other Regions of a key what was changed before: the owner was
/// authorized then, and the record of the key has it. `None` if the key has no other Regions.
pub(crate) fn vouched_by_record(key: Stored<KeyRecord>) -> Option<Authorized<Replication>> {
    key.multi_region.is_some().then(|| Authorized::of(key))
}

/// Lets the service rotate a key whose owner has asked for that, once it is due; `None` before, and
/// while the state of the key forbids it.
pub(crate) fn vouched_by_schedule(
    key: Stored<KeyRecord>,
    now: Timestamp,
) -> Option<Authorized<action::RotateKeyOnDemand>> {
    let due = key.rotation.is_some_and(|schedule| schedule.next <= now);
    let states = action::RotateKeyOnDemand::RULE.states;
    let usable = states.check(key.state, String::new).is_ok();
    (due && usable).then(|| Authorized::of(key))
}

/// Lets whoever makes a key, which is in no store yet, import its first material.
pub(crate) fn vouched_by_creator(
    account: &AuthorizedAccount<action::CreateKey>,
    key: KeyRecord,
) -> (Authorized<action::GetParametersForImport>, Authorized<action::ImportKeyMaterial>) {
    debug_assert_eq!(**account, key.scope);
    let key = unstored(key);
    (Authorized::of(Stored::clone(&key)), Authorized::of(key))
}

/// Lets the root of the key's account, or of the `first` account, have devices attest a key and bind an
/// approval rule to it: neither uses the key. With its long-term access key only.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub(crate) fn vouched_by_owner(
    key: Stored<KeyRecord>,
    principal: &Principal,
    action: &str,
    first: &str,
) -> Result<Authorized<Ownership>, KmsError> {
    let owns = principal.account == key.scope.account || principal.account == first;
    if principal.is_root() && principal.session.is_none() && owns {
        return Ok(Authorized::of(key));
    }
    let text = format!(
        "User: {} is not authorized to perform: {action}. Only the root of the key's account does, or \
         that of the first account, with its long-term access key.",
        principal.caller_arn()
    );
    Err(KmsError::new(Exception::AccessDenied, text))
}

/// Lets the service make the AWS managed key of an account that a request has named.
pub(crate) fn account_of_managed_key(scope: &Scope) -> AuthorizedAccount<action::CreateKey> {
    AuthorizedAccount::of(scope.clone())
}

/// Lets the service make keys for itself.
pub(crate) fn own_account(region: &str) -> AuthorizedAccount<action::CreateKey> {
    AuthorizedAccount::of(Scope::new(SYSTEM, region))
}

/// A key that the service has made for itself. It vouches for every use of it.
#[derive(Debug, Clone)]
pub(crate) struct OwnKey(Stored<KeyRecord>);

impl OwnKey {
    /// `None` if the key is another's.
    pub(crate) fn new(key: KeyRecord) -> Option<Self> {
        (key.scope.account == SYSTEM).then(|| Self(unstored(key)))
    }

    /// Lets the service use it.
    pub(crate) fn authorized<A: KeyAction>(&self) -> Authorized<A> {
        Authorized::of(Stored::clone(&self.0))
    }
}

/// The policy of such keys: no request can be about them.
pub(crate) fn closed() -> KeyPolicy {
    KeyPolicy::closed()
}

/// A key that is in no store, in the form of one that is.
fn unstored(key: KeyRecord) -> Stored<KeyRecord> {
    Stored::new(Versioned { revision: Revision::default(), value: key })
}
