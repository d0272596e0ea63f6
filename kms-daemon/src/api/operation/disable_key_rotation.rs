//! `DisableKeyRotation`: a key no longer rotates by itself.

use crate::api::call::KeyUse;
use crate::api::model::disable_key_rotation::Input;
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_keys::KeyRecord;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    call.facts.parameter("keyId", key_id.as_str());
    let key_use = KeyUse::manage(action::DisableKeyRotation, &key_id);
    call.update_shared(key_use, |key| Ok(KeyRecord { rotation: None, ..key.clone() })).await?;
    Ok(Answer::empty())
}
