//! `GenerateMac`: computes a MAC with an HMAC key.

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::input::Blob;
use crate::api::model::generate_mac::{Input, Output};
use crate::api::{Answer, Call};
use crate::engine::response;
use crate::policy::Authorized;
use kms_base::error::KmsError;
use kms_keys::spec::Algorithm;
use kms_model::action::{self, KeyAction};
use kms_model::enums::MacAlgorithmSpec;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = MacRequest::new(input);
    let key = request.authorize(call, action::GenerateMac).await?;
    Call::finish_dry_run(request.dry_run)?;
    let reply =
        call.devices().generate_mac(&key, request.algorithm.device(), &request.message).await?;
    let mac = response(&reply)?.mac;
    let output = Output {
        mac: Some(Base64(&mac)),
        mac_algorithm: Some(request.algorithm.name().into()),
        key_id: Some(key.arn().into()),
    };
    Answer::of(&output)
}

/// The checked parameters that `GenerateMac` and `VerifyMac` share.
pub(super) struct MacRequest {
    key_id: String,
    grant_tokens: Vec<String>,
    /// Whether only to say whether the request would succeed.
    pub(super) dry_run: Option<bool>,
    /// The MAC algorithm.
    pub(super) algorithm: MacAlgorithmSpec,
    /// The message.
    pub(super) message: Blob,
}

impl MacRequest {
    /// The parameters of a request.
    pub(super) fn new(input: Input) -> Self {
        Self {
            key_id: input.key_id,
            grant_tokens: input.grant_tokens.unwrap_or_default(),
            dry_run: input.dry_run,
            algorithm: input.mac_algorithm,
            message: input.message,
        }
    }

    /// Authorizes the key.
    pub(super) async fn authorize<A: KeyAction>(
        &self,
        call: &mut Call<'_>,
        action: A,
    ) -> Result<Authorized<A>, KmsError> {
        call.facts.parameter("keyId", self.key_id.as_str());
        call.facts.parameter("macAlgorithm", self.algorithm.name());
        call.authorize(
            KeyUse::new(action, &self.key_id, &self.grant_tokens)
                .with(Algorithm::Mac(self.algorithm)),
        )
        .await
    }
}
