//! The API, called as the HTTP front end calls it, on real firmware in this process.

mod agreement;
mod aliases;
mod asymmetric;
mod audited;
mod cipher;
mod cluster_stores;
mod coherence;
mod conditions;
mod counted;
mod create;
mod custom_key_store;
mod deletion;
pub(crate) mod device;
mod external_stores;
mod grant_life;
mod grants;
mod identifiers;
mod import;
mod key_pairs;
mod last_usage;
mod listing;
mod managed;
mod model;
mod model_regions;
mod multi_region;
mod policies;
mod quotas;
mod recorded;
mod rewrap;
mod rig;
mod rotation;
mod service_model;
mod shapes;
mod signatures;
mod states;
mod tags;

use self::rig::Rig;

/// What tests of other modules need.
pub(crate) mod testing {
    pub(crate) use super::device::{pool, ruler};
    pub(crate) use super::import::{parameters, wrap};
}
