//! `TagResource`: adds tags to a key, replacing those with the same keys.

use serde::Deserialize;

use super::call::KeyUse;
use super::checks::Checks;
use super::tagging::{self, Tag};
use super::{Answer, Call};
use crate::error::KmsError;
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    tags: Option<Vec<Tag>>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    let tags = checks.required("tags", input.tags);
    tagging::check_shape(&mut checks, &tags);
    checks.finish()?;
    let tags = tagging::read(tags)?;
    call.parameter("keyId", key_id.as_str());
    call.parameter("tags", tagging::audit_value(&tags));
    call.update_key(KeyUse::manage(Action::TagResource, &key_id), |key| {
        let mut changed = key.clone();
        changed.tags.extend(tags.clone());
        tagging::check_count(&changed.tags)?;
        Ok(changed)
    })
    .await?;
    Ok(Answer::empty())
}
