//! Long-term access keys.

use serde::{Deserialize, Serialize};

use super::{Record, Version};
use crate::iam::layout;
use crate::iam::vault::Sealed;
use kms_base::clock::Timestamp;

/// An access key: whose it is, whether it may be used, and its secret as a device sealed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessKey {
    /// Version of the stored form.
    pub version: Version,
    /// Access key id, `AKIA…`.
    pub id: String,
    /// The account of its owner.
    pub account: String,
    /// Its owner.
    pub owner: Owner,
    /// Whether it may be used.
    pub status: Status,
    /// When it was made.
    pub created: Timestamp,
    /// The secret access key.
    pub secret: Sealed,
}

/// Whose access key it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Owner {
    /// The account itself.
    Root,
    /// A user.
    User {
        /// Name.
        name: String,
        /// Unique id: another user of that name is not meant.
        id: String,
    },
}

/// Whether an access key may be used. The names are those of IAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// It may.
    Active,
    /// It may not, until it is activated again.
    Inactive,
}

impl Status {
    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "Active" => Some(Self::Active),
            "Inactive" => Some(Self::Inactive),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
        }
    }
}

impl Record for AccessKey {
    fn key(&self) -> Vec<u8> {
        layout::access_key(&self.id)
    }
}
