//! Rotation: key material made anew, by hand or by the calendar. Old material decrypts for ever.

use serde::{Deserialize, Serialize};

use super::{KeyMaterial, KeyRecord};
use crate::clock::Timestamp;

/// On-demand rotations of a key in its life.
pub const MAX_ON_DEMAND: usize = 25;

/// The calendar of a key that rotates by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Days between rotations.
    pub period_days: u32,
    /// When the next one is due.
    pub next: Timestamp,
}

/// What brought a key its material; the first one came with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotated {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub by: RotationType,
}

/// Why a key was rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RotationType {
    /// By its schedule.
    Automatic,
    /// By a request.
    OnDemand,
}

impl RotationType {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automatic => "AUTOMATIC",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

impl KeyRecord {
    /// The key with new material, which encrypts from now on. The schedule goes on from now if it
    /// was due.
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

    /// On-demand rotations so far.
    #[must_use]
    pub fn on_demand_rotations(&self) -> usize {
        let by_hand = |material: &&KeyMaterial| {
            material.rotated.is_some_and(|rotated| rotated.by == RotationType::OnDemand)
        };
        self.materials.iter().filter(by_hand).count()
    }
}
