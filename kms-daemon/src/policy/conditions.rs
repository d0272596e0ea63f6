//! The condition keys of a request.
//!
//! What a request may have but is not filled in here yet is [`Value::Unknown`]: a statement that
//! depends on it does not allow, and does deny. `docs/compatibility.md` lists these keys.

use std::time::{SystemTime, UNIX_EPOCH};

use kms_policy::{Action, Caller, ConditionKey, Context, Name, Value, pair};

use super::{Asker, DEFAULT_POLICY_NAME};
use crate::key::grant::{self, Pairs, Terms};
use crate::key::spec::Algorithm;
use crate::key::{KeyRecord, Scope};

/// What a request is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    /// Where it is.
    pub(super) scope: &'a Scope,
    /// The key, if it is about one.
    pub(super) key: Option<&'a KeyRecord>,
    /// The name the request has for the key.
    pub(super) named: &'a str,
    pub(super) algorithm: Option<Algorithm<'a>>,
    pub(super) context: Option<&'a Pairs>,
    pub(super) terms: Option<&'a Terms>,
}

impl<'a> About<'a> {
    /// About no key.
    pub(super) const fn account(scope: &'a Scope) -> Self {
        Self { scope, key: None, named: "", algorithm: None, context: None, terms: None }
    }
}

/// The values, given when a policy asks for them.
pub(super) struct Conditions<'a> {
    asker: Asker<'a>,
    caller: Caller<'a>,
    action: Action,
    about: About<'a>,
    operations: Vec<&'static str>,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(
        asker: Asker<'a>,
        caller: Caller<'a>,
        action: Action,
        about: About<'a>,
    ) -> Self {
        let terms = about.terms.map(|terms| terms.operations.as_slice()).unwrap_or_default();
        let operations = terms.iter().map(|action| grant::operation_name(*action)).collect();
        Self { asker, caller, action, about, operations }
    }

    fn of_request(&self, name: Name) -> Option<Value<'_>> {
        let request = self.asker.request?;
        Some(match name {
            Name::SourceIp => Value::Address(request.source_ip),
            Name::UserAgent => Value::from(request.user_agent.as_deref()?),
            Name::SecureTransport => Value::Bool(request.is_encrypted),
            Name::RequestedRegion => Value::from(request.region.as_str()),
            Name::CurrentTime | Name::EpochTime => Value::Date(seconds(request.received)),
            _ => return None,
        })
    }

    fn of_session(&self, name: Name) -> Option<Value<'_>> {
        let session = self.asker.principal.session.as_ref()?;
        Some(match name {
            Name::TokenIssueTime => Value::Date(seconds(SystemTime::from(session.issued))),
            Name::MultiFactorAuthPresent => Value::Bool(false),
            Name::SourceIdentity => Value::from(session.source_identity.as_deref()?),
            _ => return None,
        })
    }

    fn of_key(&self, key: &ConditionKey) -> Option<Value<'_>> {
        let Some(record) = self.about.key else {
            return (self.action == Action::CreateKey).then_some(Value::Unknown);
        };
        let named = |name: Option<&'static str>| name.map_or(Value::Unknown, Value::from);
        Some(match key.name() {
            Name::KeySpec | Name::CustomerMasterKeySpec => named(record.spec.aws_name()),
            Name::KeyUsage | Name::CustomerMasterKeyUsage => named(record.usage.aws_name()),
            Name::KeyOrigin => named(record.origin.aws_name()),
            Name::MultiRegion => Value::Bool(record.multi_region.is_some()),
            Name::MultiRegionKeyType => {
                record.multi_region.as_ref()?;
                Value::from(if record.is_replica() { "REPLICA" } else { "PRIMARY" })
            }
            Name::ResourceTag => {
                return pair(key, record.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            }
            Name::ResourceAliases => Value::Unknown,
            _ => return None,
        })
    }

    fn of_context(&self, key: &ConditionKey) -> Option<Value<'_>> {
        if self.action == Action::CreateGrant {
            return Some(Value::Unknown); // it is that of the constraints
        }
        let pairs = self.about.context?;
        match key.name() {
            Name::EncryptionContextKeys => (!pairs.is_empty()).then_some(Value::List(pairs)),
            _ => pair(key, pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
        }
    }

    fn of_algorithm(&self, name: Name) -> Option<Value<'_>> {
        Some(match (name, self.about.algorithm) {
            (Name::EncryptionAlgorithm, Some(Algorithm::Encryption(name)))
            | (Name::SigningAlgorithm, Some(Algorithm::Signing(name)))
            | (Name::MacAlgorithm, Some(Algorithm::Mac(name)))
            | (Name::KeyAgreementAlgorithm, Some(Algorithm::Agreement(name)))
            | (Name::EncapsulationAlgorithm, Some(Algorithm::Encapsulation(name))) => {
                Value::from(name)
            }
            (Name::EncryptionAlgorithm, None) if GENERATES.contains(&self.action) => {
                Value::from("SYMMETRIC_DEFAULT")
            }
            (_, None) => return self.unfilled(CRYPTOGRAPHIC),
            _ => return None,
        })
    }

    fn of_terms(&self, name: Name) -> Option<Value<'_>> {
        let constraints = &self.about.terms?.constraints;
        Some(match name {
            Name::GrantOperations => Value::List(&self.operations),
            Name::GrantConstraintSourceArn => Value::from(constraints.source_arn.as_deref()?),
            Name::GrantConstraintType => match (&constraints.equals, &constraints.subset) {
                (None, None) => return None,
                (Some(_), None) => Value::from("EncryptionContextEquals"),
                (None, Some(_)) => Value::from("EncryptionContextSubset"),
                _ => Value::Unknown,
            },
            _ => Value::Unknown, // the parties
        })
    }

    /// A key that only these actions have, and that is not filled in.
    fn unfilled(&self, actions: &[Action]) -> Option<Value<'static>> {
        actions.contains(&self.action).then_some(Value::Unknown)
    }
}

