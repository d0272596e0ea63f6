//! Key records: everything that the service knows about a key, and how it is stored.
//!
//! A record is stored as JSON with a version, so that operators can read it and later releases can
//! extend it. A record of an unknown version, or with a member that this release does not know, is
//! rejected rather than read in part.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_protocol::MaterialId;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};
use kms_base::record::RecordError;
use serde::{Deserialize, Serialize};

use super::import::Imported;
use super::multi_region::MultiRegion;
use super::rotation::{Rotated, Schedule};
use crate::document::{Bound, KeyPolicy};
use kms_base::clock::Timestamp;
use kms_base::identifier::{KeyId, Scope, Tags};
use kms_model::enums::OriginType;
use kms_model::state::KeyState;
use kms_policy::PolicyError;

/// Version of the stored form.
const VERSION: u32 = 1;

/// A KMS key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key id.
    pub id: KeyId,
    /// The account and Region that own the key.
    pub scope: Scope,
    /// The type of the key material.
    pub spec: KeySpec,
    /// The only usage of the key.
    pub usage: KeyUsage,
    /// Where the key material came from.
    pub origin: Origin,
    /// The state; [`KeyRecord::deletion`] is set accordingly.
    pub state: KeyState,
    /// A description by the owner, as free text.
    pub description: String,
    /// When the key was created.
    pub created: Timestamp,
    /// When the key will be destroyed; set only in [`KeyState::PendingDeletion`], and always there.
    pub deletion: Option<Timestamp>,
    /// The automatic rotation; `None` if it is off.
    pub rotation: Option<Schedule>,
    /// The key policy named `default`.
    pub policy: KeyPolicy,
    /// The tags by which policies and people classify the key.
    pub tags: Tags,
    /// Key material, oldest first. The last one encrypts, and all of them decrypt.
    pub materials: Vec<KeyMaterial>,
    /// Imported material that waits for its rotation.
    pub pending: Option<KeyMaterial>,
    /// The Regions of the related keys, if this is a multi-Region key.
    pub multi_region: Option<MultiRegion>,
    /// The AWS service whose default key this is, if it is an AWS managed key.
    pub service: Option<String>,
    /// The external key that encrypts what the material has encrypted, if the key is in a custom key
    /// store.
    pub external: Option<ExternalKey>,
}

/// A key of an external key store proxy, or in the tokens of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalKey {
    /// The id of the custom key store, `cks-…`.
    pub store: String,
    /// The id by which the proxy knows the key, 1 to 128 characters; in tokens it is `CKA_ID`, in
    /// hexadecimal digits.
    pub id: String,
    /// The id of the cluster, if the key is in tokens. It stays that of the time when the key was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// Key material, as wrapped by a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMaterial {
    /// The id by which ciphertext blobs name the material.
    pub id: MaterialId,
    /// The key token, which only devices of the domain can open. It is empty if the material was
    /// imported and is gone.
    pub token: Vec<u8>,
    /// The rotation that introduced the material; `None` for the first material.
    pub rotated: Option<Rotated>,
    /// What the owner has specified; `None` unless the material was imported.
    pub imported: Option<Imported>,
}

