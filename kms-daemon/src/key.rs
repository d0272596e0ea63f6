//! KMS keys as the daemon knows them: identifiers, records, states, aliases, grants, and the catalogue
//! that keeps them in the store.
//!
//! Key material appears here only as key tokens, which no part of the daemon can open.

pub mod alias;
pub mod cache;
pub mod catalog;
mod counts;
pub mod deletion;
mod due;
pub mod grant;
pub mod id;
pub mod identifier;
pub mod import;
pub mod last_usage;
mod layout;
pub mod multi_region;
pub mod record;
pub mod rotation;
pub mod spec;
pub mod tokens;

pub use self::alias::{AliasName, AliasRecord};
pub use self::catalog::{Catalog, CatalogError, Stored};
pub use self::grant::{GrantId, GrantRecord};
pub use self::id::{KeyId, Scope};
pub use self::identifier::{Forms, KeyRef};
pub use self::record::{KeyMaterial, KeyRecord, Tags};
pub use counts::Counted;

pub use crate::model::state::KeyState;