impl Context for Conditions<'_> {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        use Action as A;
        match key.name() {
            name @ (Name::SourceIp
            | Name::UserAgent
            | Name::SecureTransport
            | Name::RequestedRegion
            | Name::CurrentTime
            | Name::EpochTime) => self.of_request(name),
            name @ (Name::TokenIssueTime | Name::MultiFactorAuthPresent | Name::SourceIdentity) => {
                self.of_session(name)
            }
            Name::ResourceAccount => Some(Value::from(self.about.scope.account.as_str())),
            Name::ViaAwsService => Some(Value::Bool(false)),
            Name::KeySpec
            | Name::CustomerMasterKeySpec
            | Name::KeyUsage
            | Name::CustomerMasterKeyUsage
            | Name::KeyOrigin
            | Name::MultiRegion
            | Name::MultiRegionKeyType
            | Name::ResourceTag
            | Name::ResourceAliases => self.of_key(key),
            Name::RequestAlias => {
                let alias = self.about.named.find("alias/").map(|at| &self.about.named[at..]);
                alias.map(Value::from)
            }
            Name::EncryptionContext | Name::EncryptionContextKeys => self.of_context(key),
            name @ (Name::EncryptionAlgorithm
            | Name::SigningAlgorithm
            | Name::MacAlgorithm
            | Name::KeyAgreementAlgorithm
            | Name::EncapsulationAlgorithm) => self.of_algorithm(name),
            name @ (Name::GrantOperations
            | Name::GrantConstraintSourceArn
            | Name::GrantConstraintType
            | Name::GranteePrincipal
            | Name::GranteeServicePrincipal
            | Name::RetiringPrincipal
            | Name::RetiringServicePrincipal) => self.of_terms(name),
            // Services make no requests here.
            Name::GrantIsForAwsResource => {
                let has = [A::CreateGrant, A::ListGrants, A::RevokeGrant].contains(&self.action);
                has.then_some(Value::Bool(false))
            }
            Name::PolicyName => {
                let has = [A::GetKeyPolicy, A::PutKeyPolicy].contains(&self.action);
                has.then_some(Value::from(DEFAULT_POLICY_NAME))
            }
            Name::BypassPolicyLockoutSafetyCheck => {
                self.unfilled(&[A::CreateKey, A::PutKeyPolicy, A::ReplicateKey])
            }
            Name::DataKeyPairSpec => {
                self.unfilled(&[A::GenerateDataKeyPair, A::GenerateDataKeyPairWithoutPlaintext])
            }
            Name::ExpirationModel | Name::ValidTo => self.unfilled(&[A::ImportKeyMaterial]),
            Name::WrappingAlgorithm | Name::WrappingKeySpec => {
                self.unfilled(&[A::GetParametersForImport])
            }
            Name::MessageType => self.unfilled(&[A::Sign, A::Verify]),
            Name::PrimaryRegion => self.unfilled(&[A::UpdatePrimaryRegion]),
            Name::ReplicaRegion => self.unfilled(&[A::ReplicateKey]),
            Name::ReEncryptOnSameKey => self.unfilled(&[A::ReEncryptFrom, A::ReEncryptTo]),
            Name::RotationPeriodInDays => self.unfilled(&[A::EnableKeyRotation]),
            Name::ScheduleKeyDeletionPendingWindowInDays | Name::TrailingDaysWithoutKeyUsage => {
                self.unfilled(&[A::ScheduleKeyDeletion])
            }
            Name::RecipientAttestation => self.unfilled(ATTESTED),
            Name::RequestTag | Name::TagKeys => {
                self.unfilled(&[A::CreateKey, A::ReplicateKey, A::TagResource, A::UntagResource])
            }
            name => self.caller.value(name),
        }
    }
}

const GENERATES: &[Action] = &[
    Action::GenerateDataKey,
    Action::GenerateDataKeyWithoutPlaintext,
    Action::GenerateDataKeyPair,
    Action::GenerateDataKeyPairWithoutPlaintext,
];

const CRYPTOGRAPHIC: &[Action] = &[
    Action::Decapsulate,
    Action::Decrypt,
    Action::DeriveSharedSecret,
    Action::Encapsulate,
    Action::Encrypt,
    Action::GenerateMac,
    Action::ReEncryptFrom,
    Action::ReEncryptTo,
    Action::Sign,
    Action::Verify,
    Action::VerifyMac,
];

const ATTESTED: &[Action] = &[
    Action::Decrypt,
    Action::DeriveSharedSecret,
    Action::GenerateDataKey,
    Action::GenerateDataKeyPair,
    Action::GenerateRandom,
];

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
