//! The condition keys of a request.
//!
//! A condition key that the request does not have is absent; the policy decides what that means. A
//! value that exists but cannot be determined is [`Value::Unknown`]. A statement that depends on an
//! unknown value does not allow, but does deny. Values are unknown for
//!
//! * `kms:ResourceAliases` of a key with more than 50 aliases, as at AWS;
//! * a tag or a pair of an encryption context whose name differs from another one only in case,
//!   because the names of condition keys are case-insensitive;
//! * the address and the user agent of a client of another daemon.

use std::cell::OnceCell;
use std::time::{SystemTime, UNIX_EPOCH};

use kms_policy::{Action, Caller, ConditionKey, Context, Name, PairIndex, Value, pair};

use super::Request;
use super::attributes::RequestAttributes;
use kms_base::identifier::alias::PREFIX;
use kms_keys::spec::Algorithm;
use kms_keys::{KeyRecord, alias};
use kms_model::action::{AccountSubject, Facts};

/// The values of condition keys, computed when a policy asks for them.
pub(super) struct Conditions<'a> {
    request: &'a Request<'a>,
    caller: Caller<'a>,
    /// The pairs of a long encryption context, by name.
    index: OnceCell<PairIndex<'a>>,
}

/// The number of pairs of an encryption context up to which a linear search is used.
const FEW: usize = 16;

impl<'a> Conditions<'a> {
    pub(super) const fn new(request: &'a Request<'a>, caller: Caller<'a>) -> Self {
        Self { request, caller, index: OnceCell::new() }
    }
}

impl Conditions<'_> {
    /// Returns values about the transport of the request. Requests of other daemons arrive over
    /// TLS, on behalf of their clients.
    fn of_request(&self, name: Name) -> Option<Value<'_>> {
        let request = self.request.requester.request;
        let received = || request.map_or_else(SystemTime::now, |request| request.received);
        Some(match (name, request) {
            // The Region in which the action takes effect: for actions that create a replica, that
            // of the replica.
            (Name::RequestedRegion, _) => Value::from(self.request.scope.region.as_str()),
            (Name::CurrentTime | Name::EpochTime, _) => Value::Date(seconds(received())),
            (Name::SecureTransport, None) => Value::Bool(true),
            (_, None) => Value::Unknown,
            (Name::SourceIp, Some(request)) => Value::Address(request.source_ip),
            (Name::UserAgent, Some(request)) => Value::from(request.user_agent.as_deref()?),
            (Name::Referer, Some(request)) => Value::from(request.referer.as_deref()?),
            (Name::SecureTransport, Some(request)) => Value::Bool(request.is_encrypted),
            _ => return None,
        })
    }

    fn of_session(&self, name: Name) -> Option<Value<'_>> {
        let session = self.request.requester.principal.session.as_ref()?;
        Some(match name {
            Name::TokenIssueTime => Value::Date(seconds(SystemTime::from(session.issued))),
            // MFA devices do not exist here. Requests with long-term keys do not have this
            // condition key.
            Name::MultiFactorAuthPresent => Value::Bool(false),
            Name::SourceIdentity => Value::from(session.source_identity.as_deref()?),
            _ => return None,
        })
    }

    fn of_context(&self, key: &ConditionKey) -> Option<Value<'_>> {
        let Request { context: pairs, attributes, .. } = *self.request;
        if attributes.terms().is_some() {
            return attributes.constrained(key);
        }
        match key.name() {
            Name::EncryptionContextKeys => (!pairs.is_empty()).then_some(Value::List(pairs)),
            _ => {
                let texts = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()));
                match pairs.len() {
                    ..=FEW => pair(key, texts),
                    // A policy may ask for hundreds of pairs.
                    _ => self.index.get_or_init(|| PairIndex::new(texts)).find(key),
                }
            }
        }
    }

    fn of_algorithm(&self, name: Name) -> Option<Value<'_>> {
        let algorithm = self.request.algorithm?;
        let asked = match algorithm {
            Algorithm::Encryption(_) => Name::EncryptionAlgorithm,
            Algorithm::Signing(_) => Name::SigningAlgorithm,
            Algorithm::Mac(_) => Name::MacAlgorithm,
            Algorithm::Agreement(_) => Name::KeyAgreementAlgorithm,
            Algorithm::Encapsulation(_) => Name::EncapsulationAlgorithm,
        };
        (name == asked).then(|| Value::from(algorithm.name()))
    }

    fn aliases(&self) -> Option<Value<'_>> {
        self.request.subject.key()?;
        let aliases = self.request.lookups.aliases.as_ref();
        let few = aliases.filter(|aliases| aliases.names.len() <= alias::MAX_PER_KEY);
        Some(few.map_or(Value::Unknown, |aliases| Value::List(aliases)))
    }

    /// Returns the alias by which the request names the key, without the rest of its ARN.
    fn request_alias(&self) -> Option<Value<'_>> {
        let named = self.request.named;
        let start = if named.starts_with("arn:") { named.find(":alias/")? + 1 } else { 0 };
        let alias = named.get(start..).filter(|name| name.starts_with(PREFIX))?;
        Some(Value::from(alias))
    }

    fn re_encrypts_on_same_key(&self) -> Option<Value<'_>> {
        let (RequestAttributes::ReEncrypt(other), Some(key)) =
            (self.request.attributes, self.request.subject.key())
        else {
            return None;
        };
        let is_same = |other: &KeyRecord| (&other.scope, other.id) == (&key.scope, key.id);
        Some(Value::Bool(other.is_some_and(is_same)))
    }
}

