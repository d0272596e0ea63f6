//! `ListKeyRotations`: the completed rotations of a key, or all of its key material.

use std::cmp::Ordering;

use hsm_protocol::key_spec::KeySpec;

use crate::api::call::KeyUse;
use crate::api::checks::invalid;
use crate::api::marker::page_size;
use crate::api::model::list_key_rotations::{Input, Output};
use crate::api::model::outputs::RotationsListEntry;
use crate::api::{Answer, Call};
use kms_base::error::{Exception, KmsError};
use kms_keys::{KeyMaterial, KeyRecord};
use kms_model::action;
use kms_model::enums::{ExpirationModelType, ImportState, IncludeKeyMaterial, KeyMaterialState};

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let include = input.include_key_material.unwrap_or(IncludeKeyMaterial::ROTATIONS_ONLY);
    let limit = page_size(input.limit, 100);
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("includeKeyMaterial", include.name());
    call.facts.optional_parameter("limit", input.limit);
    call.facts.optional_parameter("marker", input.marker.as_deref());
    let key = call.authorize(KeyUse::manage(action::ListKeyRotations, &key_id)).await?;
    let symmetric = key.spec == KeySpec::SYMMETRIC_DEFAULT;
    if input.include_key_material.is_some() && !symmetric {
        let text = "Input parameter includeKeyMaterial can only be used with symmetric keys.";
        return Err(invalid(text));
    }

    // Material is only ever added, at the end: a position stays what it is.
    let filter = format!("{} {}", key.id, include.name());
    let position = call.read_marker(&filter, input.marker.as_deref())?;
    let start = position.map_or(Ok(0), |position| position.parse::<usize>());
    let start = start.map_err(|_| KmsError::bare(Exception::InvalidMarker))?;
    let listed = |material: &KeyMaterial| match include {
        IncludeKeyMaterial::ALL_KEY_MATERIAL => true,
        IncludeKeyMaterial::ROTATIONS_ONLY => material.rotated.is_some(),
    };
    let pending = key.pending.as_ref().filter(|_| key.is_external());
    let all = key.materials.iter().chain(pending);
    // Other keys have material too, which is never rotated and has no name in the API.
    let all = all.filter(|_| symmetric).enumerate().filter(|(_, material)| listed(material));
    let mut rest = all.filter(|(index, _)| *index >= start);
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let last = page.last().map(|(index, _)| (index + 1).to_string());
    let marker = call.next_marker(&filter, rest.next().is_some(), last.as_deref());
    let pending = match pending.is_some() && !call.is_imported_everywhere(&key).await? {
        true => KeyMaterialState::PENDING_MULTI_REGION_IMPORT_AND_ROTATION,
        false => KeyMaterialState::PENDING_ROTATION,
    };
    let rotations: Vec<_> =
        page.iter().map(|(index, material)| entry(&key, (*index, pending), material)).collect();
    Answer::of(&Output {
        rotations: Some(rotations),
        truncated: Some(marker.is_some()),
        next_marker: marker.map(Into::into),
    })
}

fn entry<'k>(
    key: &KeyRecord,
    (index, pending): (usize, KeyMaterialState),
    material: &'k KeyMaterial,
) -> RotationsListEntry<'k> {
    let state = match (index + 1).cmp(&key.materials.len()) {
        Ordering::Less => KeyMaterialState::NON_CURRENT,
        Ordering::Equal => KeyMaterialState::CURRENT,
        Ordering::Greater => pending,
    };
    let mut entry = RotationsListEntry {
        key_id: Some(key.arn().into()),
        key_material_id: Some(material.id.to_string().into()),
        key_material_state: Some(state.name().into()),
        rotation_date: material.rotated.map(|rotated| rotated.at),
        rotation_type: material.rotated.map(|rotated| rotated.by.name().into()),
        ..RotationsListEntry::default()
    };
    if let Some(imported) = &material.imported {
        let present = material.is_present();
        let state = if present { ImportState::IMPORTED } else { ImportState::PENDING_IMPORT };
        entry.import_state = Some(state.name().into());
        if present {
            let model = match imported.expires {
                Some(_) => ExpirationModelType::KEY_MATERIAL_EXPIRES,
                None => ExpirationModelType::KEY_MATERIAL_DOES_NOT_EXPIRE,
            };
            entry.expiration_model = Some(model.name().into());
            entry.valid_to = imported.expires;
        }
        entry.key_material_description = imported.description.as_deref().map(Into::into);
    }
    entry
}
