//! Policies of identities: the text as it was put, and its compiled form.

use serde::{Deserialize, Serialize};

use kms_policy::PolicyError;

/// A policy of a user, group or role, or a managed one: its text, exactly as it was put, and its
/// meaning. It is stored as the text, and compiled when that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct IdentityPolicy {
    text: String,
    compiled: kms_policy::IdentityPolicy,
}

impl IdentityPolicy {
    /// Reads a document.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse(text: impl Into<String>) -> Result<Self, PolicyError> {
        let text = text.into();
        let compiled = kms_policy::IdentityPolicy::parse(&text)?;
        Ok(Self { text, compiled })
    }

    /// Checks that requests which it is about can always be decided in time. Whoever lets it be put
    /// asks; what is stored is read whatever it costs.
    ///
    /// # Errors
    /// [`PolicyError`], with the statement that takes the most.
    pub fn check_cost(&self) -> Result<(), PolicyError> {
        self.compiled.check_cost()
    }

    /// The document as it was put.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the engine evaluates. Clones of it share its content.
    pub const fn compiled(&self) -> &kms_policy::IdentityPolicy {
        &self.compiled
    }
}

impl From<IdentityPolicy> for String {
    fn from(policy: IdentityPolicy) -> Self {
        policy.text
    }
}

impl TryFrom<String> for IdentityPolicy {
    type Error = PolicyError;

    fn try_from(text: String) -> Result<Self, PolicyError> {
        Self::parse(text)
    }
}
