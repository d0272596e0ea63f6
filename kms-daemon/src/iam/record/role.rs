//! Roles.

use serde::{Deserialize, Serialize};

use super::{Attached, InlinePolicies, Record, Version};
use crate::iam::layout;
use kms_base::clock::Timestamp;
use kms_base::identifier::Tags;
use kms_keys::document::TrustPolicy;

/// An IAM role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// Version of the stored form.
    pub version: Version,
    /// Its account.
    pub account: String,
    /// Name; unique in its account, whatever the case of the letters.
    pub name: String,
    /// Path, `/` or `/…/`.
    pub path: String,
    /// Unique id, `AROA…`. A role that is made again under the same name has another.
    pub id: String,
    /// Free text.
    pub description: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// The trust policy: who may assume the role.
    pub trust: TrustPolicy,
    /// Longest session, in seconds.
    pub max_session: u32,
    /// Inline policies.
    pub policies: InlinePolicies,
    /// Managed policies.
    pub attached: Attached,
    /// ARN of the managed policy that bounds its permissions.
    pub boundary: Option<String>,
    /// Tags. The keys differ in more than case.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Role {
    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:role{}{}", self.account, self.path, self.name)
    }
}

impl Record for Role {
    fn key(&self) -> Vec<u8> {
        layout::role(&self.account, &self.name)
    }
}
