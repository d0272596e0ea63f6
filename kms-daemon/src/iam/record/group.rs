//! Groups.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Attached, InlinePolicies, Record, Version};
use crate::iam::layout;
use kms_base::clock::Timestamp;

/// An IAM group: users whom the same policies are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// Version of the stored form.
    pub version: Version,
    /// Its account.
    pub account: String,
    /// Name; unique in its account, whatever the case of the letters.
    pub name: String,
    /// Path, `/` or `/…/`.
    pub path: String,
    /// Unique id, `AGPA…`.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// The names of its users, each of whom names the group as well.
    pub members: BTreeSet<String>,
    /// Inline policies.
    pub policies: InlinePolicies,
    /// Managed policies.
    pub attached: Attached,
}

impl Group {
    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:group{}{}", self.account, self.path, self.name)
    }
}

impl Record for Group {
    fn key(&self) -> Vec<u8> {
        layout::group(&self.account, &self.name)
    }
}
