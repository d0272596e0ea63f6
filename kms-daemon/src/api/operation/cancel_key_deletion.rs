//! `CancelKeyDeletion`: keeps a key that is pending deletion. It is disabled afterwards.

use crate::api::call::KeyUse;
use crate::api::model::cancel_key_deletion::{Input, Output};
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_keys::KeyRecord;
use kms_keys::multi_region::MultiRegion;
use kms_model::action;
use kms_model::state::KeyState;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    call.facts.parameter("keyId", key_id.as_str());
    let key_use = KeyUse::manage(action::CancelKeyDeletion, &key_id);
    let key = call
        .update_key(key_use, |key| {
            let state = match key.has_all_material() {
                true => KeyState::Disabled,
                false => KeyState::PendingImport,
            };
            let multi_region = key.multi_region.clone();
            let multi_region =
                multi_region.map(|regions| MultiRegion { window_days: None, ..regions });
            Ok(KeyRecord { state, deletion: None, multi_region, ..key.clone() })
        })
        .await?;
    call.facts.element("keyId", key.arn());
    Answer::of(&Output { key_id: Some(key.arn().into()) })
}
