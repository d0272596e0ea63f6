//! `Encrypt`: encrypts up to 4,096 bytes under a symmetric key, or as much as an RSA key takes.

use hsm_protocol::key_spec::EncryptionAlgorithm;

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::checks::invalid;
use crate::api::model::encrypt::{Input, Output};
use crate::api::{Answer, Call};
use crate::engine::response;
use crate::envelope::Envelope;
use kms_base::error::KmsError;
use kms_keys::KeyRecord;
use kms_keys::spec::{Algorithm, encryption_algorithm, max_plaintext};
use kms_model::action;
use kms_model::enums::EncryptionAlgorithmSpec;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let plaintext = input.plaintext;
    let grant_tokens = input.grant_tokens.unwrap_or_default();
    let algorithm =
        input.encryption_algorithm.unwrap_or(EncryptionAlgorithmSpec::SYMMETRIC_DEFAULT);
    let context = input.encryption_context.unwrap_or_default();
    let canonical = context.canonical_for(algorithm)?;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("encryptionAlgorithm", algorithm.name());
    call.facts.pairs("encryptionContext", context.pairs());

    let key = call
        .authorize(
            KeyUse::new(action::Encrypt, &key_id, &grant_tokens)
                .with(Algorithm::Encryption(algorithm))
                .within(&context),
        )
        .await?;
    let number = encryption_algorithm(algorithm)?;
    check_room(&key, number, plaintext.len())?;
    Call::finish_dry_run(input.dry_run)?;
    let answer = |blob: &[u8]| {
        let output = Output {
            ciphertext_blob: Some(Base64(blob)),
            key_id: Some(key.arn().into()),
            encryption_algorithm: Some(algorithm.name().into()),
        };
        Answer::of(&output)
    };
    let mut devices = call.devices();
    if number == EncryptionAlgorithm::SYMMETRIC_DEFAULT {
        let reply = devices.encrypt(&key, &canonical, &plaintext).await?;
        let blob = response(&reply)?.blob;
        let material = Envelope::parse(&blob)?.material.to_string();
        let blob = call.with_outer_layer(&key, &canonical, &blob).await?;
        call.facts.material_used("keyMaterialId", Some(&material));
        answer(&blob)
    } else {
        let reply = devices.encrypt_public(&key, number, &plaintext).await?;
        answer(&response(&reply)?.blob)
    }
}

/// Refuses a plaintext that the padding leaves no room for.
fn check_room(
    key: &KeyRecord,
    algorithm: EncryptionAlgorithm,
    length: usize,
) -> Result<(), KmsError> {
    match max_plaintext(key.spec, algorithm) {
        Some(max) if length > max => Err(invalid(format!(
            "Algorithm {algorithm:?} and key spec {:?} cannot encrypt data larger than {max} bytes.",
            key.spec
        ))),
        _ => Ok(()),
    }
}
