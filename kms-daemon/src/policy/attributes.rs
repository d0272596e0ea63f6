//! Request attributes that an operation provides for conditions only.
//!
//! Where a parameter has a default, conditions see the default, as at AWS. The exceptions are
//! `kms:ExpirationModel` and `kms:BypassPolicyLockoutSafetyCheck`, which AWS leaves out so that
//! `Null` can test for them.
//!
//! The action's row in the table says which attributes must be provided. A request without them is
//! not decided, so that conditions never take a forgotten attribute for an absent one.
//!
//! Measurements of an attested recipient have been verified by a device: a [`Recipient`] is made of
//! nothing else, and the result is sealed to it. A document that is rejected ends the request
//! before the decision.

use hsm_protocol::command::attest::Measured;
use kms_policy::{Action, ConditionKey, Name, Value, pair};

use crate::recipient::Recipient;
use kms_base::clock::Timestamp;
use kms_base::hex;
use kms_base::identifier::Tags;
use kms_keys::grant::{Constraints, Party, Terms};
use kms_keys::{GrantRecord, KeyRecord};
use kms_model::action::{AttributesKind, Facts};

/// The attributes of a request besides key, algorithm and encryption context.
#[derive(Debug, Clone, Copy)]
pub enum RequestAttributes<'a> {
    /// No attributes.
    None,
    /// A key that is to be created.
    NewKey {
        /// The tags of the key.
        tags: &'a Tags,
        /// `BypassPolicyLockoutSafetyCheck`, if the request has it.
        bypass: Option<bool>,
    },
    /// A replica that is to be created.
    Replica {
        /// The Region of the replica.
        region: &'a str,
        /// The tags of the replica.
        tags: &'a Tags,
        /// `BypassPolicyLockoutSafetyCheck`, if the request has it.
        bypass: Option<bool>,
    },
    /// The name of the policy that is read.
    PolicyName(&'a str),
    /// A policy that is put.
    Policy {
        /// The name of the policy.
        name: &'a str,
        /// `BypassPolicyLockoutSafetyCheck`, if the request has it.
        bypass: Option<bool>,
    },
    /// The tags that are added to a key.
    Tags(&'a Tags),
    /// The keys of the tags that are removed from a key.
    TagKeys(&'a [String]),
    /// The grant that is to be created or retired.
    Grant(&'a GrantRecord),
    /// `MessageType`.
    Message(&'a str),
    /// The attested recipient that alone can read the result; `None` if the client reads it.
    Recipient(Option<&'a Recipient>),
    /// A data key pair.
    KeyPair {
        /// `KeyPairSpec`.
        spec: &'a str,
        /// As [`RequestAttributes::Recipient`].
        recipient: Option<&'a Recipient>,
    },
    /// The other key of `ReEncrypt`; `None` if there is no such key.
    ReEncrypt(Option<&'a KeyRecord>),
    /// How key material will be wrapped for its import.
    Wrapping {
        /// `WrappingAlgorithm`.
        algorithm: &'a str,
        /// `WrappingKeySpec`.
        spec: &'a str,
    },
    /// Key material that is imported.
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

impl<'a> RequestAttributes<'a> {
    /// Whether these attributes are of the kind that requests for `action` must provide.
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

    /// Returns the terms of a grant.
    pub(super) const fn terms(&self) -> Option<&'a Terms> {
        match self {
            Self::Grant(grant) => Some(&grant.terms),
            _ => None,
        }
    }

    /// Returns the value of a condition key that follows from a parameter.
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

    /// Returns the encryption context in a grant's constraints, as the value of a condition key.
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

/// Returns the value of a condition key about a grant. For a grant that is to be retired, only its
/// constraints have condition keys.
fn of_grant(name: Name, grant: &GrantRecord, action: Action) -> Option<Value<'_>> {
    let GrantRecord { grantee, retiring, terms, .. } = grant;
    if name == Name::GrantConstraintType {
        let Constraints { equals, subset, .. } = &terms.constraints;
        return match (equals.is_some(), subset.is_some()) {
            (false, false) => None,
            (true, false) => Some(Value::from(EQUALS)),
            (false, true) => Some(Value::from(SUBSET)),
            // A condition without a set operator then decides against the caller.
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

/// Returns the register of a verified document that a condition key names; `name` is in lower case.
fn register<'r>(recipient: &'r Recipient, name: &str) -> Option<&'r [u8]> {
    let number = match recipient.measured {
        Measured::Enclave if name == "imagesha384" => "0",
        Measured::Enclave => name.strip_prefix("pcr")?,
        Measured::NitroTpm => name.strip_prefix("nitrotpmpcr")?,
    };
    let index = number.parse::<u8>().ok().filter(|index| index.to_string() == number)?;
    recipient.pcr(index)
}
