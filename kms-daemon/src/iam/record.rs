//! Records of identities: one file for each kind, and their encoding.
//!
//! Stored as JSON with a version, as key records are: an operator can read them, and a record of
//! an unknown version or with an unknown member is refused rather than read in part.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::key::record::RecordError;
use crate::policy::IdentityPolicy;

mod access_key;
mod account;
mod group;
mod policy;
mod report;
mod role;
mod user;

pub use self::access_key::{AccessKey, Owner, Status};
pub use self::account::Account;
pub use self::group::Group;
pub use self::policy::{ManagedPolicy, PolicyVersion};
pub use self::report::Report;
pub use self::role::Role;
pub use self::user::User;

/// Inline policies, by name.
pub type InlinePolicies = BTreeMap<String, IdentityPolicy>;

/// The ARNs of managed policies that are attached.
pub type Attached = BTreeSet<String>;

/// Anything that is stored on its own.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Where it is in the store.
    fn key(&self) -> Vec<u8>;

    /// The stored form.
    ///
    /// # Errors
    /// [`RecordError::Damaged`]; never, for the records of this module.
    fn encode(&self) -> Result<Vec<u8>, RecordError> {
        serde_json::to_vec(self).map_err(damaged)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`RecordError`] if it is not one of this release.
    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let header: Header = serde_json::from_slice(bytes).map_err(damaged)?;
        if header.version != VERSION {
            return Err(RecordError::Version(header.version));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

/// Version of the stored forms.
const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Header {
    version: u32,
}

/// The version of a record, as its first member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            VERSION => Ok(Self),
            other => Err(D::Error::custom(format_args!("version {other}"))),
        }
    }
}

fn damaged(error: impl std::fmt::Display) -> RecordError {
    RecordError::Damaged(error.to_string())
}

#[cfg(test)]
mod tests;
