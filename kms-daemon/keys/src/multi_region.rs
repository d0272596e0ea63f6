//! Multi-Region keys: one primary and its replicas in other Regions, with the same id and
//! material.
//!
//! Shared, and changed only on the primary: material, schedule of rotation, and which Regions there
//! are. State, policy, description, tags, aliases and grants belong to each key alone.

use std::collections::{BTreeMap, BTreeSet};

use hsm_protocol::MaterialId;
use serde::{Deserialize, Serialize};

use super::import::Imported;
use super::rotation::{Rotated, Schedule};
use super::{KeyMaterial, KeyRecord};
use kms_base::clock::Timestamp;
use kms_base::identifier::Scope;
use kms_model::state::KeyState;

/// Where a multi-Region key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiRegion {
    /// The Region of the primary.
    pub primary: String,
    /// The Regions of the replicas.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub replicas: BTreeSet<String>,
    /// Counts the changes of what is shared; a daemon of another Region takes only a later one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// The Region of another daemon that the primary is moving to; set exactly in
    /// [`KeyState::Updating`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<String>,
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
        Self {
            primary: primary.into(),
            replicas: BTreeSet::new(),
            version: 0,
            moving_to: None,
            window_days: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(version: &u64) -> bool {
    *version == 0
}

/// What the keys of a multi-Region key share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedState {
    /// Where they are.
    pub regions: MultiRegion,
    /// When the primary rotates by itself.
    pub rotation: Option<Schedule>,
    /// Key material, oldest first.
    pub materials: Vec<SharedMaterial>,
    /// Material that waits for its rotation.
    pub pending: Option<SharedMaterial>,
}

/// Key material as all Regions know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedMaterial {
    /// Its id.
    #[serde(with = "super::record::hex_id")]
    pub id: MaterialId,
    /// The rotation that brought it.
    pub rotated: Option<Rotated>,
    /// Whether its owner imports it, in each Region.
    pub imported: bool,
}

impl SharedMaterial {
    fn of(material: &KeyMaterial) -> Self {
        let imported = material.imported.is_some();
        Self { id: material.id, rotated: material.rotated, imported }
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

    /// What it shares with its related keys.
    #[must_use]
    pub fn shared(&self) -> Option<SharedState> {
        let regions = self.multi_region.clone()?;
        Some(SharedState {
            regions: MultiRegion { moving_to: None, window_days: None, ..regions },
            rotation: self.rotation,
            materials: self.materials.iter().map(SharedMaterial::of).collect(),
            pending: self.pending.as_ref().map(SharedMaterial::of),
        })
    }

    /// Material of this primary that the service has to give to a Region which does not know it:
    /// imported material it gets from its owner.
    #[must_use]
    pub fn untold(&self, knows: impl Fn(&MaterialId) -> bool) -> Vec<&KeyMaterial> {
        let told = |material: &&KeyMaterial| self.is_external() || knows(&material.id);
        self.materials.iter().filter(|material| !told(material)).collect()
    }

    /// This replica with what it shares with its primary; `tokens` are those of new material.
    #[must_use]
    pub fn sharing(&self, shared: &SharedState, tokens: &Tokens) -> Self {
        let mut key = self.clone();
        let share = |shared: &SharedMaterial| {
            let mut all = self.materials.iter().chain(&self.pending);
            match all.find(|own| own.id == shared.id) {
                Some(own) => KeyMaterial { rotated: shared.rotated, ..own.clone() },
                None => KeyMaterial {
                    id: shared.id,
                    token: tokens.get(&shared.id).cloned().unwrap_or_default(),
                    rotated: shared.rotated,
                    imported: shared.imported.then(Imported::default),
                },
            }
        };
        key.materials = shared.materials.iter().map(share).collect();
        key.pending = shared.pending.as_ref().map(share);
        key.rotation = shared.rotation;
        key.multi_region = Some(shared.regions.clone());
        let usable = matches!(key.state, KeyState::Enabled | KeyState::Disabled);
        if usable && !key.has_all_material() {
            key.state = KeyState::PendingImport;
        }
        key
    }

    /// This key with the next version of what it shares.
    #[must_use]
    pub fn next_version(&self) -> Self {
        let mut key = self.clone();
        if let Some(regions) = &mut key.multi_region {
            regions.version += 1;
        }
        key
    }

    /// The version of what it shares.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.multi_region.as_ref().map_or(0, |regions| regions.version)
    }

    /// This key after another Region has a replica.
    #[must_use]
    pub fn with_replica(&self, region: &str) -> Self {
        let mut key = self.clone();
        if let Some(regions) = &mut key.multi_region {
            regions.version += 1;
            regions.replicas.insert(region.to_owned());
        }
        key
    }

    /// This key after the replica of a Region is gone, which is shared as `version`: a primary that has waited for its last
    /// replica begins to wait for its own deletion.
    #[must_use]
    pub fn without_replica(&self, region: &str, version: u64, now: Timestamp) -> Self {
        let mut key = self.clone();
        let Some(regions) = &mut key.multi_region else { return key };
        regions.replicas.remove(region);
        regions.version = regions.version.max(version);
        if regions.replicas.is_empty()
            && let Some(days) = regions.window_days.take()
        {
            key.state = KeyState::PendingDeletion;
            key.deletion = Some(now.plus_days(days));
        }
        key
    }

    /// This primary while it moves to a Region of another daemon.
    #[must_use]
    pub fn moving_to(&self, region: &str) -> Self {
        let mut key = self.clone();
        if let Some(regions) = &mut key.multi_region {
            regions.moving_to = Some(region.to_owned());
            key.state = KeyState::Updating;
        }
        key
    }

    /// This key once it no longer moves, wherever the primary is then.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut key = self.clone();
        if let Some(regions) = &mut key.multi_region
            && regions.moving_to.take().is_some()
        {
            key.state = KeyState::Enabled;
        }
        key
    }

    /// This key after the primary has moved to another of its Regions.
    #[must_use]
    pub fn with_primary(&self, region: &str) -> Self {
        let mut key = self.clone();
        if let Some(regions) = &mut key.multi_region {
            regions.version += 1;
            let former = std::mem::replace(&mut regions.primary, region.to_owned());
            regions.replicas.remove(region);
            regions.replicas.insert(former);
        }
        key
    }
}
