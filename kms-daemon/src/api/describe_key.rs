//! `DescribeKey`: the metadata of a key.

use super::call::KeyUse;
use super::metadata::key_metadata;
use super::model::describe_key::{Input, Output};
use super::{Answer, Call};
use crate::error::KmsError;
use crate::model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let grant_tokens = input.grant_tokens.unwrap_or_default();
    call.parameter("keyId", key_id.as_str());
    let key = call.authorize(KeyUse::new(action::DescribeKey, &key_id, &grant_tokens)).await?;
    Answer::of(&Output { key_metadata: Some(key_metadata(&key)) })
}
