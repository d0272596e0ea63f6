//! `Verify`: verifies a signature. A wrong one is an exception, never `false`.

use super::sign::SignatureRequest;
use crate::api::model::sign;
use crate::api::model::verify::{Input, Output};
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let signed = sign::Input {
        key_id: input.key_id,
        message: input.message,
        message_type: input.message_type,
        grant_tokens: input.grant_tokens,
        signing_algorithm: input.signing_algorithm,
        dry_run: input.dry_run,
    };
    let request = SignatureRequest::new(signed);
    let (key, algorithm) = request.authorize(call, action::Verify).await?;
    let message_type = request.message_type.device();
    call.devices()
        .verify(&key, algorithm, message_type, &request.message, &input.signature)
        .await?;
    Call::finish_dry_run(request.dry_run)?;
    Answer::of(&Output {
        key_id: Some(key.arn().into()),
        signature_valid: Some(true),
        signing_algorithm: Some(request.algorithm.name().into()),
    })
}
