//! `DeriveSharedSecret`: agrees on a shared secret with the holder of another key (ECDH).

use hsm_protocol::command::agree::MAX_PEER;
use serde::{Deserialize, Serialize};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::{Checks, invalid};
use super::input::Blob;
use super::recipient::{self, RecipientInfo};
use super::{Answer, Call};
use crate::error::KmsError;
use crate::key::spec::{Algorithm, KEY_AGREEMENT_ALGORITHMS};
use crate::policy::Action;

/// Lengths of a public key, in bytes.
const PUBLIC_KEY: std::ops::RangeInclusive<usize> = 1..=8192;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    key_agreement_algorithm: Option<String>,
    public_key: Option<Blob>,
    grant_tokens: Option<Vec<String>>,
    dry_run: Option<bool>,
    recipient: Option<RecipientInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    key_id: &'a str,
    shared_secret: Base64<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_for_recipient: Option<Base64<'a>>,
    key_agreement_algorithm: &'a str,
    key_origin: Option<&'a str>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    let algorithm = input.key_agreement_algorithm;
    let algorithm =
        checks.required_one_of("keyAgreementAlgorithm", algorithm, KEY_AGREEMENT_ALGORITHMS);
    let peer = checks.blob("publicKey", input.public_key, PUBLIC_KEY);
    let grant_tokens = checks.grant_tokens(input.grant_tokens);
    let document = recipient::check(&mut checks, input.recipient);
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    call.parameter("keyAgreementAlgorithm", algorithm.as_str());
    let addressee = document.verify(call).await?;
    let key = call
        .authorize(
            KeyUse::new(Action::DeriveSharedSecret, &key_id, &grant_tokens)
                .with(Algorithm::Agreement(&algorithm)),
        )
        .await?;
    // A device does not read longer ones; no curve has them.
    if peer.len() > MAX_PEER {
        return Err(invalid("The public key is not one that the KMS key can agree with."));
    }
    Call::finish_dry_run(input.dry_run)?;
    let receiver = addressee.receiver();
    let reply = call.devices().derive_shared_secret(&key, &peer, receiver).await?;
    let made = reply.parts()?;
    let output = Output {
        key_id: &key.arn(),
        shared_secret: Base64(made.plaintext),
        ciphertext_for_recipient: made.for_recipient.map(Base64),
        key_agreement_algorithm: &algorithm,
        key_origin: key.origin.aws_name(),
    };
    Answer::with_blobs(&output, made.size())
}
