//! Trust policies of roles: the text as it was put, and its compiled form.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kms_policy::{NamedPrincipal, PolicyError, Resolution};
use serde::{Deserialize, Serialize};

use super::{Bound, PARTITION, naming, resolve};

/// The trust policy of a role: its text, exactly as it was put, and its meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct TrustPolicy {
    text: String,
    bound: Bound,
    compiled: kms_policy::TrustPolicy,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    document: String,
    /// The users and roles it names, with their unique ids.
    principals: Bound,
}

impl TrustPolicy {
    /// Reads a document. `bound` has the users and roles it names, as they were when it was put.
    ///
    /// # Errors
    /// [`PolicyError`]; also if it names a user or role that is not in `bound`.
    pub fn parse(text: String, bound: Bound) -> Result<Self, PolicyError> {
        let compiled = kms_policy::TrustPolicy::parse(&text)?;
        let compiled = compiled.resolve_principals(|principal| match principal {
            // Nobody comes here by an identity provider, so it is as good as nobody.
            NamedPrincipal::Federated(_) => Resolution::AsNamed,
            principal => resolve(principal, PARTITION, &bound),
        })?;
        Ok(Self { text, bound, compiled })
    }

    /// The document as it was put.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The document as it was put, but for principals that have another name now.
    #[must_use]
    pub fn naming(&self, names: &BTreeMap<&str, String>) -> Cow<'_, str> {
        match names.is_empty() {
            true => Cow::Borrowed(&self.text),
            false => Cow::Owned(naming::replace(&self.text, names)),
        }
    }

    /// The users and roles it names.
    #[must_use]
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// What the engine evaluates.
    pub const fn compiled(&self) -> &kms_policy::TrustPolicy {
        &self.compiled
    }
}

impl From<TrustPolicy> for Stored {
    fn from(policy: TrustPolicy) -> Self {
        Self { document: policy.text, principals: policy.bound }
    }
}

impl TryFrom<Stored> for TrustPolicy {
    type Error = PolicyError;

    fn try_from(stored: Stored) -> Result<Self, PolicyError> {
        Self::parse(stored.document, stored.principals)
    }
}
