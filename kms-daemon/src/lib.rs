//! The key management service on Strongroom HSMs: everything behind the `kmsd` daemon and the
//! `kmsctl` tool.
//!
//! A request passes [`http`] (bounds, dispatch), [`sigv4`] (authentication), the API (one file per
//! operation), the policy engine, the key engine and the device pool, and leaves only after its
//! record is durable in [`audit`].

pub mod api;
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
pub mod development;
pub mod devices;
pub mod durable;
pub mod engine;
pub mod envelope;
pub mod error;
pub mod files;
pub mod hex;
pub mod http;
pub mod iam;
pub mod key;
pub mod link;
pub mod log;
pub mod loss;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod policy;
pub mod principal;
pub mod quota;
pub mod regions;
pub mod rewrap;
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
