//! Key policy documents: the text as it was put, and its compiled form.

use std::collections::BTreeMap;

use kms_policy::{NamedPrincipal, Resolution};

use crate::error::{Exception, KmsError};
use crate::key::Scope;

mod built_in;
mod trust;

pub use self::trust::TrustPolicy;

/// The unique ids of the users and roles that a policy names by ARN, and those of the roles whose
/// sessions it names. One that is made again under an old name is not meant.
pub type Bound = BTreeMap<String, String>;

/// A key policy: its text, exactly as it was put, and its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy {
    text: String,
    bound: Bound,
    compiled: kms_policy::KeyPolicy,
}

/// Why a document is not an acceptable key policy.
pub use kms_policy::PolicyError;

impl From<PolicyError> for KmsError {
    fn from(error: PolicyError) -> Self {
        Self::new(Exception::MalformedPolicyDocument, error.to_string())
    }
}

impl KeyPolicy {
    /// Reads a document for a key in `scope`. `bound` has the users and roles it names, as they were when it was put.
    ///
    /// # Errors
    /// [`PolicyError`]; also if it names a user or role that is not in `bound`.
    pub fn parse(text: String, scope: &Scope, bound: Bound) -> Result<Self, PolicyError> {
        let compiled = kms_policy::KeyPolicy::parse(&text)?;
        let compiled = compiled
            .resolve_principals(|principal| resolve(principal, scope.partition(), &bound))?;
        Ok(Self { text, bound, compiled })
    }

    /// The document as it was put.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The users and roles it names.
    #[must_use]
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// What the engine evaluates.
    pub(super) const fn compiled(&self) -> &kms_policy::KeyPolicy {
        &self.compiled
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
