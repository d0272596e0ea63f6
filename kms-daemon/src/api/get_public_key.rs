//! `GetPublicKey`: the public half of an asymmetric key.

use serde::Deserialize;
use serde_json::json;

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::Checks;
use super::{Answer, Call};
use crate::engine::response;
use crate::error::KmsError;
use crate::key::spec;
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
    let key = call.authorize(KeyUse::new(Action::GetPublicKey, &key_id, &grant_tokens)).await?;
    let reply = call.devices().public_key(&key).await?;
    let spki = response(&reply)?.spki;
    let spec_name = key.spec.aws_name();
    let mut answer = json!({
        "KeyId": key.arn(),
        "PublicKey": Base64(&spki),
        "KeySpec": spec_name,
        "KeyUsage": key.usage.aws_name(),
    });
    if spec_name.is_some_and(|name| spec::CUSTOMER_MASTER_KEY_SPECS.contains(&name)) {
        answer["CustomerMasterKeySpec"] = json!(spec_name);
    }
    if let Some((member, algorithms)) = spec::algorithms(key.spec, key.usage) {
        answer[member] = json!(algorithms);
    }
    Answer::json(&answer)
}
