//! An installation on this machine: its data directory, devices, certificates and backups, as both `kmsd` and
//! `kmsctl` open them.

pub mod backup;
pub mod consistency;
pub mod data_dir;
pub mod devices;
pub mod last_backup;
pub mod link_identity;
pub mod loss;
pub mod report;
pub mod settings;
pub mod store_place;
pub mod tls;
pub mod transfer;

/// Version of the programs, and the commit that they were built from as far as it is known.
pub const VERSION: &str = env!("STRONGROOM_VERSION");

/// The commit alone, its first 12 digits; `unknown` where the build did not tell.
pub const COMMIT: &str = env!("STRONGROOM_BUILT_FROM");
