//! `GenerateDataKeyWithoutPlaintext`: a data key, encrypted only.

use super::generate_data_key::DataKeyRequest;
use crate::api::answer::Base64;
use crate::api::model::generate_data_key;
use crate::api::model::generate_data_key_without_plaintext::{Input, Output};
use crate::api::{Answer, Call};
use crate::engine::response;
use crate::envelope::Envelope;
use crate::policy::RequestAttributes;
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = DataKeyRequest::check(generate_data_key::Input {
        key_id: input.key_id,
        encryption_context: input.encryption_context,
        number_of_bytes: input.number_of_bytes,
        key_spec: input.key_spec,
        grant_tokens: input.grant_tokens,
        recipient: None,
        dry_run: input.dry_run,
    })?;
    let action = action::GenerateDataKeyWithoutPlaintext;
    let key = request.authorize(call, action, RequestAttributes::None).await?;
    let reply = call.devices().wrapped_data_key(&key, &request.context, request.length).await?;
    let blob = response(&reply)?.blob;
    let material = Envelope::parse(&blob)?.material.to_string();
    call.facts.material_used("keyMaterialId", Some(&material));
    let blob = call.with_outer_layer(&key, &request.context, &blob).await?;
    let output = Output {
        ciphertext_blob: Some(Base64(&blob)),
        key_id: Some(key.arn().into()),
        key_material_id: Some(material.into()),
    };
    Answer::of(&output)
}
