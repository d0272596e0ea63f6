//! `EnableKey`: makes a key usable again.

use crate::api::call::KeyUse;
use crate::api::model::enable_key::Input;
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_keys::KeyRecord;
use kms_model::action;
use kms_model::state::KeyState;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    call.facts.parameter("keyId", key_id.as_str());
    let key_use = KeyUse::manage(action::EnableKey, &key_id);
    call.update_key(key_use, |key| Ok(KeyRecord { state: KeyState::Enabled, ..key.clone() }))
        .await?;
    Ok(Answer::empty())
}
