//! Key records: all that the service knows of a key, and how it is stored.
//!
//! Stored as JSON with a version, so that an operator can read it and later releases can add to
//! it. A record of an unknown version, or with a member this release does not know, is refused
//! rather than read in part.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_protocol::MaterialId;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};
use serde::{Deserialize, Serialize};

use super::import::Imported;
use super::multi_region::MultiRegion;
use super::rotation::{Rotated, Schedule};
use super::{KeyId, KeyState, Scope};
use crate::clock::Timestamp;
use crate::policy::{Bound, KeyPolicy};

/// Tags of a key, in the order of their keys.
pub type Tags = BTreeMap<String, String>;

/// Version of the stored form.
const VERSION: u32 = 1;

/// A KMS key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key id.
    pub id: KeyId,
    /// Owning account and Region.
    pub scope: Scope,
    /// Type of the key material.
    pub spec: KeySpec,
    /// The only usage of the key.
    pub usage: KeyUsage,
    /// Where the key material came from.
    pub origin: Origin,
    /// State; [`KeyRecord::deletion`] goes with it.
    pub state: KeyState,
    /// Free text.
    pub description: String,
    /// When the key was created.
    pub created: Timestamp,
    /// When the key will be destroyed; set exactly in [`KeyState::PendingDeletion`].
    pub deletion: Option<Timestamp>,
    /// When it rotates by itself; `None` if it does not.
    pub rotation: Option<Schedule>,
    /// The key policy named `default`.
    pub policy: KeyPolicy,
    /// Tags.
    pub tags: Tags,
    /// Key material, oldest first. The last one encrypts, all of them decrypt.
    pub materials: Vec<KeyMaterial>,
    /// Imported material that waits for its rotation.
    pub pending: Option<KeyMaterial>,
    /// Where its other keys are, if it is a multi-Region key.
    pub multi_region: Option<MultiRegion>,
    /// The AWS service whose default key it is, if it is an AWS managed key.
    pub service: Option<String>,
}

/// Key material, as a device wrapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMaterial {
    /// Names the material in ciphertext blobs.
    pub id: MaterialId,
    /// The key token. Only a device of the domain can open it. Empty if the material was imported
    /// and is gone.
    pub token: Vec<u8>,
    /// The rotation that brought it; `None` for the first material.
    pub rotated: Option<Rotated>,
    /// What its owner said of it; `None` unless it was imported.
    pub imported: Option<Imported>,
}

/// Why stored bytes are not a key record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON of a record.
    #[error("damaged record: {0}")]
    Damaged(String),
    /// Written by another release.
    #[error("record version {0} is not supported")]
    Version(u32),
}

