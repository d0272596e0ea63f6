//! Multi-Region keys: one primary and its replicas in other Regions, with the same id and
//! material.
//!
//! Shared, and changed only on the primary: material, schedule of rotation, and which Regions there
//! are. State, policy, description, tags, aliases and grants belong to each key alone.

use std::collections::{BTreeMap, BTreeSet};

use hsm_protocol::MaterialId;
use serde::{Deserialize, Serialize};

use super::import::Imported;
use super::{KeyMaterial, KeyRecord, KeyState, Scope};
use crate::clock::Timestamp;

/// Where a multi-Region key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiRegion {
    /// The Region of the primary.
    pub primary: String,
    /// The Regions of the replicas.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub replicas: BTreeSet<String>,
    /// Days that a primary will wait for its deletion once the last replica is gone; set exactly
    /// in [`KeyState::PendingReplicaDeletion`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_days: Option<u32>,
}

/// Key tokens of a Region, for material that came from another.
pub type Tokens = BTreeMap<MaterialId, Vec<u8>>;

impl MultiRegion {
    /// A primary without replicas.
    #[must_use]
    pub fn new(primary: impl Into<String>) -> Self {
        Self { primary: primary.into(), replicas: BTreeSet::new(), window_days: None }
    }
}

impl KeyRecord {
    /// Whether it is a replica, of which the shared properties are changed elsewhere.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.multi_region.as_ref().is_some_and(|regions| regions.primary != self.scope.region)
    }

    /// Where the other keys of a multi-Region key are.
    #[must_use]
    pub fn related(&self) -> Vec<Scope> {
        let Some(regions) = &self.multi_region else { return Vec::new() };
        let all = regions.replicas.iter().chain([&regions.primary]);
        let others = all.filter(|region| **region != self.scope.region);
        others.map(|region| Scope::new(&*self.scope.account, region)).collect()
    }

    /// Material of this primary that a replica has no token for and that the service has to give
    /// it: imported material it gets from its owner.
    #[must_use]
    pub fn untold<'k>(&'k self, replica: Option<&'k KeyRecord>) -> Vec<&'k KeyMaterial> {
        if self.is_external() {
            return Vec::new();
        }
        let knows = |id| replica.is_some_and(|replica| replica.material(id).is_some());
        self.materials.iter().filter(|material| !knows(&material.id)).collect()
    }

    /// This replica with what it shares with its primary; `tokens` are those of new material.
    #[must_use]
    pub fn sharing(&self, primary: &KeyRecord, tokens: &Tokens) -> Self {
        let mut key = self.clone();
        let share = |shared: &KeyMaterial| {
            let mut all = self.materials.iter().chain(&self.pending);
            match all.find(|own| own.id == shared.id) {
                Some(own) => KeyMaterial { rotated: shared.rotated, ..own.clone() },
                None => KeyMaterial {
                    id: shared.id,
                    token: tokens.get(&shared.id).cloned().unwrap_or_default(),
                    rotated: shared.rotated,
                    imported: shared.imported.as_ref().map(|_| Imported::default()),
                },
            }
        };
        key.materials = primary.materials.iter().map(share).collect();
        key.pending = primary.pending.as_ref().map(share);
        key.rotation = primary.rotation;
        key.multi_region = primary
            .multi_region
            .clone()
            .map(|regions| MultiRegion { window_days: None, ..regions });
        let usable = matches!(key.state, KeyState::Enabled | KeyState::Disabled);
        if usable && !key.has_all_material() {
            key.state = KeyState::PendingImport;
        }
        key
    }

    /// This key after another Region has a replica.
    #[must_use]
    pub fn with_replica(&self, region: &str) -> Self {
        let mut key = self.clone();
        if let Some(regions) = &mut key.multi_region {
            regions.replicas.insert(region.to_owned());
        }
        key
    }

    /// This key after the replica of a Region is gone: a primary that has waited for its last
    /// replica begins to wait for its own deletion.
    #[must_use]
    pub fn without_replica(&self, region: &str, now: Timestamp) -> Self {
        let mut key = self.clone();
        let Some(regions) = &mut key.multi_region else { return key };
        regions.replicas.remove(region);
        if regions.replicas.is_empty()
            && let Some(days) = regions.window_days.take()
        {
            key.state = KeyState::PendingDeletion;
            key.deletion = Some(now.plus_days(days));
        }
        key
    }

    /// This key after the primary has moved to another of its Regions.
    #[must_use]
    pub fn with_primary(&self, region: &str) -> Self {
        let mut key = self.clone();
        if let Some(regions) = &mut key.multi_region {
            let former = std::mem::replace(&mut regions.primary, region.to_owned());
            regions.replicas.remove(region);
            regions.replicas.insert(former);
        }
        key
    }
}
