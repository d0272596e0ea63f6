//! `TagResource`: adds tags to a key, replacing those with the same keys.

use crate::api::call::KeyUse;
use crate::api::model::tag_resource::Input;
use crate::api::{Answer, Call, tagging};
use crate::policy::RequestAttributes;
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let tags = tagging::read(input.tags)?;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("tags", tagging::audit_value(&tags));
    let key_use =
        KeyUse::manage(action::TagResource, &key_id).telling(RequestAttributes::Tags(&tags));
    call.update_key(key_use, |key| {
        let mut changed = key.clone();
        changed.tags.extend(tags.clone());
        tagging::check_count(&changed.tags)?;
        Ok(changed)
    })
    .await?;
    Ok(Answer::empty())
}
