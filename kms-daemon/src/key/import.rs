//! Imported key material: what belongs to a key for ever, when it expires, and what is still to be
//! rotated in.
//!
//! A key keeps the ids of all material that ever encrypted with it. Once any of that is gone, by
//! expiry or by request, its token with it, the whole key waits until the same material is back.

use hsm_protocol::MaterialId;
use hsm_protocol::key_spec::Origin;
use serde::{Deserialize, Serialize};

use super::{KeyMaterial, KeyRecord, KeyState};
use crate::clock::Timestamp;

/// What its owner said of imported material.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// When it expires; `None` if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Why material cannot be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportError {
    /// It should be material that the key has or had, and is not.
    Unknown,
    /// It should be new to the key, and is not.
    Known,
    /// This other new material waits for its rotation.
    Pending(MaterialId),
}

impl KeyRecord {
    /// Whether the key's material is imported.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.origin == Origin::EXTERNAL
    }

    /// The key with imported material: new, or known and back again.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn imported(&self, material: KeyMaterial, is_new: bool) -> Result<Self, ImportError> {
        let mut key = self.clone();
        let mut known = key.materials.iter_mut().chain(&mut key.pending);
        match (known.find(|known| known.id == material.id), is_new) {
            (Some(known), false) => {
                (known.token, known.imported) = (material.token, material.imported);
            }
            (Some(_), true) => return Err(ImportError::Known),
            (None, false) => return Err(ImportError::Unknown),
            (None, true) if self.materials.is_empty() => key.materials.push(material),
            (None, true) => match &self.pending {
                Some(other) => return Err(ImportError::Pending(other.id)),
                None => key.pending = Some(material),
            },
        }
        if key.state == KeyState::PendingImport && key.has_all_material() {
            key.state = KeyState::Enabled;
        }
        Ok(key)
    }

    /// The key without the material that `gone` is true of. Pending material is forgotten, but by
    /// a replica: what is pending there is its primary's business.
    #[must_use]
    pub fn without(&self, gone: impl Fn(&KeyMaterial) -> bool) -> Self {
        let mut key = self.clone();
        match key.pending.as_mut().filter(|material| gone(material)) {
            Some(pending) if self.is_replica() => pending.token.clear(),
            Some(_) => key.pending = None,
            None => {}
        }
        for material in key.materials.iter_mut().filter(|material| gone(material)) {
            material.token.clear();
        }
        let usable = matches!(key.state, KeyState::Enabled | KeyState::Disabled);
        if usable && !key.has_all_material() {
            key.state = KeyState::PendingImport;
        }
        key
    }

    /// Whether every material that belongs to the key is there.
    #[must_use]
    pub fn has_all_material(&self) -> bool {
        !self.materials.is_empty() && self.materials.iter().all(KeyMaterial::is_present)
    }

    /// Whether material that belongs to the key has expired, destroyed yet or not.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.materials.iter().any(|material| material.has_expired(now))
    }

    /// The next expiry of material that is there.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        let present = self.materials.iter().chain(&self.pending).filter(|m| m.is_present());
        present.filter_map(KeyMaterial::expires).min()
    }
}

impl KeyMaterial {
    /// Whether it is there.
    #[must_use]
    pub fn is_present(&self) -> bool {
        !self.token.is_empty()
    }

    /// Whether its end has come.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires().is_some_and(|expires| expires <= now)
    }

    /// When it expires, if it was imported with an end.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.imported.as_ref()?.expires
    }
}
