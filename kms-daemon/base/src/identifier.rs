//! The names of things: key ids, aliases, accounts and Regions, their ARNs, and the tags of a resource.

use std::collections::BTreeMap;

pub mod alias;
mod key_id;
mod reference;

pub use self::alias::AliasName;
pub use self::key_id::{KeyId, LENGTH as KEY_ID_LENGTH, Scope};
pub use self::reference::{Forms, KeyRef, is_region, parse_key_arn};

/// The tags of a resource, in the order of their keys.
pub type Tags = BTreeMap<String, String>;
