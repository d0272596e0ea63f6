//! Grants: permissions on one key for one grantee, kept beside the key.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{KeyRecord, spec};
use kms_base::clock::Timestamp;
use kms_base::hex;
use kms_model::action::{Action, GRANTABLE};
use kms_policy::List;

mod party;

pub use self::party::Party;

/// Most grants of one key.
pub const MAX_PER_KEY: u64 = 50_000;
/// Most pairs of an encryption context constraint.
pub const MAX_PAIRS: usize = 8;
/// Most characters of an encryption context constraint, keys and values together.
pub const MAX_CONTEXT: usize = 384;

/// A grant id: 32 random bytes, written as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub [u8; 32]);

/// An encryption context that a grant asks for.
pub type Pairs = BTreeMap<String, String>;

/// When a grant applies. All constraints have to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Constraints {
    /// The request has exactly this encryption context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<Pairs>,
    /// The request's encryption context has at least these pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<Pairs>,
    /// The request is made on behalf of this resource (`aws:SourceArn`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_arn: Option<String>,
}

/// What a grant gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Elements of [`GRANTABLE`], each once, in the order they were asked for.
    #[serde(with = "operation_names")]
    pub operations: Vec<Action>,
    /// When.
    #[serde(default)]
    pub constraints: Constraints,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRecord {
    /// The name it was given, which makes its creation idempotent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// Who may use it.
    pub grantee: Party,
    /// Who may retire it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retiring: Option<Party>,
    /// The account of its creator.
    pub issuer: String,
    /// What it gives.
    pub terms: Terms,
}

impl GrantId {
    /// Reads an id; `None` unless it is written exactly as [`fmt::Display`] writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        hex::decode(text).map(Self).filter(|id| id.to_string() == text)
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// A use of a key, as far as grants ask.
#[derive(Debug, Clone, Copy)]
pub struct GrantUse<'a> {
    /// What for.
    pub action: Action,
    /// The encryption context of the request.
    pub context: &'a Pairs,
    /// The terms of the grant that is to be created, for [`Action::CreateGrant`].
    pub child: Option<&'a Terms>,
}

/// Why a grant does not allow a use of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// The operation is not among those of the grant.
    Operation,
    /// The grant is for requests on behalf of another resource.
    SourceArn,
    /// The grant to be created would give more than this one.
    Terms,
    /// The encryption context does not meet the constraints.
    Context,
}

impl GrantRecord {
    /// Whether the grant lets its grantee do this.
    #[must_use]
    pub fn allows(&self, wanted: GrantUse<'_>) -> bool {
        self.objection(wanted).is_none()
    }

    /// Why the grant does not let its grantee do this; `None` if it does.
    #[must_use]
    pub fn objection(&self, wanted: GrantUse<'_>) -> Option<Objection> {
        let Terms { operations, constraints } = &self.terms;
        if !operations.contains(&wanted.action) {
            return Some(Objection::Operation);
        }
        let (holds, objection) = match wanted.action {
            Action::RetireGrant => (true, Objection::Operation),
            // No caller here acts for another resource, so none has an `aws:SourceArn`.
            _ if constraints.source_arn.is_some() => (false, Objection::SourceArn),
            Action::CreateGrant => {
                let within = wanted.child.is_some_and(|child| child.within(&self.terms));
                (within, Objection::Terms)
            }
            Action::DescribeKey => (true, Objection::Operation),
            _ => (constraints.admit(wanted.context), Objection::Context),
        };
        (!holds).then_some(objection)
    }

    /// What two requests with the same name have in common exactly when they ask for the same
    /// grant: SHA-256 of all parameters, the order of operations aside. `None` without a name.
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        self.name.as_ref()?;
        let mut operations = self.terms.operations.clone();
        operations.sort_unstable_by_key(|operation| operation.name());
        let terms = Terms { operations, constraints: self.terms.constraints.clone() };
        let record = Self { created: Timestamp::default(), terms, ..self.clone() };
        let text = serde_json::to_vec(&record).ok()?;
        Some(hex::encode(&Sha256::digest(text)))
    }
}

impl Terms {
    /// The operations that a key of this kind does not have.
    #[must_use]
    pub fn unsupported_by(&self, key: &KeyRecord) -> Vec<&'static str> {
        let suits = |action: &&Action| !spec::suits(key, **action);
        self.operations.iter().filter(suits).map(|action| action.short_name()).collect()
    }

    /// Whether these terms give nothing that `parent` does not give.
    fn within(&self, parent: &Self) -> bool {
        self.operations.iter().all(|operation| parent.operations.contains(operation))
            && self.constraints.within(&parent.constraints)
    }
}

impl Constraints {
    /// Whether there are constraints on the encryption context.
    #[must_use]
    pub const fn about_context(&self) -> bool {
        self.equals.is_some() || self.subset.is_some()
    }

    /// The pairs of all constraints on the encryption context.
    pub fn pairs(&self) -> impl Iterator<Item = (&String, &String)> {
        [&self.equals, &self.subset].into_iter().flatten().flatten()
    }

    fn admit(&self, context: &Pairs) -> bool {
        self.equals.as_ref().is_none_or(|pairs| pairs == context)
            && self.subset.as_ref().is_none_or(|pairs| contains(context, pairs))
    }

    /// Whether everything that these admit is admitted by `parent`. A subset may gain pairs or
    /// become exact; what is exact stays as it is.
    fn within(&self, parent: &Self) -> bool {
        let exact = parent.equals.is_none() || self.equals == parent.equals;
        let subset = parent.subset.as_ref().is_none_or(|needed| {
            [&self.equals, &self.subset].into_iter().flatten().any(|own| contains(own, needed))
        });
        exact && subset && (parent.source_arn.is_none() || self.source_arn == parent.source_arn)
    }
}

/// The operations that a key of this kind has, of those that grants give.
#[must_use]
pub fn supported_by(key: &KeyRecord) -> Vec<&'static str> {
    let suits = |action: &Action| spec::suits(key, *action);
    GRANTABLE.into_iter().filter(suits).map(Action::short_name).collect()
}

/// The grantable action of that name.
#[must_use]
pub fn operation(name: &str) -> Option<Action> {
    GRANTABLE.into_iter().find(|action| action.short_name() == name)
}

fn contains(all: &Pairs, part: &Pairs) -> bool {
    part.iter().all(|(key, value)| all.get(key) == Some(value))
}

/// Operations are stored by their names.
mod operation_names {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::{Action, operation};

    pub(super) fn serialize<S: Serializer>(
        operations: &[Action],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(operations.iter().map(|action| action.short_name()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Action>, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let unknown = || de::Error::custom("not a grant operation");
        names.iter().map(|name| operation(name).ok_or_else(unknown)).collect()
    }
}

/// The names of the operations, which `kms:GrantOperations` lists.
impl List for Terms {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.operations.iter().any(|action| test(action.short_name()))
    }
}

/// The names of the pairs, which `kms:EncryptionContextKeys` lists.
impl List for Constraints {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        let mut keys: Vec<&str> = self.pairs().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.any(test)
    }
}

#[cfg(test)]
mod tests;
