//! `ImportKeyMaterial`: gives a key of origin EXTERNAL its material.

use hsm_protocol::key_spec::KeySpec;

use crate::api::call::regions::refuse_moving;
use crate::api::call::{KeyUse, contended};
use crate::api::checks::invalid;
use crate::api::model::import_key_material::{Input, Output};
use crate::api::{Answer, Call};
use crate::policy::RequestAttributes;
use kms_audit::member_time;
use kms_base::clock::Timestamp;
use kms_base::error::{Exception, KmsError};
use kms_keys::catalog::Update;
use kms_keys::import::{ImportError, Imported};
use kms_keys::{KeyMaterial, KeyRecord};
use kms_model::action;
use kms_model::enums::{ExpirationModelType, ImportType};

/// The answer to material that is not the one it should be.
const UNEXPECTED: &str = "Imported key material does not have the expected identifier (ID).";
/// Longest time to expiry, in days.
const MAX_DAYS: u32 = 365;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let (token, wrapped) = (input.import_token, input.encrypted_key_material);
    let model = input.expiration_model.unwrap_or(ExpirationModelType::KEY_MATERIAL_EXPIRES);
    let expires = expiry(model, input.valid_to, call.service.now())?;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("expirationModel", model.name());
    call.facts.optional_parameter("validTo", expires.map(|expires| member_time(expires.into())));
    call.facts.optional_parameter("importType", input.import_type.map(ImportType::name));
    call.facts.optional_parameter("keyMaterialId", input.key_material_id.as_deref());
    let described = input.key_material_description.as_deref();
    call.facts.optional_parameter("keyMaterialDescription", described);

    let wanted = Wanted {
        import_type: input.import_type,
        id: input.key_material_id,
        description: input.key_material_description,
    };
    let model = input.expiration_model.map(ExpirationModelType::name);
    let attributes = RequestAttributes::Import { model, valid_to: expires };
    let key_use = KeyUse::manage(action::ImportKeyMaterial, &key_id).telling(attributes);
    for _ in Call::tries() {
        let key = call.authorize(key_use).await?;
        wanted.check(&key)?;
        let is_new = wanted.is_new(&key);
        if is_new {
            refuse_moving(&key)?;
        }
        let now_ms = call.service.now().as_millis();
        let made = call.devices().import_key(&key, now_ms, &token, &wrapped).await?;
        let id = made.id.to_string();
        if wanted.id.as_ref().is_some_and(|wanted| *wanted != id) {
            return Err(incorrect(UNEXPECTED));
        }
        let imported = Imported { expires, description: wanted.description.clone() };
        let material = KeyMaterial { imported: Some(imported), ..made };
        let refused = |error| refusal(error, &key, &id);
        let changed = key.imported(material, is_new).map_err(refused)?;
        if call.replace_shared(&key, &changed).await? == Update::Applied {
            call.facts.element("keyMaterialId", id.as_str());
            return Answer::of(&Output {
                key_id: Some(key.arn().into()),
                key_material_id: is_symmetric(&key).then(|| id.into()),
            });
        }
    }
    Err(contended())
}

/// What the request says of the material.
struct Wanted {
    import_type: Option<ImportType>,
    id: Option<String>,
    description: Option<String>,
}

impl Wanted {
    /// Whether it may be said of the key's material.
    fn check(&self, key: &KeyRecord) -> Result<(), KmsError> {
        let given = [
            ("importType", self.import_type.is_some()),
            ("keyMaterialId", self.id.is_some()),
            ("keyMaterialDescription", self.description.is_some()),
        ];
        if let Some((name, _)) = given.iter().find(|(_, is_given)| *is_given)
            && !is_symmetric(key)
        {
            let spec = key.spec;
            return Err(invalid(format!(
                "Input parameter {name} cannot be used with {spec:?} imported keys."
            )));
        }
        let asks_for_new = self.import_type == Some(ImportType::NEW_KEY_MATERIAL);
        if asks_for_new && key.is_replica() {
            return Err(invalid(
                "Input parameter ImportType NEW_KEY_MATERIAL cannot be used on replica \
                 Multi-Region keys",
            ));
        }
        if self.description.is_some() && key.is_replica() {
            return Err(invalid(
                "Key material description can only be specified on primary Multi-Region keys",
            ));
        }
        if self.id.is_some() && self.is_new(key) {
            return Err(invalid(
                "Input parameter keyMaterialId cannot be used with NEW_KEY_MATERIAL importType.",
            ));
        }
        Ok(())
    }

    /// Whether it has to be new to the key.
    fn is_new(&self, key: &KeyRecord) -> bool {
        match self.import_type {
            Some(ImportType::NEW_KEY_MATERIAL) => true,
            Some(ImportType::EXISTING_KEY_MATERIAL) => false,
            None => key.materials.is_empty() && !key.is_replica(),
        }
    }
}

/// Whether the material of the key has a name in the API.
pub(super) fn is_symmetric(key: &KeyRecord) -> bool {
    key.spec == KeySpec::SYMMETRIC_DEFAULT
}

/// When the material expires.
fn expiry(
    model: ExpirationModelType,
    valid_to: Option<f64>,
    now: Timestamp,
) -> Result<Option<Timestamp>, KmsError> {
    use ExpirationModelType as M;
    let name = model.name();
    match (model, valid_to) {
        (M::KEY_MATERIAL_DOES_NOT_EXPIRE, None) => Ok(None),
        (M::KEY_MATERIAL_DOES_NOT_EXPIRE, Some(_)) => {
            let rule = "A validTo date cannot be set if the ExpirationModel is";
            Err(invalid(format!("{rule} {name}")))
        }
        (M::KEY_MATERIAL_EXPIRES, None) => {
            let rule = "A validTo date must be set if the ExpirationModel is";
            Err(invalid(format!("{rule} {name}")))
        }
        (M::KEY_MATERIAL_EXPIRES, Some(seconds)) => match Timestamp::from_epoch_seconds(seconds) {
            Some(expires) if expires <= now => Err(invalid("ValidTo must be in the future")),
            Some(expires) if expires <= now.plus_days(MAX_DAYS) => Ok(Some(expires)),
            _ => Err(invalid(format!("ValidTo must be less than {MAX_DAYS} days in the future"))),
        },
    }
}

fn refusal(error: ImportError, key: &KeyRecord, id: &str) -> KmsError {
    let arn = key.arn();
    match error {
        ImportError::Unknown => incorrect(UNEXPECTED),
        ImportError::Known => incorrect(format!(
            "Key material (id: {id}) being imported as NEW_KEY_MATERIAL is already associated with KMS key \
             {arn}."
        )),
        ImportError::Pending(other) => {
            let text = format!(
                "New key material (id: {id}) cannot be imported into KMS key {arn}, because \
                 another key material (id: {other}) is pending rotation."
            );
            KmsError::new(Exception::KmsInvalidState, text)
        }
    }
}

fn incorrect(text: impl Into<std::borrow::Cow<'static, str>>) -> KmsError {
    KmsError::new(Exception::IncorrectKeyMaterial, text)
}
