//! `Decapsulate`: the shared secret that was encapsulated for an ML-KEM key. A wrong ciphertext of
//! the right length gives another secret (FIPS 203 6.3).

use super::encapsulate::EncapsulationRequest;
use crate::api::answer::Base64;
use crate::api::model::decapsulate::{Input, Output};
use crate::api::model::encapsulate;
use crate::api::{Answer, Call};
use crate::engine::response;
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let ciphertext = input.shared_secret_ciphertext_blob;
    let named = encapsulate::Input {
        key_id: input.key_id,
        encapsulation_algorithm: input.encapsulation_algorithm,
        grant_tokens: input.grant_tokens,
        dry_run: input.dry_run,
    };
    let request = EncapsulationRequest::new(named);
    let key = request.authorize(call, action::Decapsulate).await?;
    let reply = call.devices().decapsulate(&key, &ciphertext).await?;
    Call::finish_dry_run(request.dry_run)?;
    let secret = response(&reply)?.secret;
    let output = Output {
        key_id: Some(key.arn().into()),
        shared_secret: Some(Base64(&secret)),
        encapsulation_algorithm: Some(request.algorithm.name().into()),
    };
    Answer::of(&output)
}
