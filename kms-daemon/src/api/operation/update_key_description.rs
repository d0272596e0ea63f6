//! `UpdateKeyDescription`: replaces the description of a key.

use crate::api::call::KeyUse;
use crate::api::model::update_key_description::Input;
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_keys::KeyRecord;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let description = input.description;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("description", description.as_str());
    let key_use = KeyUse::manage(action::UpdateKeyDescription, &key_id);
    call.update_key(key_use, |key| {
        Ok(KeyRecord { description: description.clone(), ..key.clone() })
    })
    .await?;
    Ok(Answer::empty())
}
