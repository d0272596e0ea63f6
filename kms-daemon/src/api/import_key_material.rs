//! `ImportKeyMaterial`: gives a key of origin EXTERNAL its material.

use hsm_protocol::key_spec::KeySpec;

use super::call::regions::{refuse_moving, refuse_replica};
use super::call::{KeyUse, contended};
use super::checks::invalid;
use super::model::import_key_material::{Input, Output};
use super::{Answer, Call};
use crate::audit::member_time;
use crate::clock::Timestamp;
use crate::error::{Exception, KmsError};
use crate::key::catalog::Update;
use crate::key::import::{ImportError, Imported};
use crate::key::{KeyMaterial, KeyRecord};
use crate::policy::{Action, Particulars};

/// `ExpirationModelType` of the service model; the first is the default.
const MODELS: [&str; 2] = ["KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"];
/// `ImportType` of the service model.
const TYPES: [&str; 2] = ["NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"];
/// Longest time to expiry, in days.
const MAX_DAYS: u32 = 365;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let (token, wrapped) = (input.import_token, input.encrypted_key_material);
    let model = input.expiration_model.as_deref().unwrap_or(MODELS[0]);
    let expires = expiry(model, input.valid_to, call.now())?;
    call.parameter("keyId", key_id.as_str());
    call.parameter("expirationModel", model);
    call.optional_parameter("validTo", expires.map(|expires| member_time(expires.into())));
    call.optional_parameter("importType", input.import_type.as_deref());
    call.optional_parameter("keyMaterialId", input.key_material_id.as_deref());
    let described = input.key_material_description.as_deref();
    call.optional_parameter("keyMaterialDescription", described);

    let wanted = Wanted { import_type: input.import_type, id: input.key_material_id };
    let imported = Imported { expires, description: input.key_material_description };
    let particulars =
        Particulars::Import { model: input.expiration_model.as_deref(), valid_to: expires };
    let key_use = KeyUse::manage(Action::ImportKeyMaterial, &key_id).telling(particulars);
    for _ in Call::tries() {
        let key = call.authorize(key_use).await?;
        let is_new = wanted.is_new(&key)?;
        let now_ms = call.now().as_millis();
        let made = call.devices().import_key(&key, now_ms, &token, &wrapped).await?;
        let id = made.id.to_string();
        if wanted.id.as_ref().is_some_and(|wanted| *wanted != id) {
            return Err(incorrect("The key material is not the one that KeyMaterialId names."));
        }
        let material = KeyMaterial { imported: Some(imported.clone()), ..made };
        let changed = key.imported(material, is_new).map_err(|error| refusal(error, &key))?;
        if call.replace_shared(&key, &changed).await? == Update::Applied {
            call.element("keyMaterialId", id.as_str());
            return Answer::of(&Output {
                key_id: Some(key.arn().into()),
                key_material_id: Some(id.into()),
            });
        }
    }
    Err(contended())
}

/// What the request says of the material.
struct Wanted {
    import_type: Option<String>,
    id: Option<String>,
}

impl Wanted {
    /// Whether it has to be new to the key.
    fn is_new(&self, key: &KeyRecord) -> Result<bool, KmsError> {
        let is_first = key.materials.is_empty();
        let is_new = match self.import_type.as_deref() {
            Some(name) if key.spec != KeySpec::SYMMETRIC_DEFAULT && !is_first => {
                return Err(invalid(format!(
                    "ImportType {name} is for symmetric encryption keys only."
                )));
            }
            Some(name) => name == TYPES[0],
            None => is_first && !key.is_replica(),
        };
        if is_new {
            refuse_replica(key)?;
            refuse_moving(key)?;
        }
        if is_new && self.id.is_some() {
            return Err(invalid("KeyMaterialId cannot be given for new key material."));
        }
        Ok(is_new)
    }
}

/// When the material expires.
fn expiry(
    model: &str,
    valid_to: Option<f64>,
    now: Timestamp,
) -> Result<Option<Timestamp>, KmsError> {
    match (model == MODELS[0], valid_to) {
        (false, None) => Ok(None),
        (false, Some(_)) => {
            Err(invalid("ValidTo cannot be given with KEY_MATERIAL_DOES_NOT_EXPIRE."))
        }
        (true, None) => Err(invalid("ValidTo is required with KEY_MATERIAL_EXPIRES.")),
        (true, Some(seconds)) => Timestamp::from_epoch_seconds(seconds)
            .filter(|expires| *expires > now && *expires <= now.plus_days(MAX_DAYS))
            .map(Some)
            .ok_or_else(|| invalid("ValidTo must be in the future, at most 365 days from now.")),
    }
}

fn refusal(error: ImportError, key: &KeyRecord) -> KmsError {
    match error {
        ImportError::Incorrect if key.materials.is_empty() => {
            incorrect("The key has no key material yet that this could be.")
        }
        ImportError::Incorrect => incorrect(
            "The key material is not the material that the key had, or not new to it as the \
             ImportType says.",
        ),
        ImportError::Pending => {
            let text = format!("{} has key material that is pending rotation.", key.arn());
            KmsError::new(Exception::KmsInvalidState, text)
        }
    }
}

fn incorrect(text: &'static str) -> KmsError {
    KmsError::new(Exception::IncorrectKeyMaterial, text)
}
