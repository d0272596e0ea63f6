//! External key stores and their credentials.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Record, Version};
use crate::iam::layout;
use crate::iam::vault::Sealed;
use kms_base::clock::Timestamp;
use kms_base::identifier::{KeyId, Scope};
use kms_keys::document::IdentityPolicy;

/// Keys of an account that another KMS may use over the external key store proxy API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalStore {
    /// Version of the stored form.
    pub version: Version,
    /// The part of the path that names it; no other store of the installation has it.
    pub prefix: String,
    /// Account and Region of its keys.
    pub scope: Scope,
    /// When it was made.
    pub created: Timestamp,
    /// The keys, and no others.
    pub keys: BTreeSet<KeyId>,
    /// What requests may do with them; without it, all that the API offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<IdentityPolicy>,
    /// The access key ids of its credentials, one or two, oldest first.
    pub credentials: Vec<String>,
}

impl Record for ExternalStore {
    fn key(&self) -> Vec<u8> {
        layout::external_store(&self.prefix)
    }
}

/// A credential of an external key store. It is not an access key: only the store takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalCredential {
    /// Version of the stored form.
    pub version: Version,
    /// Access key id, `XKSA…`.
    pub id: String,
    /// The prefix of its store.
    pub prefix: String,
    /// When it was made.
    pub created: Timestamp,
    /// The secret access key.
    pub secret: Sealed,
}

impl Record for ExternalCredential {
    fn key(&self) -> Vec<u8> {
        layout::external_credential(&self.id)
    }
}
