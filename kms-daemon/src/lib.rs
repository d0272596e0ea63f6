//! The key management service on Strongroom HSMs: everything behind the `kmsd` daemon and the
//! `kmsctl` tool.
//!
//! A request travels through [`http`] (bounds, protocol), [`sigv4`] (authentication), [`api`] (one file for each
//! operation), [`policy`] (decision), [`engine`] (key operation) and the device pool of `host-driver`. Its response
//! leaves only when its record is durable in [`audit`]. A module imports only modules below it: `docs/architecture.md`
//! has the map, and `cargo xtask circles` holds it.

pub mod api;
pub mod app;
pub mod audit;
pub mod backup;
pub mod ceremony;
pub mod clock;
pub mod config;
pub mod consistency;
pub mod context;
pub mod credentials;
pub mod ctl;
pub mod daemon;
pub mod data_dir;
pub mod development;
pub mod devices;
pub mod document;
pub mod durable;
pub mod engine;
pub mod envelope;
pub mod error;
pub mod files;
pub mod hex;
pub mod http;
pub mod iam;
pub mod identifier;
pub mod job;
pub mod key;
mod last_backup;
mod ledger;
pub mod link;
pub mod link_server;
pub mod log;
pub mod loss;
mod mac;
pub mod management;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod passphrase;
pub mod policy;
pub mod principal;
pub mod quota;
pub mod recipient;
pub mod record;
pub mod regions;
pub mod sigv4;
pub mod space;
pub mod status;
pub mod store;
pub mod tls;
pub mod trail;

/// Version of the programs, and the commit that they were built from as far as it is known.
pub const VERSION: &str = env!("STRONGROOM_VERSION");

/// The commit alone, its first 12 digits; `unknown` where the build did not tell.
pub const COMMIT: &str = env!("STRONGROOM_BUILT_FROM");
