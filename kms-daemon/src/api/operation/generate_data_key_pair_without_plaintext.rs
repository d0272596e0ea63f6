//! `GenerateDataKeyPairWithoutPlaintext`: a key pair, its private half encrypted only.

use super::generate_data_key_pair::KeyPairRequest;
use crate::api::answer::Base64;
use crate::api::model::generate_data_key_pair;
use crate::api::model::generate_data_key_pair_without_plaintext::{Input, Output};
use crate::api::recipient::Addressee;
use crate::api::{Answer, Call};
use crate::engine::response;
use crate::envelope::Envelope;
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = KeyPairRequest::check(generate_data_key_pair::Input {
        key_id: input.key_id,
        encryption_context: input.encryption_context,
        key_pair_spec: input.key_pair_spec,
        grant_tokens: input.grant_tokens,
        recipient: None,
        dry_run: input.dry_run,
    })?;
    let action = action::GenerateDataKeyPairWithoutPlaintext;
    let key = request.authorize(call, action, &Addressee::CLIENT).await?;
    let spec = request.device_spec()?;
    let mut devices = call.devices();
    let pair = devices.prepared_pair(&key, spec).await?;
    let reply = devices.wrapped_data_key_pair(&key, &request.context, spec, &pair).await?;
    let made = response(&reply)?;
    let material = Envelope::parse(&made.blob)?.material.to_string();
    call.facts.material_used("keyMaterialId", Some(&material));
    let output = Output {
        private_key_ciphertext_blob: Some(Base64(&made.blob)),
        public_key: Some(Base64(&made.public)),
        key_id: Some(key.arn().into()),
        key_pair_spec: Some(request.spec.name().into()),
        key_material_id: Some(material.into()),
    };
    Answer::of(&output)
}
