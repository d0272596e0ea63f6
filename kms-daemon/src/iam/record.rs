//! Records of identities: one file for each kind, and their encoding.
//!
//! Stored as JSON with a version, as key records are: an operator can read them, and a record of
//! an unknown version or with an unknown member is refused rather than read in part.

use std::collections::{BTreeMap, BTreeSet};

pub use kms_base::record::{Record, Version};
use kms_keys::document::IdentityPolicy;

mod access_key;
mod account;
mod external_store;
mod group;
mod policy;
mod report;
mod role;
mod user;

pub use self::access_key::{AccessKey, Owner, Status};
pub use self::account::Account;
pub use self::external_store::{ExternalCredential, ExternalStore};
pub use self::group::Group;
pub use self::policy::{ManagedPolicy, PolicyVersion};
pub use self::report::Report;
pub use self::role::Role;
pub use self::user::User;

/// Inline policies, by name.
pub type InlinePolicies = BTreeMap<String, IdentityPolicy>;

/// The ARNs of managed policies that are attached.
pub type Attached = BTreeSet<String>;

#[cfg(test)]
mod tests;