impl Context for Conditions<'_> {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        use Action as A;
        let request = self.request;
        let action = request.action;
        match key.name() {
            name @ (Name::SourceIp
            | Name::UserAgent
            | Name::Referer
            | Name::SecureTransport
            | Name::RequestedRegion
            | Name::CurrentTime
            | Name::EpochTime) => self.of_request(name),
            name @ (Name::TokenIssueTime | Name::MultiFactorAuthPresent | Name::SourceIdentity) => {
                self.of_session(name)
            }
            Name::PrincipalTag => {
                let tags = self.request.requester.policies.tags.iter();
                pair(key, tags.map(|(key, value)| (key.as_str(), value.as_str())))
            }
            Name::ResourceAccount => Some(Value::from(request.scope.account.as_str())),
            // AWS services make no requests here.
            Name::ViaAwsService => Some(Value::Bool(false)),
            Name::GrantIsForAwsResource => {
                let has = matches!(action, A::CreateGrant | A::ListGrants | A::RevokeGrant);
                has.then_some(Value::Bool(false))
            }
            Name::CallerAccount if is_of_account_alone(action) => None,
            Name::KeySpec
            | Name::CustomerMasterKeySpec
            | Name::KeyUsage
            | Name::CustomerMasterKeyUsage
            | Name::KeyOrigin
            | Name::MultiRegion
            | Name::MultiRegionKeyType
            | Name::ResourceTag => request.subject.value(key, action),
            Name::ResourceAliases => self.aliases(),
            Name::RequestAlias => self.request_alias(),
            Name::EncryptionContext | Name::EncryptionContextKeys => self.of_context(key),
            name @ (Name::EncryptionAlgorithm
            | Name::SigningAlgorithm
            | Name::MacAlgorithm
            | Name::KeyAgreementAlgorithm
            | Name::EncapsulationAlgorithm) => self.of_algorithm(name),
            Name::ReEncryptOnSameKey => self.re_encrypts_on_same_key(),
            Name::TrailingDaysWithoutKeyUsage => {
                let has = matches!(action, A::DisableKey | A::ScheduleKeyDeletion);
                has.then(|| request.lookups.unused_days.map_or(Value::Unknown, Value::Number))
            }
            name => request.attributes.value(key, action).or_else(|| self.caller.value(name)),
        }
    }
}

/// Whether an action is not about a key, alias or custom key store: such requests lack
/// `kms:CallerAccount`.
fn is_of_account_alone(action: Action) -> bool {
    Facts::of(action).is_some_and(|facts| facts.account == Some(AccountSubject::Account))
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
