//! Managed policies, which permissions boundaries are.

use serde::{Deserialize, Serialize};

use super::{Record, Version};
use crate::clock::Timestamp;
use crate::iam::layout;

/// A managed policy of a customer. It has one version, `v1`.
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
    /// The document, as it was put.
    pub document: String,
    /// How many users and roles it bounds.
    pub bounds: u32,
}

impl ManagedPolicy {
    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:policy{}{}", self.account, self.path, self.name)
    }
}

impl Record for ManagedPolicy {
    fn key(&self) -> Vec<u8> {
        layout::policy(&self.account, &self.name)
    }
}
