//! `GenerateDataKeyWithoutPlaintext`: a data key, encrypted only.

use serde::Serialize;

use super::answer::Base64;
use super::generate_data_key::DataKeyRequest;
use super::{Answer, Call};
use crate::engine::response;
use crate::envelope::Envelope;
use crate::error::KmsError;
use crate::policy::Action;

pub(super) use super::generate_data_key::Input;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    ciphertext_blob: Base64<'a>,
    key_id: &'a str,
    key_material_id: String,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = DataKeyRequest::check(input)?;
    let key = request.authorize(call, Action::GenerateDataKeyWithoutPlaintext).await?;
    let reply = call.devices().wrapped_data_key(&key, &request.context, request.length).await?;
    let blob = response(&reply)?.blob;
    let output = Output {
        ciphertext_blob: Base64(&blob),
        key_id: &key.arn(),
        key_material_id: Envelope::parse(&blob)?.material.to_string(),
    };
    Answer::with_blobs(&output, blob.len())
}
