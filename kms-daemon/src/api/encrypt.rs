//! `Encrypt`: encrypts up to 4,096 bytes under a symmetric key, or as much as an RSA key takes.

use hsm_protocol::key_spec::EncryptionAlgorithm;
use serde::{Deserialize, Serialize};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::{Checks, MESSAGE, invalid};
use super::input::{Blob, EncryptionContext};
use super::{Answer, Call};
use crate::engine::response;
use crate::error::KmsError;
use crate::key::KeyRecord;
use crate::key::spec::{
    Algorithm, ENCRYPTION_ALGORITHMS, SYMMETRIC_DEFAULT, encryption_algorithm, max_plaintext,
};
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    plaintext: Option<Blob>,
    encryption_context: Option<EncryptionContext>,
    grant_tokens: Option<Vec<String>>,
    encryption_algorithm: Option<String>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output<'a> {
    ciphertext_blob: Base64<'a>,
    key_id: &'a str,
    encryption_algorithm: &'a str,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    let plaintext = checks.blob("plaintext", input.plaintext, MESSAGE);
    let grant_tokens = checks.grant_tokens(input.grant_tokens);
    let algorithm = input.encryption_algorithm.as_deref().unwrap_or(SYMMETRIC_DEFAULT);
    checks.one_of("encryptionAlgorithm", algorithm, ENCRYPTION_ALGORITHMS);
    checks.finish()?;
    let context = input.encryption_context.unwrap_or_default();
    let canonical = context.canonical_for(algorithm)?;
    call.parameter("keyId", key_id.as_str());
    call.parameter("encryptionAlgorithm", algorithm);
    call.context_parameter("encryptionContext", &context);

    let key = call
        .authorize(
            KeyUse::new(Action::Encrypt, &key_id, &grant_tokens)
                .with(Algorithm::Encryption(algorithm))
                .within(&context),
        )
        .await?;
    let number = encryption_algorithm(algorithm)?;
    check_room(&key, number, plaintext.len())?;
    Call::finish_dry_run(input.dry_run)?;
    let answer = |blob: &[u8]| {
        let output = Output {
            ciphertext_blob: Base64(blob),
            key_id: &key.arn(),
            encryption_algorithm: algorithm,
        };
        Answer::with_blobs(&output, blob.len())
    };
    let mut devices = call.devices();
    if number == EncryptionAlgorithm::SYMMETRIC_DEFAULT {
        let reply = devices.encrypt(&key, &canonical, &plaintext).await?;
        answer(&response(&reply)?.blob)
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
