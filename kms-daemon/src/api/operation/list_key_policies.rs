//! `ListKeyPolicies`: the names of a key's policies, of which there is one.

use crate::api::call::KeyUse;
use crate::api::model::list_key_policies::{Input, Output};
use crate::api::{Answer, Call};
use crate::policy::DEFAULT_POLICY_NAME;
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.optional_parameter("limit", input.limit);
    call.facts.optional_parameter("marker", input.marker.as_deref());
    let key = call.authorize(KeyUse::manage(action::ListKeyPolicies, &key_id)).await?;
    // No page ends before the only name, so no marker was ever issued.
    call.read_marker(&key.id.to_string(), input.marker.as_deref())?;
    Answer::of(&Output {
        policy_names: Some(vec![DEFAULT_POLICY_NAME.into()]),
        truncated: Some(false),
        ..Output::default()
    })
}
