//! Imported key material: which material permanently belongs to a key, when it expires, and what
//! still waits for its rotation.
//!
//! A key keeps the ids of all material that has ever encrypted with it. Once any of it has expired
//! or been deleted, its token is gone and the key cannot be used until the same material is
//! imported again.

use hsm_protocol::MaterialId;
use hsm_protocol::key_spec::Origin;
use serde::{Deserialize, Serialize};

use super::{KeyMaterial, KeyRecord};
use kms_base::clock::Timestamp;
use kms_model::state::KeyState;

/// What the owner has specified for imported material.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// When the material expires; `None` if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// A description by the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Why material cannot be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportError {
    /// The request is for material that the key has or had, and this is other material.
    Unknown,
    /// The request is for material that is new to the key, and the key has this material.
    Known,
    /// Other new material already waits for its rotation.
    Pending(MaterialId),
}

impl KeyRecord {
    /// Whether the key's material is imported.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.origin == Origin::EXTERNAL
    }

    /// Returns the key with imported material, either new or imported again.
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

    /// Returns the key without the material for which `gone` is true. Pending material is
    /// forgotten, except by a replica: its primary decides which material is pending.
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

    /// Whether all material that belongs to the key is present.
    #[must_use]
    pub fn has_all_material(&self) -> bool {
        !self.materials.is_empty() && self.materials.iter().all(KeyMaterial::is_present)
    }

    /// Whether material that belongs to the key has expired, even if it is not destroyed yet.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.materials.iter().any(|material| material.has_expired(now))
    }

    /// Returns the next expiry among the material that is present.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        let present = self.materials.iter().chain(&self.pending).filter(|m| m.is_present());
        present.filter_map(KeyMaterial::expires).min()
    }
}

impl KeyMaterial {
    /// Whether the material is present.
    #[must_use]
    pub fn is_present(&self) -> bool {
        !self.token.is_empty()
    }

    /// Whether the material has expired.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires().is_some_and(|expires| expires <= now)
    }

    /// Returns when the material expires; `None` if it does not.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.imported.as_ref()?.expires
    }
}
