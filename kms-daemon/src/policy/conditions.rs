//! The condition keys of a request.
//!
//! A key that the request does not have is absent, and what that means is the policy's. A value
//! that there is and that cannot be told is [`Value::Unknown`]: a statement that depends on it does
//! not allow, and does deny. That is so for
//!
//! * `kms:ResourceAliases` of a key with more than 50 aliases, as at AWS;
//! * a tag or a pair of an encryption context whose name differs from another's in case only, as
//!   the names of condition keys have no case;
//! * the address and the user agent of the client of another daemon.

use std::cell::OnceCell;
use std::time::{SystemTime, UNIX_EPOCH};

use kms_policy::{Action, Caller, ConditionKey, Context, Name, PairIndex, Value, pair};

use super::Asker;
use super::lookups::Lookups;
use super::particulars::Particulars;
use super::subject::Subject;
use crate::key::grant::Pairs;
use crate::key::spec::Algorithm;
use crate::key::{KeyRecord, Scope, alias};

/// What a request is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    /// Where it is.
    pub(super) scope: &'a Scope,
    /// The key, if it is about one.
    pub(super) subject: Subject<'a>,
    /// The name the request has for the key.
    pub(super) named: &'a str,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) context: Option<&'a Pairs>,
    pub(super) particulars: Particulars<'a>,
    pub(super) lookups: &'a Lookups,
}

impl<'a> About<'a> {
    /// About a key, or none, and nothing else.
    pub(super) const fn new(scope: &'a Scope, subject: Subject<'a>) -> Self {
        Self {
            scope,
            subject,
            named: "",
            algorithm: None,
            context: None,
            particulars: Particulars::None,
            lookups: Lookups::NONE,
        }
    }
}

/// The values, given when a policy asks for them.
pub(super) struct Conditions<'a> {
    pub(super) asker: Asker<'a>,
    pub(super) caller: Caller<'a>,
    pub(super) action: Action,
    pub(super) about: About<'a>,
    /// The pairs of a long encryption context, by name.
    index: OnceCell<PairIndex<'a>>,
}

/// Pairs of an encryption context that are looked through one by one.
const FEW: usize = 16;

impl<'a> Conditions<'a> {
    pub(super) const fn new(
        asker: Asker<'a>,
        caller: Caller<'a>,
        action: Action,
        about: About<'a>,
    ) -> Self {
        Self { asker, caller, action, about, index: OnceCell::new() }
    }
}

impl Conditions<'_> {
    /// How the request came. Those of other daemons come over TLS, from clients of theirs.
    fn of_request(&self, name: Name) -> Option<Value<'_>> {
        let request = self.asker.request;
        let received = || request.map_or_else(SystemTime::now, |request| request.received);
        Some(match (name, request) {
            // The Region where it takes effect: that of the replica for what makes one.
            (Name::RequestedRegion, _) => Value::from(self.about.scope.region.as_str()),
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
        let session = self.asker.principal.session.as_ref()?;
        Some(match name {
            Name::TokenIssueTime => Value::Date(seconds(SystemTime::from(session.issued))),
            // There are no MFA devices. Long-term keys have no such value.
            Name::MultiFactorAuthPresent => Value::Bool(false),
            Name::SourceIdentity => Value::from(session.source_identity.as_deref()?),
            _ => return None,
        })
    }

    fn of_context(&self, key: &ConditionKey) -> Option<Value<'_>> {
        let About { context, particulars, .. } = &self.about;
        if particulars.terms().is_some() {
            return particulars.constrained(key);
        }
        let pairs = (*context)?;
        match key.name() {
            Name::EncryptionContextKeys => (!pairs.is_empty()).then_some(Value::List(pairs)),
            _ => {
                let texts = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()));
                match pairs.len() {
                    ..=FEW => pair(key, texts),
                    // A policy may ask for hundreds of them.
                    _ => self.index.get_or_init(|| PairIndex::new(texts)).find(key),
                }
            }
        }
    }

    fn of_algorithm(&self, name: Name) -> Option<Value<'_>> {
        let algorithm = self.about.algorithm?;
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
        self.about.subject.key()?;
        let aliases = self.about.lookups.aliases.as_ref();
        let few = aliases.filter(|aliases| aliases.names.len() <= alias::MAX_PER_KEY);
        Some(few.map_or(Value::Unknown, |aliases| Value::List(aliases)))
    }

    /// The alias that the request names the key by, without the rest of its ARN.
    fn request_alias(&self) -> Option<Value<'_>> {
        let named = self.about.named;
        let start = if named.starts_with("arn:") { named.find(":alias/")? + 1 } else { 0 };
        let alias = named.get(start..).filter(|name| name.starts_with(alias::PREFIX))?;
        Some(Value::from(alias))
    }

    fn re_encrypts_on_same_key(&self) -> Option<Value<'_>> {
        let (Particulars::ReEncrypt(other), Some(key)) =
            (self.about.particulars, self.about.subject.key())
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
        let (action, about) = (self.action, &self.about);
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
                let tags = self.asker.policies.tags.iter();
                pair(key, tags.map(|(key, value)| (key.as_str(), value.as_str())))
            }
            Name::ResourceAccount => Some(Value::from(about.scope.account.as_str())),
            // Services make no requests here.
            Name::ViaAwsService => Some(Value::Bool(false)),
            Name::GrantIsForAwsResource => {
                let has = matches!(action, A::CreateGrant | A::ListGrants | A::RevokeGrant);
                has.then_some(Value::Bool(false))
            }
            Name::CallerAccount if KEYLESS.contains(&action) => None,
            Name::KeySpec
            | Name::CustomerMasterKeySpec
            | Name::KeyUsage
            | Name::CustomerMasterKeyUsage
            | Name::KeyOrigin
            | Name::MultiRegion
            | Name::MultiRegionKeyType
            | Name::ResourceTag => about.subject.value(key, action),
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
                has.then(|| about.lookups.unused_days.map_or(Value::Unknown, Value::Number))
            }
            name => about.particulars.value(key, action).or_else(|| self.caller.value(name)),
        }
    }
}

/// Actions that are about no key, alias or custom key store: they have no `kms:CallerAccount`.
const KEYLESS: &[Action] = &[
    Action::CreateKey,
    Action::GenerateRandom,
    Action::ListAliases,
    Action::ListKeys,
    Action::ListRetirableGrants,
];

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
