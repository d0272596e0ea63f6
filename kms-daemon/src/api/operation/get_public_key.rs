//! `GetPublicKey`: the public half of an asymmetric key.

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::metadata::AlgorithmLists;
use crate::api::model::get_public_key::{Input, Output};
use crate::api::{Answer, Call};
use crate::engine::response;
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let grant_tokens = input.grant_tokens.unwrap_or_default();
    call.facts.parameter("keyId", key_id.as_str());
    let key = call.authorize(KeyUse::new(action::GetPublicKey, &key_id, &grant_tokens)).await?;
    let reply = call.devices().public_key(&key).await?;
    let spki = response(&reply)?.spki;
    let spec_name = key.spec.aws_name();
    let mut output = Output {
        key_id: Some(key.arn().into()),
        public_key: Some(Base64(&spki)),
        key_spec: spec_name.map(Into::into),
        customer_master_key_spec: spec_name.map(Into::into),
        key_usage: key.usage.aws_name().map(Into::into),
        ..Output::default()
    };
    let listed = AlgorithmLists::of(&key);
    output.encryption_algorithms = listed.encryption;
    output.signing_algorithms = listed.signing;
    output.key_agreement_algorithms = listed.agreement;
    output.encapsulation_algorithms = listed.encapsulation;
    Answer::of(&output)
}
