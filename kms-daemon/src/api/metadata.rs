//! `KeyMetadata`: what `CreateKey` and `DescribeKey` say about a key.

use hsm_protocol::key_spec::KeySpec;
use serde_json::{Map, Value, json};

use crate::key::multi_region::MultiRegion;
use crate::key::{KeyMaterial, KeyRecord, KeyState, Scope, spec};

/// The metadata of a key, with exactly the members its kind and state have.
pub(super) fn key_metadata(key: &KeyRecord) -> Map<String, Value> {
    let spec_name = key.spec.aws_name().unwrap_or_default();
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| {
        members.insert(name.to_owned(), value);
    };
    put("AWSAccountId", json!(key.scope.account));
    put("KeyId", json!(key.id));
    put("Arn", json!(key.arn()));
    put("CreationDate", json!(key.created.epoch_seconds()));
    put("Enabled", json!(key.state == KeyState::Enabled));
    put("Description", json!(key.description));
    put("KeyUsage", json!(key.usage.aws_name()));
    put("KeyState", json!(key.state));
    put("Origin", json!(key.origin.aws_name()));
    put("KeyManager", json!("CUSTOMER"));
    put("KeySpec", json!(spec_name));
    // Clients of before 2025 break on names they do not know in the deprecated twin.
    if spec::CUSTOMER_MASTER_KEY_SPECS.contains(&spec_name) {
        put("CustomerMasterKeySpec", json!(spec_name));
    }
    put("MultiRegion", json!(key.id.device().multi_region));
    if let Some(deletion) = key.deletion {
        put("DeletionDate", json!(deletion.epoch_seconds()));
    }
    if let Some(regions) = &key.multi_region {
        put("MultiRegionConfiguration", configuration(key, regions));
        if let Some(days) = regions.window_days {
            put("PendingDeletionWindowInDays", json!(days));
        }
    }
    if let Some((member, algorithms)) = spec::algorithms(key.spec, key.usage) {
        put(member, json!(algorithms));
    }
    if key.is_external() && key.has_all_material() {
        let expires = key.materials.iter().filter_map(KeyMaterial::expires).min();
        let model = match expires {
            Some(_) => "KEY_MATERIAL_EXPIRES",
            None => "KEY_MATERIAL_DOES_NOT_EXPIRE",
        };
        put("ExpirationModel", json!(model));
        if let Some(expires) = expires {
            put("ValidTo", json!(expires.epoch_seconds()));
        }
    }
    if key.spec == KeySpec::SYMMETRIC_DEFAULT
        && let Some(material) = key.current_material()
    {
        put("CurrentKeyMaterialId", json!(material.id.to_string()));
    }
    members
}

/// `MultiRegionConfiguration`: where the related keys are.
fn configuration(key: &KeyRecord, regions: &MultiRegion) -> Value {
    let entry = |region: &String| {
        let arn = Scope::new(&*key.scope.account, region).key_arn(key.id);
        json!({ "Arn": arn, "Region": region })
    };
    json!({
        "MultiRegionKeyType": if key.is_replica() { "REPLICA" } else { "PRIMARY" },
        "PrimaryKey": entry(&regions.primary),
        "ReplicaKeys": regions.replicas.iter().map(entry).collect::<Vec<_>>(),
    })
}
