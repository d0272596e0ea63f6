//! What an operation tells of its request, for conditions only.
//!
//! Where a parameter has a default, conditions see the default, as at AWS. The exceptions are
//! `kms:ExpirationModel` and `kms:BypassPolicyLockoutSafetyCheck`, which AWS leaves out so that
//! `Null` can tell.
//!
//! The action's row says what must be handed over. A request without it is not decided, so that no
//! condition takes for absent what was forgotten.
//!
//! Measurements of an attested recipient are those that a device has verified: a [`Recipient`] is
//! made of nothing else, and is what the result is sealed to. A document that is not believed ends
//! the request before it is decided.

use hsm_protocol::command::attest::Measured;
use kms_policy::{Action, ConditionKey, List, Name, Value, pair};

use crate::clock::Timestamp;
use crate::hex;
use crate::key::grant::{Constraints, Party, Terms};
use crate::key::{GrantRecord, KeyRecord, Tags};
use crate::model::action::{AttributesKind, Facts};
use crate::recipient::Recipient;

/// What an operation tells of its request, beside key, algorithm and encryption context.
#[derive(Debug, Clone, Copy)]
pub enum Particulars<'a> {
    /// Nothing that conditions ask for.
    None,
    /// Of a key that is to be made.
    NewKey {
        /// Its tags.
        tags: &'a Tags,
        /// `BypassPolicyLockoutSafetyCheck`, if the request has it.
        bypass: Option<bool>,
    },
    /// Of a replica that is to be made.
    Replica {
        /// Its Region.
        region: &'a str,
        /// Its tags.
        tags: &'a Tags,
        /// `BypassPolicyLockoutSafetyCheck`, if the request has it.
        bypass: Option<bool>,
    },
    /// The name of the policy that is read.
    PolicyName(&'a str),
    /// Of a policy that is put.
    Policy {
        /// Its name.
        name: &'a str,
        /// `BypassPolicyLockoutSafetyCheck`, if the request has it.
        bypass: Option<bool>,
    },
    /// The tags that a key is to have.
    Tags(&'a Tags),
    /// The keys of tags that it is not to have any more.
    TagKeys(&'a [String]),
    /// The grant that is to be made, or that is to be retired.
    Grant(&'a GrantRecord),
    /// `MessageType`.
    Message(&'a str),
    /// Who alone is to read the result, if it is not the client.
    Recipient(Option<&'a Recipient>),
    /// Of a data key pair.
    KeyPair {
        /// `KeyPairSpec`.
        spec: &'a str,
        /// As [`Particulars::Recipient`].
        recipient: Option<&'a Recipient>,
    },
    /// The other key of `ReEncrypt`; `None` if there is no such key.
    ReEncrypt(Option<&'a KeyRecord>),
    /// How key material will be wrapped.
    Wrapping {
        /// `WrappingAlgorithm`.
        algorithm: &'a str,
        /// `WrappingKeySpec`.
        spec: &'a str,
    },
    /// Of imported material.
    Import {
        /// `ExpirationModel`, if the request has it.
        model: Option<&'a str>,
        /// `ValidTo`, if the request has it.
        valid_to: Option<Timestamp>,
    },
    /// `PrimaryRegion`.
    PrimaryRegion(&'a str),
    /// `RotationPeriodInDays`.
    RotationPeriod(i64),
    /// `PendingWindowInDays`.
    PendingWindow(i64),
}

impl<'a> Particulars<'a> {
    /// Whether these are what a request for `action` has to tell.
    pub(super) fn fit(&self, action: Action) -> bool {
        Facts::of(action).is_some_and(|facts| facts.attributes == self.kind())
    }

    const fn kind(&self) -> AttributesKind {
        match self {
            Self::None => AttributesKind::None,
            Self::NewKey { .. } => AttributesKind::NewKey,
            Self::Replica { .. } => AttributesKind::Replica,
            Self::PolicyName(_) => AttributesKind::PolicyName,
            Self::Policy { .. } => AttributesKind::Policy,
            Self::Tags(_) => AttributesKind::Tags,
            Self::TagKeys(_) => AttributesKind::TagKeys,
            Self::Grant(_) => AttributesKind::Grant,
            Self::Message(_) => AttributesKind::Message,
            Self::Recipient(_) => AttributesKind::Recipient,
            Self::KeyPair { .. } => AttributesKind::KeyPair,
            Self::ReEncrypt(_) => AttributesKind::ReEncrypt,
            Self::Wrapping { .. } => AttributesKind::Wrapping,
            Self::Import { .. } => AttributesKind::Import,
            Self::PrimaryRegion(_) => AttributesKind::PrimaryRegion,
            Self::RotationPeriod(_) => AttributesKind::RotationPeriod,
            Self::PendingWindow(_) => AttributesKind::PendingWindow,
        }
    }

    /// The terms of a grant.
    pub(super) const fn terms(&self) -> Option<&'a Terms> {
        match self {
            Self::Grant(grant) => Some(&grant.terms),
            _ => None,
        }
    }

    /// The value of a condition key that follows from a parameter.
    pub(super) fn value(&self, key: &ConditionKey, action: Action) -> Option<Value<'_>> {
        Some(match (key.name(), self) {
            (
                Name::BypassPolicyLockoutSafetyCheck,
                Self::NewKey { bypass, .. }
                | Self::Replica { bypass, .. }
                | Self::Policy { bypass, .. },
            ) => Value::Bool((*bypass)?),
            (Name::PolicyName, Self::PolicyName(name) | Self::Policy { name, .. }) => {
                Value::from(*name)
            }
            (Name::ReplicaRegion, Self::Replica { region, .. })
            | (Name::PrimaryRegion, Self::PrimaryRegion(region)) => Value::from(*region),
            (
                Name::RequestTag,
                Self::NewKey { tags, .. } | Self::Replica { tags, .. } | Self::Tags(tags),
            ) => return pair(key, tags.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
            (
                Name::TagKeys,
                Self::NewKey { tags, .. } | Self::Replica { tags, .. } | Self::Tags(tags),
            ) => Value::List(*tags),
            (Name::TagKeys, Self::TagKeys(keys)) => Value::List(keys),
            (name, Self::Grant(grant)) => return of_grant(name, grant, action),
            (Name::MessageType, Self::Message(name))
            | (Name::DataKeyPairSpec, Self::KeyPair { spec: name, .. })
            | (Name::WrappingAlgorithm, Self::Wrapping { algorithm: name, .. })
            | (Name::WrappingKeySpec, Self::Wrapping { spec: name, .. }) => Value::from(*name),
            (
                Name::RecipientAttestation,
                Self::Recipient(Some(recipient)) | Self::KeyPair { recipient: Some(recipient), .. },
            ) => Value::from(hex::encode(register(recipient, key.parameter())?)),
            (Name::ExpirationModel, Self::Import { model, .. }) => Value::from((*model)?),
            (Name::ValidTo, Self::Import { valid_to, .. }) => {
                Value::Date(i64::try_from((*valid_to)?.as_millis() / 1000).unwrap_or(i64::MAX))
            }
            (Name::RotationPeriodInDays, Self::RotationPeriod(days))
            | (Name::ScheduleKeyDeletionPendingWindowInDays, Self::PendingWindow(days)) => {
                Value::Number(*days)
            }
            _ => return None,
        })
    }

    /// The encryption context that a grant asks for, as the value of a condition key.
    pub(super) fn constrained(&self, key: &ConditionKey) -> Option<Value<'a>> {
        let constraints = &self.terms()?.constraints;
        match key.name() {
            Name::EncryptionContextKeys if constraints.about_context() => {
                Some(Value::List(constraints))
            }
            Name::EncryptionContext => {
                let all = constraints.pairs();
                pair(key, all.map(|(name, value)| (name.as_str(), value.as_str())))
            }
            _ => None,
        }
    }
}

/// What is told of a grant. Of one that is to be retired, its constraints are asked for only.
fn of_grant(name: Name, grant: &GrantRecord, action: Action) -> Option<Value<'_>> {
    let GrantRecord { grantee, retiring, terms, .. } = grant;
    if name == Name::GrantConstraintType {
        let Constraints { equals, subset, .. } = &terms.constraints;
        return match (equals.is_some(), subset.is_some()) {
            (false, false) => None,
            (true, false) => Some(Value::from(EQUALS)),
            (false, true) => Some(Value::from(SUBSET)),
            // A condition that is not made for several values then decides against the caller.
            (true, true) => Some(Value::List(&[EQUALS, SUBSET])),
        };
    }
    if action != Action::CreateGrant {
        return None;
    }
    Some(match (name, grantee, retiring) {
        (Name::GrantOperations, ..) => Value::List(terms),
        (Name::GrantConstraintSourceArn, ..) => {
            Value::from(terms.constraints.source_arn.as_deref()?)
        }
        (Name::GranteePrincipal, Party::Principal { arn: text, .. }, _)
        | (Name::GranteeServicePrincipal, Party::Service(text), _)
        | (Name::RetiringPrincipal, _, Some(Party::Principal { arn: text, .. }))
        | (Name::RetiringServicePrincipal, _, Some(Party::Service(text))) => {
            Value::from(text.as_str())
        }
        _ => return None,
    })
}

const EQUALS: &str = "EncryptionContextEquals";
const SUBSET: &str = "EncryptionContextSubset";

/// The register of a verified document that a condition key names, in lower case.
fn register<'r>(recipient: &'r Recipient, name: &str) -> Option<&'r [u8]> {
    let number = match recipient.measured {
        Measured::Enclave if name == "imagesha384" => "0",
        Measured::Enclave => name.strip_prefix("pcr")?,
        Measured::NitroTpm => name.strip_prefix("nitrotpmpcr")?,
    };
    let index = number.parse::<u8>().ok().filter(|index| index.to_string() == number)?;
    recipient.pcr(index)
}

/// The names of the operations, which is what `kms:GrantOperations` lists.
impl List for Terms {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.operations.iter().any(|action| test(action.short_name()))
    }
}

/// The keys of the pairs, which is what `kms:EncryptionContextKeys` lists.
impl List for Constraints {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        let mut keys: Vec<&str> = self.pairs().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.any(test)
    }
}
