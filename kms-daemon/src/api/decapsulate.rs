//! `Decapsulate`: the shared secret that was encapsulated for an ML-KEM key. A wrong ciphertext of
//! the right length gives another secret (FIPS 203 6.3).

use serde::{Deserialize, Serialize};

use super::answer::Base64;
use super::checks::{BLOB, Checks};
use super::encapsulate::{self, EncapsulationRequest};
use super::input::Blob;
use super::{Answer, Call};
use crate::engine::response;
use crate::error::KmsError;
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    shared_secret_ciphertext_blob: Option<Blob>,
    encapsulation_algorithm: Option<String>,
    grant_tokens: Option<Vec<String>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    key_id: &'a str,
    shared_secret: Base64<'a>,
    encapsulation_algorithm: &'a str,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let blob = input.shared_secret_ciphertext_blob;
    let ciphertext = checks.blob("sharedSecretCiphertextBlob", blob, BLOB);
    let named = encapsulate::Input {
        key_id: input.key_id,
        encapsulation_algorithm: input.encapsulation_algorithm,
        grant_tokens: input.grant_tokens,
        dry_run: input.dry_run,
    };
    let request = EncapsulationRequest::check(checks, named)?;
    let key = request.authorize(call, Action::Decapsulate).await?;
    let reply = call.devices().decapsulate(&key, &ciphertext).await?;
    let secret = response(&reply)?.secret;
    let output = Output {
        key_id: &key.arn(),
        shared_secret: Base64(&secret),
        encapsulation_algorithm: &request.algorithm,
    };
    Answer::with_blobs(&output, secret.len())
}
