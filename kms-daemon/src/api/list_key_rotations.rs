//! `ListKeyRotations`: the completed rotations of a key, or all of its key material.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::KeyUse;
use super::checks::Checks;
use super::{Answer, Call};
use crate::error::{Exception, KmsError};
use crate::key::{KeyMaterial, KeyRecord};
use crate::policy::Action;

/// Values of `IncludeKeyMaterial`; the first is the default.
const INCLUDE: [&str; 2] = ["ROTATIONS_ONLY", "ALL_KEY_MATERIAL"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    include_key_material: Option<String>,
    limit: Option<i64>,
    marker: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    let include = input.include_key_material.as_deref().unwrap_or(INCLUDE[0]);
    checks.one_of("includeKeyMaterial", include, &INCLUDE);
    let limit = checks.limit(input.limit, 100, 1000);
    checks.marker(input.marker.as_deref());
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    call.parameter("includeKeyMaterial", include);
    call.optional_parameter("limit", input.limit);
    call.optional_parameter("marker", input.marker.as_deref());
    let key = call.authorize(KeyUse::manage(Action::ListKeyRotations, &key_id)).await?;

    // Material is only ever added, at the end: a position stays what it is.
    let filter = format!("{} {include}", key.id);
    let position = call.read_marker(&filter, input.marker.as_deref())?;
    let start = position.map_or(Ok(0), |position| position.parse::<usize>());
    let start = start.map_err(|_| KmsError::bare(Exception::InvalidMarker))?;
    let listed = |material: &KeyMaterial| include != INCLUDE[0] || material.rotated.is_some();
    let all = key.materials.iter().chain(&key.pending);
    let all = all.enumerate().filter(|(_, material)| listed(material));
    let mut rest = all.filter(|(index, _)| *index >= start);
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let last = page.last().map(|(index, _)| (index + 1).to_string());
    let marker = call.next_marker(&filter, rest.next().is_some(), last.as_deref());
    let pending = match key.pending.is_some() && !call.is_imported_everywhere(&key).await? {
        true => "PENDING_MULTI_REGION_IMPORT_AND_ROTATION",
        false => "PENDING_ROTATION",
    };
    let rotations: Vec<_> =
        page.iter().map(|(index, material)| entry(&key, (*index, pending), material)).collect();
    let mut answer = json!({ "Rotations": rotations, "Truncated": marker.is_some() });
    if let Some(marker) = marker {
        answer["NextMarker"] = marker.into();
    }
    Answer::json(&answer)
}

fn entry(key: &KeyRecord, (index, pending): (usize, &str), material: &KeyMaterial) -> Value {
    let state = match (index + 1).cmp(&key.materials.len()) {
        Ordering::Less => "NON_CURRENT",
        Ordering::Equal => "CURRENT",
        Ordering::Greater => pending,
    };
    let mut entry = json!({
        "KeyId": key.arn(),
        "KeyMaterialId": material.id.to_string(),
        "KeyMaterialState": state,
    });
    if let Some(rotated) = material.rotated {
        entry["RotationDate"] = json!(rotated.at.epoch_seconds());
        entry["RotationType"] = json!(rotated.by);
    }
    if let Some(imported) = &material.imported {
        let present = material.is_present();
        entry["ImportState"] = json!(if present { "IMPORTED" } else { "PENDING_IMPORT" });
        if present {
            let expires = imported.expires.is_some();
            let model =
                if expires { "KEY_MATERIAL_EXPIRES" } else { "KEY_MATERIAL_DOES_NOT_EXPIRE" };
            entry["ExpirationModel"] = json!(model);
        }
        if let Some(expires) = imported.expires.filter(|_| present) {
            entry["ValidTo"] = json!(expires.epoch_seconds());
        }
        if let Some(description) = &imported.description {
            entry["KeyMaterialDescription"] = json!(description);
        }
    }
    entry
}
