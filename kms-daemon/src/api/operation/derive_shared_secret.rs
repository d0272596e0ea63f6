//! `DeriveSharedSecret`: agrees on a shared secret with the holder of another key (ECDH).

use hsm_protocol::command::agree::MAX_PEER;

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::checks::invalid;
use crate::api::model::derive_shared_secret::{Input, Output};
use crate::api::recipient::Document;
use crate::api::{Answer, Call};
use crate::policy::RequestAttributes;
use kms_base::error::KmsError;
use kms_keys::spec::Algorithm;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let algorithm = input.key_agreement_algorithm;
    let peer = input.public_key;
    let grant_tokens = input.grant_tokens.unwrap_or_default();
    let document = Document::new(input.recipient);
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("keyAgreementAlgorithm", algorithm.name());
    let addressee = document.verify(call).await?;
    let key = call
        .authorize(
            KeyUse::new(action::DeriveSharedSecret, &key_id, &grant_tokens)
                .with(Algorithm::Agreement(algorithm))
                .telling(RequestAttributes::Recipient(addressee.recipient())),
        )
        .await?;
    // A device does not read longer ones; no curve has them.
    if peer.len() > MAX_PEER {
        return Err(invalid("The public key is not one that the KMS key can agree with."));
    }
    let receiver = addressee.receiver();
    let reply = call.devices().derive_shared_secret(&key, &peer, receiver).await?;
    Call::finish_dry_run(input.dry_run)?;
    let made = reply.parts()?;
    let output = Output {
        key_id: Some(key.arn().into()),
        shared_secret: Some(Base64(made.plaintext)),
        ciphertext_for_recipient: made.for_recipient.map(Base64),
        key_agreement_algorithm: Some(algorithm.name().into()),
        key_origin: key.origin_name().map(Into::into),
    };
    Answer::of(&output)
}
