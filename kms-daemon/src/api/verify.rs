//! `Verify`: verifies a signature. A wrong one is an exception, never `false`.

use serde::Deserialize;
use serde_json::json;

use super::checks::{BLOB, Checks};
use super::input::Blob;
use super::sign::{self, SignatureRequest};
use super::{Answer, Call};
use crate::error::KmsError;
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    message: Option<Blob>,
    message_type: Option<String>,
    signature: Option<Blob>,
    signing_algorithm: Option<String>,
    grant_tokens: Option<Vec<String>>,
    dry_run: Option<bool>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let signature = checks.blob("signature", input.signature, BLOB);
    let signed = sign::Input {
        key_id: input.key_id,
        message: input.message,
        message_type: input.message_type,
        grant_tokens: input.grant_tokens,
        signing_algorithm: input.signing_algorithm,
        dry_run: input.dry_run,
    };
    let request = SignatureRequest::check(checks, signed)?;
    let (key, algorithm) = request.authorize(call, Action::Verify).await?;
    call.devices()
        .verify(&key, algorithm, request.message_type, &request.message, &signature)
        .await?;
    Answer::json(&json!({
        "KeyId": key.arn(),
        "SignatureValid": true,
        "SigningAlgorithm": request.algorithm,
    }))
}
