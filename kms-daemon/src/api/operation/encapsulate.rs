//! `Encapsulate`: makes a shared secret and encapsulates it for an ML-KEM key.

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::model::encapsulate::{Input, Output};
use crate::api::{Answer, Call};
use crate::engine::response;
use crate::policy::Authorized;
use kms_base::error::KmsError;
use kms_keys::spec::Algorithm;
use kms_model::action::{self, KeyAction};
use kms_model::enums::EncapsulationAlgorithmSpec;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = EncapsulationRequest::new(input);
    let key = request.authorize(call, action::Encapsulate).await?;
    Call::finish_dry_run(request.dry_run)?;
    let reply = call.devices().encapsulate(&key).await?;
    let made = response(&reply)?;
    let output = Output {
        key_id: Some(key.arn().into()),
        shared_secret: Some(Base64(&made.secret)),
        shared_secret_ciphertext_blob: Some(Base64(&made.ciphertext)),
        encapsulation_algorithm: Some(request.algorithm.name().into()),
    };
    Answer::of(&output)
}

/// The checked parameters that `Encapsulate` and `Decapsulate` share.
pub(super) struct EncapsulationRequest {
    key_id: String,
    grant_tokens: Vec<String>,
    /// Whether only to say whether the request would succeed.
    pub(super) dry_run: Option<bool>,
    /// The encapsulation algorithm.
    pub(super) algorithm: EncapsulationAlgorithmSpec,
}

impl EncapsulationRequest {
    /// The parameters of a request.
    pub(super) fn new(input: Input) -> Self {
        Self {
            key_id: input.key_id,
            grant_tokens: input.grant_tokens.unwrap_or_default(),
            dry_run: input.dry_run,
            algorithm: input.encapsulation_algorithm,
        }
    }

    /// Authorizes the key.
    pub(super) async fn authorize<A: KeyAction>(
        &self,
        call: &mut Call<'_>,
        action: A,
    ) -> Result<Authorized<A>, KmsError> {
        call.facts.parameter("keyId", self.key_id.as_str());
        call.facts.parameter("encapsulationAlgorithm", self.algorithm.name());
        let key = call
            .authorize(
                KeyUse::new(action, &self.key_id, &self.grant_tokens)
                    .with(Algorithm::Encapsulation(self.algorithm)),
            )
            .await?;
        Ok(key)
    }
}
