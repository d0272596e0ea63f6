//! The key management service on Strongroom HSMs: everything behind the `kmsd` daemon.
//!
//! A request travels through [`http`] (bounds, protocol), [`kms_sigv4`] (authentication), [`api`] (one file for each
//! operation), [`policy`] (decision), [`engine`] (key operation) and the device pool of `host-driver`. Its response
//! leaves only when its record is durable in [`kms_audit`]. A module imports only modules below it:
//! `docs/architecture.md` has the map, and `cargo xtask circles` holds it.

pub mod admission;
pub mod api;
pub mod app;
pub mod cluster;
pub mod config;
pub mod credentials;
pub mod daemon;
pub mod development;
pub mod engine;
pub mod envelope;
pub mod freshness;
pub mod http;
pub mod iam;
pub mod job;
pub mod link;
pub mod link_server;
mod mac;
pub mod management;
pub mod metrics;
pub mod policy;
pub mod proxy;
pub mod quota;
pub mod recipient;
pub mod regions;
pub mod status;
pub mod trail;
mod xks;

#[cfg(test)]
mod counting;
/// The signer that the tests of `kms-sigv4` use as well.
#[cfg(test)]
#[path = "../sigv4/src/signer.rs"]
mod signer;
