//! `DisableKeyRotation`: a key no longer rotates by itself.

use serde::Deserialize;

use super::call::KeyUse;
use super::checks::Checks;
use super::{Answer, Call};
use crate::error::KmsError;
use crate::key::KeyRecord;
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
    let key_use = KeyUse::manage(Action::DisableKeyRotation, &key_id);
    call.update_shared(key_use, |key| Ok(KeyRecord { rotation: None, ..key.clone() })).await?;
    Ok(Answer::empty())
}
