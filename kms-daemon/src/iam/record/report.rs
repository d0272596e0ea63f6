//! Requests for credential reports.

use serde::{Deserialize, Serialize};

use super::{Record, Version};
use crate::iam::layout;
use kms_base::clock::Timestamp;

/// That a credential report of an account was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    /// Version of the stored form.
    pub version: Version,
    /// The account.
    pub account: String,
    /// When.
    pub asked: Timestamp,
}

impl Record for Report {
    fn key(&self) -> Vec<u8> {
        layout::report(&self.account)
    }
}
