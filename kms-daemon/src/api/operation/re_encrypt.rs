//! `ReEncrypt`: decrypts a ciphertext and encrypts it anew, also across algorithms. The plaintext stays inside the device: a proxy sees
//! ciphertexts of devices.

use hsm_protocol::key_spec::EncryptionAlgorithm;

use super::decrypt::{Source, ciphertext, ignores_ciphertext, material_id};
use crate::api::answer::Base64;
use crate::api::call::{KeyUse, Located};
use crate::api::model::re_encrypt::{Input, Output};
use crate::api::{Answer, Call};
use crate::engine::{Ciphertext, Side, response};
use crate::envelope::Envelope;
use crate::policy::RequestAttributes;
use kms_base::error::KmsError;
use kms_keys::spec::{Algorithm, encryption_algorithm};
use kms_model::action;
use kms_model::enums::EncryptionAlgorithmSpec;

/// The algorithm of either side if the request names none.
const SYMMETRIC: EncryptionAlgorithmSpec = EncryptionAlgorithmSpec::SYMMETRIC_DEFAULT;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let ignored = ignores_ciphertext(input.dry_run, input.dry_run_modifiers);
    let blob = ciphertext(input.ciphertext_blob, ignored)?;
    let destination_id = input.destination_key_id;
    let grant_tokens = input.grant_tokens.unwrap_or_default();
    let from = input.source_encryption_algorithm.unwrap_or(SYMMETRIC);
    let to = input.destination_encryption_algorithm.unwrap_or(SYMMETRIC);
    let source_context = input.source_encryption_context.unwrap_or_default();
    let destination_context = input.destination_encryption_context.unwrap_or_default();
    let canonical = (source_context.canonical_for(from)?, destination_context.canonical_for(to)?);
    call.facts.optional_parameter("sourceKeyId", input.source_key_id.as_deref());
    call.facts.parameter("destinationKeyId", destination_id.as_str());
    call.facts.parameter("sourceEncryptionAlgorithm", from.name());
    call.facts.parameter("destinationEncryptionAlgorithm", to.name());
    call.facts.pairs("sourceEncryptionContext", source_context.pairs());
    call.facts.pairs("destinationEncryptionContext", destination_context.pairs());

    let destination_use = KeyUse::new(action::ReEncryptTo, &destination_id, &grant_tokens)
        .with(Algorithm::Encryption(to))
        .within(&destination_context);
    // Each decision asks whether the other key is the same one, so both are found first. What is
    // wrong with the destination is told after what is wrong with the source.
    let destination = call.locate(destination_use).await;
    let source = Source {
        action: action::ReEncryptFrom,
        key_id: input.source_key_id.as_deref(),
        member: "SourceKeyId",
        algorithm: from,
        grant_tokens: &grant_tokens,
        context: &source_context,
        attributes: RequestAttributes::ReEncrypt(destination.as_ref().ok().map(Located::key)),
    };
    let (source, ciphertext) = source.authorize(call, blob.as_deref()).await?;
    let destination_use =
        destination_use.telling(RequestAttributes::ReEncrypt(Some(&source.value)));
    let destination = call.authorize_located(destination_use, destination?).await?;
    let Some(ciphertext) = ciphertext else {
        Call::finish_dry_run(input.dry_run)?;
        return Err(KmsError::internal("no ciphertext to re-encrypt"));
    };
    let numbers = (encryption_algorithm(from)?, encryption_algorithm(to)?);
    let symmetric = |algorithm| algorithm == EncryptionAlgorithm::SYMMETRIC_DEFAULT;
    let opened = material_id(&ciphertext);
    let answer = |blob: &[u8]| {
        let made = match symmetric(numbers.1) {
            true => material_id(&Ciphertext::Blob(Envelope::parse(blob)?)),
            false => None,
        };
        let output = Output {
            ciphertext_blob: Some(Base64(blob)),
            source_key_id: Some(source.arn().into()),
            key_id: Some(destination.arn().into()),
            source_encryption_algorithm: Some(from.name().into()),
            destination_encryption_algorithm: Some(to.name().into()),
            source_key_material_id: opened.as_deref().map(Into::into),
            destination_key_material_id: made.as_deref().map(Into::into),
        };
        Ok::<_, KmsError>((Answer::of(&output)?, made))
    };
    let mut inner = Vec::new();
    let ciphertext = match ciphertext {
        Ciphertext::Blob(envelope) => {
            let of_source = &canonical.0;
            let opened = call.without_outer_layer(&source, of_source, envelope, &mut inner).await?;
            Ciphertext::Blob(opened)
        }
        asymmetric => asymmetric,
    };
    let mut devices = call.devices();
    let (answer, made) = match ciphertext {
        Ciphertext::Blob(envelope) if symmetric(numbers.1) => {
            let reply = devices
                .re_encrypt(&source, &canonical.0, envelope, &destination, &canonical.1)
                .await
                .map_err(|refusal| Call::after_proxy(&source, refusal))?;
            // A dry run asks nobody to encrypt.
            Call::finish_dry_run(input.dry_run)?;
            let blob = response(&reply)?.blob;
            answer(&call.with_outer_layer(&destination, &canonical.1, &blob).await?)
        }
        _ => {
            let from = Side { key: &source, algorithm: numbers.0, context: &canonical.0 };
            let to = Side { key: &destination, algorithm: numbers.1, context: &canonical.1 };
            let reply = devices.re_encrypt_across(from, ciphertext, to).await;
            let reply = reply.map_err(|refusal| Call::after_proxy(&source, refusal))?;
            Call::finish_dry_run(input.dry_run)?;
            let blob = response(&reply)?.blob;
            answer(&call.with_outer_layer(&destination, &canonical.1, &blob).await?)
        }
    }?;
    call.facts.material_used("sourceKeyMaterialId", opened.as_deref());
    call.facts.material_used("destinationKeyMaterialId", made.as_deref());
    Ok(answer)
}
