//! Users.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Attached, InlinePolicies, Record, Version};
use crate::iam::layout;
use kms_base::clock::Timestamp;
use kms_base::identifier::Tags;

/// An IAM user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// Version of the stored form.
    pub version: Version,
    /// Its account.
    pub account: String,
    /// Name; unique in its account, whatever the case of the letters.
    pub name: String,
    /// Path, `/` or `/…/`.
    pub path: String,
    /// Unique id, `AIDA…`. A user that is made again under the same name has another.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// The ids of its access keys, oldest first.
    pub keys: Vec<String>,
    /// The names of the groups it is in, each of which names the user as well.
    pub groups: BTreeSet<String>,
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

impl User {
    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:user{}{}", self.account, self.path, self.name)
    }
}

impl Record for User {
    fn key(&self) -> Vec<u8> {
        layout::user(&self.account, &self.name)
    }
}
