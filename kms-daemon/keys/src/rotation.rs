//! Rotation: new key material, on demand or by schedule. Old material can always decrypt.

use serde::{Deserialize, Serialize};

use super::{KeyMaterial, KeyRecord};
use kms_base::clock::Timestamp;

/// The limit on on-demand rotations over the life of a key.
pub const MAX_ON_DEMAND: usize = 25;

/// The schedule of a key that rotates automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Days between rotations.
    pub period_days: u32,
    /// When the next rotation is due.
    pub next: Timestamp,
}

/// The rotation that introduced key material. The first material came with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotated {
    /// When the key was rotated.
    pub at: Timestamp,
    /// Why the key was rotated.
    pub by: RotationType,
}

/// Why a key was rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RotationType {
    /// The schedule was due.
    Automatic,
    /// A request asked for the rotation.
    OnDemand,
}

impl RotationType {
    /// Returns the name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automatic => "AUTOMATIC",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

impl KeyRecord {
    /// Returns the key with new material, which encrypts from now on. If the schedule was due, its
    /// next period starts now.
    #[must_use]
    pub fn rotated(&self, material: KeyMaterial, at: Timestamp, by: RotationType) -> Self {
        let mut key = self.clone();
        key.pending = None;
        key.materials.push(KeyMaterial { rotated: Some(Rotated { at, by }), ..material });
        if let (RotationType::Automatic, Some(schedule)) = (by, &mut key.rotation) {
            schedule.next = at.plus_days(schedule.period_days);
        }
        key
    }

    /// Returns the number of on-demand rotations so far.
    #[must_use]
    pub fn on_demand_rotations(&self) -> usize {
        let by_hand = |material: &&KeyMaterial| {
            material.rotated.is_some_and(|rotated| rotated.by == RotationType::OnDemand)
        };
        self.materials.iter().filter(by_hand).count()
    }
}
