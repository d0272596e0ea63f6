//! Accounts.

use serde::{Deserialize, Serialize};

use super::{Record, Version};
use crate::iam::layout;
use kms_base::clock::Timestamp;

/// An account of the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Account {
    /// Version of the stored form.
    pub version: Version,
    /// Twelve digits.
    pub id: String,
    /// Free text.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The ids of the access keys of its root, oldest first. Those of the credentials file, which
    /// the first account has, are not among them.
    pub keys: Vec<String>,
}

impl Record for Account {
    fn key(&self) -> Vec<u8> {
        layout::account(&self.id)
    }
}