impl KeyRecord {
    /// The key ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        self.scope.key_arn(self.id)
    }

    /// The material that encrypts, signs and computes MACs.
    #[must_use]
    pub fn current_material(&self) -> Option<&KeyMaterial> {
        self.materials.last()
    }

    /// The material a ciphertext names.
    #[must_use]
    pub fn material(&self, id: &MaterialId) -> Option<&KeyMaterial> {
        // What a primary elsewhere is about to use waits here, unless its owner has to import it.
        let coming = self.pending.iter().filter(|_| !self.is_external());
        self.materials.iter().chain(coming).find(|material| material.id == *id)
    }

    /// The stored form.
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
        };
        serde_json::to_vec(&stored).map_err(damaged)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`RecordError::Version`] for a record of another version, else [`RecordError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let Versioned { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let stored: StoredKey = serde_json::from_slice(bytes).map_err(damaged)?;
        let policy =
            KeyPolicy::parse(&stored.policy, &stored.scope, &stored.principals).map_err(damaged)?;
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

/// The version of a record, whatever else it holds.
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
    /// Unique ids of the users and roles that the policy names.
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
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMaterial {
    /// Lower-case hexadecimal.
    id: String,
    /// Base64.
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

/// Ids of key material as lower-case hexadecimal.
pub(super) mod hex_id {
    use hsm_protocol::MaterialId;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::key) fn serialize<S: Serializer>(
        id: &MaterialId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(in crate::key) fn deserialize<'de, D: Deserializer<'de>>(
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
mod tests {
    use super::*;
    use crate::key::rotation::RotationType;

    /// A record as version 1 is stored. Revert your change, not this.
    const GOLDEN: &str = concat!(
        r#"{"version":1,"id":"1234abcd-12ab-34cd-56ef-1234567890ab","#,
        r#""scope":{"account":"000000000000","region":"us-east-1"},"#,
        r#""spec":"SYMMETRIC_DEFAULT","usage":"ENCRYPT_DECRYPT","origin":"AWS_KMS","#,
        r#""state":"PendingDeletion","description":"payments","created":1780000000123,"#,
        r#""deletion":1780604800123,"#,
        r#""policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\","#,
        r#"\"Action\":\"kms:*\",\"Resource\":\"*\"}}","#,
        r#""tags":{"cost":"7","team":"red"},"#,
        r#""materials":[{"id":"0707070707070707070707070707070707070707070707070707070707070707","#,
        r#""token":"AQID"}]}"#,
    );

    fn record() -> KeyRecord {
        let scope = Scope::new("000000000000", "us-east-1");
        let policy =
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#;
        KeyRecord {
            id: KeyId::parse("1234abcd-12ab-34cd-56ef-1234567890ab").unwrap(),
            spec: KeySpec::SYMMETRIC_DEFAULT,
            usage: KeyUsage::ENCRYPT_DECRYPT,
            origin: Origin::AWS_KMS,
            state: KeyState::PendingDeletion,
            description: "payments".to_owned(),
            created: Timestamp::from_millis(1_780_000_000_123),
            deletion: Some(Timestamp::from_millis(1_780_000_000_123).plus_days(7)),
            rotation: None,
            policy: KeyPolicy::parse(policy, &scope, &Bound::new()).unwrap(),
            tags: [("team", "red"), ("cost", "7")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            materials: vec![KeyMaterial {
                id: MaterialId([7; 32]),
                token: vec![1, 2, 3],
                rotated: None,
                imported: None,
            }],
            pending: None,
            multi_region: None,
            service: None,
            scope,
        }
    }

    #[test]
    fn version_1_is_stored_as_ever() {
        let stored = record().encode().unwrap();
        assert_eq!(String::from_utf8(stored).unwrap(), GOLDEN);
        assert_eq!(KeyRecord::decode(GOLDEN.as_bytes()).unwrap(), record());
    }

    #[test]
    fn rotations_are_stored_as_ever() {
        let at = Timestamp::from_millis(1_790_000_000_000);
        let mut record = record();
        record.rotation = Some(Schedule { period_days: 90, next: at });
        let id = MaterialId([8; 32]);
        let material = KeyMaterial { id, token: vec![4], rotated: None, imported: None };
        let record = record.rotated(material, at, RotationType::Automatic);
        let stored = String::from_utf8(record.encode().unwrap()).unwrap();
        let golden = GOLDEN
            .replace(
                r#""policy""#,
                r#""rotation":{"period_days":90,"next":1797776000000},"policy""#,
            )
            .replace(
                r#""AQID"}"#,
                &[
                    r#""AQID"},{"id":""#,
                    &"08".repeat(32),
                    r#"","token":"BA==","rotated":{"at":1790000000000,"by":"AUTOMATIC"}}"#,
                ]
                .concat(),
            );
        assert_eq!(stored, golden);
        assert_eq!(KeyRecord::decode(golden.as_bytes()).unwrap(), record);
    }

    #[test]
    fn regions_are_stored_as_ever() {
        let record = KeyRecord {
            multi_region: Some(MultiRegion {
                window_days: Some(7),
                ..MultiRegion::new("eu-west-1")
            }),
            ..record()
        };
        let record = record.with_replica("us-east-1");
        let golden = GOLDEN.replace(
            r#""AQID"}]"#,
            concat!(
                r#""AQID"}],"multi_region":{"primary":"eu-west-1","#,
                r#""replicas":["us-east-1"],"version":1,"window_days":7}"#,
            ),
        );
        assert_eq!(String::from_utf8(record.encode().unwrap()).unwrap(), golden);
        assert_eq!(KeyRecord::decode(golden.as_bytes()).unwrap(), record);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let newer = GOLDEN.replace("\"version\":1", "\"version\":2");
        assert!(matches!(KeyRecord::decode(newer.as_bytes()), Err(RecordError::Version(2))));
        for (from, to) in [
            ("\"tags\"", "\"tag\""),
            ("\"version\":1", "\"version\":1,\"extra\":0"),
            ("SYMMETRIC_DEFAULT", "SYMMETRIC_OTHER"),
            ("\"AQID\"", "\"AQI\""),
            ("07\"", "0\""),
            ("kms:*", "s3"),
            ("}]}", "}]"),
        ] {
            let damaged = GOLDEN.replace(from, to);
            assert_ne!(damaged, GOLDEN);
            let outcome = KeyRecord::decode(damaged.as_bytes());
            assert!(matches!(outcome, Err(RecordError::Damaged(_))), "{from}: {outcome:?}");
        }
    }
}