impl KeyRecord {
    /// Returns the key ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        self.scope.key_arn(self.id)
    }

    /// Returns the origin by its name in the API.
    #[must_use]
    pub fn origin_name(&self) -> Option<&'static str> {
        match &self.external {
            Some(ExternalKey { cluster: Some(_), .. }) => Some(OriginType::AWS_CLOUDHSM.name()),
            Some(_) => Some(OriginType::EXTERNAL_KEY_STORE.name()),
            None => self.origin.aws_name(),
        }
    }

    /// Returns the material that encrypts, signs and computes MACs.
    #[must_use]
    pub fn current_material(&self) -> Option<&KeyMaterial> {
        self.materials.last()
    }

    /// Returns the material that a ciphertext names.
    #[must_use]
    pub fn material(&self, id: &MaterialId) -> Option<&KeyMaterial> {
        self.decrypting_materials().find(|material| material.id == *id)
    }

    /// Returns the materials that ciphertexts can be of.
    pub fn decrypting_materials(&self) -> impl Iterator<Item = &KeyMaterial> {
        // Material that a primary elsewhere is about to use waits here. Imported material does not
        // count: the owner has to import it here first.
        let coming = self.pending.iter().filter(|_| !self.is_external());
        self.materials.iter().chain(coming)
    }

    /// Encodes the record for the store.
    ///
    /// # Errors
    /// [`RecordError::Damaged`] if the record has a spec, usage or origin without a name.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let named = |name: Option<&'static str>| {
            name.map(str::to_owned).ok_or_else(|| damaged("a value has no name"))
        };
        let stored = StoredKey {
            version: VERSION,
            id: self.id,
            scope: self.scope.clone(),
            spec: named(self.spec.aws_name())?,
            usage: named(self.usage.aws_name())?,
            origin: named(self.origin.aws_name())?,
            state: self.state,
            description: self.description.clone(),
            created: self.created,
            deletion: self.deletion,
            rotation: self.rotation,
            policy: self.policy.text().to_owned(),
            principals: self.policy.bound().clone(),
            tags: self.tags.clone(),
            materials: self.materials.iter().map(StoredMaterial::from).collect(),
            pending: self.pending.as_ref().map(StoredMaterial::from),
            multi_region: self.multi_region.clone(),
            service: self.service.clone(),
            external: self.external.clone(),
        };
        serde_json::to_vec(&stored).map_err(damaged)
    }

    /// Decodes a record from the store.
    ///
    /// # Errors
    /// [`RecordError::Version`] for a record of another version, else [`RecordError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::read(bytes, KeyPolicy::parse)
    }

    /// Decodes a record for callers that must not learn from the time whether the key is in use.
    ///
    /// # Errors
    /// Those of [`KeyRecord::decode`].
    pub fn decode_apart(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::read(bytes, KeyPolicy::parse_apart)
    }

    /// Decodes only the tags of a record, for listings that read many records.
    ///
    /// # Errors
    /// Those of [`KeyRecord::decode`].
    pub fn tags_in(bytes: &[u8]) -> Result<Tags, RecordError> {
        #[derive(Deserialize)]
        struct Tagged {
            version: u32,
            tags: Tags,
        }
        let Tagged { version, tags } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version == VERSION { Ok(tags) } else { Err(RecordError::Version(version)) }
    }

    fn read(
        bytes: &[u8],
        parse: impl FnOnce(&str, &Scope, &Bound) -> Result<KeyPolicy, PolicyError>,
    ) -> Result<Self, RecordError> {
        let Versioned { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let stored: StoredKey = serde_json::from_slice(bytes).map_err(damaged)?;
        let policy = parse(&stored.policy, &stored.scope, &stored.principals).map_err(damaged)?;
        let unknown = || damaged("a name is not known");
        Ok(Self {
            id: stored.id,
            spec: KeySpec::from_aws_name(&stored.spec).ok_or_else(unknown)?,
            usage: KeyUsage::from_aws_name(&stored.usage).ok_or_else(unknown)?,
            origin: Origin::from_aws_name(&stored.origin).ok_or_else(unknown)?,
            state: stored.state,
            description: stored.description,
            created: stored.created,
            deletion: stored.deletion,
            rotation: stored.rotation,
            policy,
            tags: stored.tags,
            materials: stored.materials.iter().map(KeyMaterial::read).collect::<Result<_, _>>()?,
            pending: stored.pending.as_ref().map(KeyMaterial::read).transpose()?,
            multi_region: stored.multi_region,
            service: stored.service,
            external: stored.external,
            scope: stored.scope,
        })
    }
}

impl KeyMaterial {
    fn read(stored: &StoredMaterial) -> Result<Self, RecordError> {
        let id = unhex(&stored.id).ok_or_else(|| damaged("not a key material id"))?;
        let token = BASE64.decode(&stored.token).map_err(damaged)?;
        let (rotated, imported) = (stored.rotated, stored.imported.clone());
        Ok(Self { id: MaterialId(id), token, rotated, imported })
    }
}

/// The version of a record, whatever its other members are.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    version: u32,
    id: KeyId,
    scope: Scope,
    spec: String,
    usage: String,
    origin: String,
    state: KeyState,
    description: String,
    created: Timestamp,
    deletion: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<Schedule>,
    policy: String,
    /// The unique ids of the users and roles that the policy names.
    #[serde(default, skip_serializing_if = "Bound::is_empty")]
    principals: Bound,
    tags: Tags,
    materials: Vec<StoredMaterial>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<StoredMaterial>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    multi_region: Option<MultiRegion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    external: Option<ExternalKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMaterial {
    /// The id in lower-case hexadecimal.
    id: String,
    /// The key token in Base64.
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotated: Option<Rotated>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<Imported>,
}

impl From<&KeyMaterial> for StoredMaterial {
    fn from(material: &KeyMaterial) -> Self {
        let (id, token) = (material.id.to_string(), BASE64.encode(&material.token));
        Self { id, token, rotated: material.rotated, imported: material.imported.clone() }
    }
}

fn damaged(cause: impl ToString) -> RecordError {
    RecordError::Damaged(cause.to_string())
}

/// Serialises ids of key material as lower-case hexadecimal.
pub(super) mod hex_id {
    use hsm_protocol::MaterialId;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(
        id: &MaterialId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<MaterialId, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::unhex(&text).map(MaterialId).ok_or_else(|| de::Error::custom("no material id"))
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
