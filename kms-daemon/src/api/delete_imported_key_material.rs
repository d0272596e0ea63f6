//! `DeleteImportedKeyMaterial`: destroys imported material; the key waits until it is back.

use serde::Deserialize;
use serde_json::json;

use super::call::{KeyUse, contended};
use super::checks::Checks;
use super::{Answer, Call};
use crate::error::{Exception, KmsError};
use crate::key::catalog::Update;
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    key_material_id: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    if let Some(id) = &input.key_material_id {
        checks.material_id(id);
    }
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    call.optional_parameter("keyMaterialId", input.key_material_id.as_deref());
    for _ in Call::tries() {
        let key =
            call.authorize(KeyUse::manage(Action::DeleteImportedKeyMaterial, &key_id)).await?;
        let named = match &input.key_material_id {
            Some(name) => {
                let mut all = key.materials.iter().chain(&key.pending);
                let named = all.find(|material| material.id.to_string() == *name);
                Some(named.ok_or_else(|| {
                    let text = format!("{} has no key material {name}.", key.arn());
                    KmsError::new(Exception::NotFound, text)
                })?)
            }
            None => key.materials.last(),
        };
        call.element("keyId", key.arn());
        let mut answer = json!({ "KeyId": key.arn() });
        let Some(id) = named.map(|material| material.id) else { return Answer::json(&answer) };
        answer["KeyMaterialId"] = id.to_string().into();
        let changed = key.without(|material| material.id == id);
        if changed == **key || call.replace_shared(&key, &changed).await? == Update::Applied {
            return Answer::json(&answer);
        }
    }
    Err(contended())
}
