//! KMS keys as the daemon knows them: identifiers, records, states, aliases, grants, and the catalogue
//! that keeps them in the store.
//!
//! Key material appears here only as key tokens, which no part of the daemon can open.

pub mod alias;
mod barrier;
pub mod cache;
pub mod catalog;
mod counts;
pub mod custom_store;
mod deletion;
pub mod document;
pub mod due;
pub mod grant;
pub mod import;
pub mod last_usage;
mod layout;
pub mod multi_region;
pub mod own;
pub mod record;
pub mod repair;
pub mod rotation;
pub mod spec;
pub mod tokens;

pub use self::alias::AliasRecord;
pub use self::barrier::Barrier;
pub use self::catalog::{Catalog, CatalogError, Stored};
pub use self::counts::Counted;
pub use self::grant::{GrantId, GrantRecord};
pub use self::record::{ExternalKey, KeyMaterial, KeyRecord};
