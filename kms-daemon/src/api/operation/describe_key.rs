//! `DescribeKey`: the metadata of a key.

use crate::api::call::KeyUse;
use crate::api::metadata::key_metadata_in;
use crate::api::model::describe_key::{Input, Output};
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let grant_tokens = input.grant_tokens.unwrap_or_default();
    call.facts.parameter("keyId", key_id.as_str());
    let key = call.authorize(KeyUse::new(action::DescribeKey, &key_id, &grant_tokens)).await?;
    let state = call.state_of(&key).await?;
    Answer::of(&Output { key_metadata: Some(key_metadata_in(state, &key)) })
}
