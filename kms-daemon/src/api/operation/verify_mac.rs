//! `VerifyMac`: verifies a MAC. A wrong one is an exception, never `false`.

use super::generate_mac::MacRequest;
use crate::api::model::generate_mac;
use crate::api::model::verify_mac::{Input, Output};
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let authenticated = generate_mac::Input {
        message: input.message,
        key_id: input.key_id,
        mac_algorithm: input.mac_algorithm,
        grant_tokens: input.grant_tokens,
        dry_run: input.dry_run,
    };
    let request = MacRequest::new(authenticated);
    let key = request.authorize(call, action::VerifyMac).await?;
    let algorithm = request.algorithm.device();
    call.devices().verify_mac(&key, algorithm, &request.message, &input.mac).await?;
    Call::finish_dry_run(request.dry_run)?;
    Answer::of(&Output {
        key_id: Some(key.arn().into()),
        mac_valid: Some(true),
        mac_algorithm: Some(request.algorithm.name().into()),
    })
}
