//! `Encapsulate`: makes a shared secret and encapsulates it for an ML-KEM key.

use serde::{Deserialize, Serialize};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::Checks;
use super::{Answer, Call};
use crate::engine::response;
use crate::error::KmsError;
use crate::key::KeyRecord;
use crate::key::spec::{Algorithm, ENCAPSULATION_ALGORITHMS};
use crate::policy::{Action, Authorized};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    pub(super) key_id: Option<String>,
    pub(super) encapsulation_algorithm: Option<String>,
    pub(super) grant_tokens: Option<Vec<String>>,
    pub(super) dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    key_id: &'a str,
    shared_secret: Base64<'a>,
    shared_secret_ciphertext_blob: Base64<'a>,
    encapsulation_algorithm: &'a str,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = EncapsulationRequest::check(Checks::new(), input)?;
    let key = request.authorize(call, Action::Encapsulate).await?;
    let reply = call.devices().encapsulate(&key).await?;
    let made = response(&reply)?;
    let output = Output {
        key_id: &key.arn(),
        shared_secret: Base64(&made.secret),
        shared_secret_ciphertext_blob: Base64(&made.ciphertext),
        encapsulation_algorithm: &request.algorithm,
    };
    Answer::with_blobs(&output, made.secret.len() + made.ciphertext.len())
}

/// The checked parameters that `Encapsulate` and `Decapsulate` share.
pub(super) struct EncapsulationRequest {
    key_id: String,
    grant_tokens: Vec<String>,
    dry_run: Option<bool>,
    /// An encapsulation algorithm of the API.
    pub(super) algorithm: String,
}

impl EncapsulationRequest {
    /// Checks the shape of the parameters, after the checks in `checks`.
    pub(super) fn check(mut checks: Checks, input: Input) -> Result<Self, KmsError> {
        let key_id = checks.key_id("keyId", input.key_id);
        let algorithm = input.encapsulation_algorithm;
        let algorithm =
            checks.required_one_of("encapsulationAlgorithm", algorithm, ENCAPSULATION_ALGORITHMS);
        let grant_tokens = checks.grant_tokens(input.grant_tokens);
        checks.finish()?;
        Ok(Self { key_id, grant_tokens, dry_run: input.dry_run, algorithm })
    }

    /// Authorizes the key, and ends a dry run.
    pub(super) async fn authorize(
        &self,
        call: &mut Call<'_>,
        action: Action,
    ) -> Result<Authorized<KeyRecord>, KmsError> {
        call.parameter("keyId", self.key_id.as_str());
        call.parameter("encapsulationAlgorithm", self.algorithm.as_str());
        let key = call
            .authorize(
                KeyUse::new(action, &self.key_id, &self.grant_tokens)
                    .with(Algorithm::Encapsulation(&self.algorithm)),
            )
            .await?;
        Call::finish_dry_run(self.dry_run)?;
        Ok(key)
    }
}
