//! `GenerateMac`: computes a MAC with an HMAC key.

use hsm_protocol::key_spec::MacAlgorithm;
use serde::{Deserialize, Serialize};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::{Checks, MESSAGE};
use super::input::Blob;
use super::{Answer, Call};
use crate::engine::response;
use crate::error::KmsError;
use crate::key::KeyRecord;
use crate::key::spec::{Algorithm, MAC_ALGORITHMS, mac_algorithm};
use crate::policy::{Action, Authorized};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    pub(super) message: Option<Blob>,
    pub(super) key_id: Option<String>,
    pub(super) mac_algorithm: Option<String>,
    pub(super) grant_tokens: Option<Vec<String>>,
    pub(super) dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    mac: Base64<'a>,
    mac_algorithm: &'a str,
    key_id: &'a str,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = MacRequest::check(Checks::new(), input)?;
    let (key, algorithm) = request.authorize(call, Action::GenerateMac).await?;
    let reply = call.devices().generate_mac(&key, algorithm, &request.message).await?;
    let mac = response(&reply)?.mac;
    let output =
        Output { mac: Base64(&mac), mac_algorithm: &request.algorithm, key_id: &key.arn() };
    Answer::with_blobs(&output, mac.len())
}

/// The checked parameters that `GenerateMac` and `VerifyMac` share.
pub(super) struct MacRequest {
    key_id: String,
    grant_tokens: Vec<String>,
    dry_run: Option<bool>,
    /// A MAC algorithm of the API.
    pub(super) algorithm: String,
    /// The message.
    pub(super) message: Blob,
}

impl MacRequest {
    /// Checks the shape of the parameters, after the checks in `checks`.
    pub(super) fn check(mut checks: Checks, input: Input) -> Result<Self, KmsError> {
        let message = checks.blob("message", input.message, MESSAGE);
        let key_id = checks.key_id("keyId", input.key_id);
        let algorithm = checks.required_one_of("macAlgorithm", input.mac_algorithm, MAC_ALGORITHMS);
        let grant_tokens = checks.grant_tokens(input.grant_tokens);
        checks.finish()?;
        Ok(Self { key_id, grant_tokens, dry_run: input.dry_run, algorithm, message })
    }

    /// Authorizes the key, and ends a dry run.
    pub(super) async fn authorize(
        &self,
        call: &mut Call<'_>,
        action: Action,
    ) -> Result<(Authorized<KeyRecord>, MacAlgorithm), KmsError> {
        call.parameter("keyId", self.key_id.as_str());
        call.parameter("macAlgorithm", self.algorithm.as_str());
        let key = call
            .authorize(
                KeyUse::new(action, &self.key_id, &self.grant_tokens)
                    .with(Algorithm::Mac(&self.algorithm)),
            )
            .await?;
        Call::finish_dry_run(self.dry_run)?;
        Ok((key, mac_algorithm(&self.algorithm)?))
    }
}
