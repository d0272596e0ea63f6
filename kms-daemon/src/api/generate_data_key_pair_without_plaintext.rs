//! `GenerateDataKeyPairWithoutPlaintext`: a key pair, its private half encrypted only.

use serde::Serialize;

use super::answer::Base64;
use super::generate_data_key_pair::KeyPairRequest;
use super::{Answer, Call};
use crate::engine::response;
use crate::envelope::Envelope;
use crate::error::KmsError;
use crate::policy::Action;

pub(super) use super::generate_data_key_pair::Input;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    private_key_ciphertext_blob: Base64<'a>,
    public_key: Base64<'a>,
    key_id: &'a str,
    key_pair_spec: &'a str,
    key_material_id: String,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = KeyPairRequest::check(input)?;
    let key = request.authorize(call, Action::GenerateDataKeyPairWithoutPlaintext).await?;
    let spec = request.device_spec()?;
    let mut devices = call.devices();
    let pair = devices.prepared_pair(&key, spec).await?;
    let reply = devices.wrapped_data_key_pair(&key, &request.context, spec, &pair).await?;
    let made = response(&reply)?;
    let output = Output {
        private_key_ciphertext_blob: Base64(&made.blob),
        public_key: Base64(&made.public),
        key_id: &key.arn(),
        key_pair_spec: &request.spec,
        key_material_id: Envelope::parse(&made.blob)?.material.to_string(),
    };
    Answer::with_blobs(&output, made.blob.len() + made.public.len())
}
