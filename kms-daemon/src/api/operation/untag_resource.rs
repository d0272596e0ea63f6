//! `UntagResource`: removes tags from a key. A tag key that it does not have is ignored.

use crate::api::call::KeyUse;
use crate::api::model::untag_resource::Input;
use crate::api::{Answer, Call, tagging};
use crate::policy::RequestAttributes;
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let tag_keys = input.tag_keys;
    tag_keys.iter().try_for_each(|name| tagging::check_key(name))?;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("tagKeys", tag_keys.clone());
    let attributes = RequestAttributes::TagKeys(&tag_keys);
    let key_use = KeyUse::manage(action::UntagResource, &key_id).telling(attributes);
    call.update_key(key_use, |key| {
        let mut changed = key.clone();
        changed.tags.retain(|name, _| !tag_keys.contains(name));
        Ok(changed)
    })
    .await?;
    Ok(Answer::empty())
}
