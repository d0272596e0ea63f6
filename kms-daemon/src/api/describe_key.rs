//! `DescribeKey`: the metadata of a key.

use serde::Deserialize;
use serde_json::json;

use super::call::KeyUse;
use super::checks::Checks;
use super::metadata::key_metadata;
use super::{Answer, Call};
use crate::error::KmsError;
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    grant_tokens: Option<Vec<String>>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    let grant_tokens = checks.grant_tokens(input.grant_tokens);
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    let key = call.authorize(KeyUse::new(Action::DescribeKey, &key_id, &grant_tokens)).await?;
    Answer::json(&json!({ "KeyMetadata": key_metadata(&key) }))
}
