//! Managed policies, which are attached to identities and are permissions boundaries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Record, Version};
use crate::iam::layout;
use kms_base::clock::Timestamp;
use kms_base::identifier::Tags;
use kms_keys::CatalogError;
use kms_keys::document::IdentityPolicy;

/// A managed policy of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManagedPolicy {
    /// Version of the stored form.
    pub version: Version,
    /// Its account.
    pub account: String,
    /// Name; unique in its account, whatever the case of the letters.
    pub name: String,
    /// Path, `/` or `/…/`.
    pub path: String,
    /// Unique id, `ANPA…`.
    pub id: String,
    /// Free text.
    pub description: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Its versions, by their numbers.
    pub versions: BTreeMap<u32, PolicyVersion>,
    /// The version that counts.
    pub default: u32,
    /// The number of the version that was made last. No number is given twice.
    pub last: u32,
    /// How many users, groups and roles it is attached to.
    pub attachments: u32,
    /// How many users and roles it bounds.
    pub bounds: u32,
    /// Tags. Their keys have case.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// A version of a managed policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyVersion {
    /// The document.
    pub document: IdentityPolicy,
    /// When it was made.
    pub created: Timestamp,
}

impl ManagedPolicy {
    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        Self::arn_of(&self.account, &self.path, &self.name)
    }

    /// The ARN of a policy.
    #[must_use]
    pub fn arn_of(account: &str, path: &str, name: &str) -> String {
        format!("arn:aws:iam::{account}:policy{path}{name}")
    }

    /// The document that counts.
    ///
    /// # Errors
    /// [`CatalogError::Record`] if its version is not there.
    pub fn document(&self) -> Result<&IdentityPolicy, CatalogError> {
        let version = self.versions.get(&self.default).map(|version| &version.document);
        version.ok_or_else(|| {
            let error = kms_base::record::damaged(format_args!("{} has no version", self.arn()));
            CatalogError::Record { key: String::from_utf8_lossy(&self.key()).into_owned(), error }
        })
    }
}

impl Record for ManagedPolicy {
    fn key(&self) -> Vec<u8> {
        layout::policy(&self.account, &self.name)
    }
}
