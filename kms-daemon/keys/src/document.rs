//! Policy documents: the text as it was put, and its compiled form. The daemon decides by them who may do what.

use kms_policy::{NamedPrincipal, PolicyError, Resolution};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;

mod built_in;
mod identity;
mod naming;
mod shared;
mod trust;

pub use self::identity::IdentityPolicy;
pub use self::trust::TrustPolicy;

/// The partition of ARNs in identity and trust policies.
pub const PARTITION: &str = "aws";

/// The unique ids of the users and roles that a policy names by ARN, and those of the roles whose
/// sessions it names. One that is made again under an old name is not meant.
pub type Bound = BTreeMap<String, String>;

/// A key policy: its text, exactly as it was put, and its meaning. Equal ones are in memory once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy(Arc<Document>);

#[derive(Debug, PartialEq, Eq)]
struct Document {
    text: String,
    partition: String,
    bound: Bound,
    compiled: kms_policy::KeyPolicy,
}

/// The refusal of a document that is not a policy.
#[must_use]
#[allow(clippy::needless_pass_by_value)] // for `map_err`
pub fn malformed(error: PolicyError) -> KmsError {
    KmsError::new(Exception::MalformedPolicyDocument, error.to_string())
}

impl KeyPolicy {
    /// Reads a document for a key in `scope`. `bound` has the users and roles it names, as they were when it was put.
    ///
    /// # Errors
    /// [`PolicyError`]; also if it names a user or role that is not in `bound`.
    pub fn parse(text: &str, scope: &Scope, bound: &Bound) -> Result<Self, PolicyError> {
        let read = || Document::read(text, scope, bound);
        shared::document(text, scope.partition(), bound, read).map(Self)
    }

    /// The same, read anew whether it is in memory or not: how long that takes does not tell.
    ///
    /// # Errors
    /// Those of [`KeyPolicy::parse`].
    pub fn parse_apart(text: &str, scope: &Scope, bound: &Bound) -> Result<Self, PolicyError> {
        Document::read(text, scope, bound).map(|document| Self(Arc::new(document)))
    }

    /// The document as it was put.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The document as it was put, but for principals that have another name now.
    #[must_use]
    pub fn naming(&self, names: &BTreeMap<&str, String>) -> Cow<'_, str> {
        match names.is_empty() {
            true => Cow::Borrowed(&self.0.text),
            false => Cow::Owned(naming::replace(&self.0.text, names)),
        }
    }

    /// The users and roles it names.
    #[must_use]
    pub fn bound(&self) -> &Bound {
        &self.0.bound
    }

    /// What the engine evaluates.
    pub fn compiled(&self) -> &kms_policy::KeyPolicy {
        &self.0.compiled
    }
}

impl Document {
    fn read(text: &str, scope: &Scope, bound: &Bound) -> Result<Self, PolicyError> {
        let partition = scope.partition();
        let compiled = kms_policy::KeyPolicy::parse(text)?
            .resolve_principals(|principal| resolve(principal, partition, bound))?;
        let (text, partition) = (text.to_owned(), partition.to_owned());
        Ok(Self { text, partition, bound: bound.clone(), compiled })
    }
}

fn resolve(principal: &NamedPrincipal, own: &str, bound: &Bound) -> Resolution {
    let known = |known: bool| if known { Resolution::AsNamed } else { Resolution::Unknown };
    match principal {
        NamedPrincipal::Anyone | NamedPrincipal::Service(_) => Resolution::AsNamed,
        NamedPrincipal::Account { partition, .. } => {
            known(partition.as_deref().is_none_or(|partition| partition == own))
        }
        NamedPrincipal::User(arn) | NamedPrincipal::Role(arn) | NamedPrincipal::Session(arn) => {
            let id = bound.get(&**arn).filter(|_| arn.split(':').nth(1) == Some(own));
            id.map_or(Resolution::Unknown, |id| Resolution::UniqueId(id.clone()))
        }
        // Nobody comes here by an identity provider, and unique ids are in no text that was put.
        _ => Resolution::Unknown,
    }
}

#[cfg(test)]
mod tests;
