//! `DeleteImportedKeyMaterial`: destroys imported material; the key waits until it is back.

use super::import_key_material::is_symmetric;
use crate::api::call::{KeyUse, contended};
use crate::api::checks::invalid;
use crate::api::model::delete_imported_key_material::{Input, Output};
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_keys::catalog::Update;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.optional_parameter("keyMaterialId", input.key_material_id.as_deref());
    for _ in Call::tries() {
        let key =
            call.authorize(KeyUse::manage(action::DeleteImportedKeyMaterial, &key_id)).await?;
        let named = match &input.key_material_id {
            Some(name) => {
                let mut all = key.materials.iter().chain(&key.pending);
                let named = all.find(|material| material.id.to_string() == *name);
                Some(named.ok_or_else(|| {
                    let arn = key.arn();
                    invalid(format!(
                        "Key material (id: {name}) has never been imported into KMS key {arn}."
                    ))
                })?)
            }
            None => key.materials.last(),
        };
        call.facts.element("keyId", key.arn());
        let mut answer = Output { key_id: Some(key.arn().into()), ..Output::default() };
        let Some(id) = named.map(|material| material.id) else { return Answer::of(&answer) };
        answer.key_material_id = is_symmetric(&key).then(|| id.to_string().into());
        if is_symmetric(&key) {
            call.facts.element("keyMaterialId", id.to_string());
        }
        let changed = key.without(|material| material.id == id);
        if changed == **key || call.replace_shared(&key, &changed).await? == Update::Applied {
            return Answer::of(&answer);
        }
    }
    Err(contended())
}
