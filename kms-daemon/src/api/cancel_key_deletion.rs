//! `CancelKeyDeletion`: keeps a key that is pending deletion. It is disabled afterwards.

use serde::Deserialize;
use serde_json::json;

use super::call::KeyUse;
use super::checks::Checks;
use super::{Answer, Call};
use crate::error::KmsError;
use crate::key::multi_region::MultiRegion;
use crate::key::{KeyRecord, KeyState};
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    let key_use = KeyUse::manage(Action::CancelKeyDeletion, &key_id);
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
    call.element("keyId", key.arn());
    Answer::json(&json!({ "KeyId": key.arn() }))
}
