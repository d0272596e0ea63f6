//! `GetParametersForImport`: a public key to wrap key material with, and the token to import it.

use hsm_protocol::key_spec::{KeySpec, WrappingAlgorithm};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::invalid;
use super::model::get_parameters_for_import::{Input, Output};
use super::{Answer, Call};
use crate::engine::response;
use crate::error::{Exception, KmsError};
use crate::key::KeyRecord;
use crate::policy::{Action, Particulars};

/// How long token and wrapping key are valid, in days.
const VALIDITY_DAYS: u32 = 1;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let (algorithm, spec) = (input.wrapping_algorithm, input.wrapping_key_spec);
    call.parameter("keyId", key_id.as_str());
    call.parameter("wrappingAlgorithm", algorithm.as_str());
    call.parameter("wrappingKeySpec", spec.as_str());
    let particulars = Particulars::Wrapping { algorithm: &algorithm, spec: &spec };
    let key_use = KeyUse::manage(Action::GetParametersForImport, &key_id).telling(particulars);
    let key = call.authorize(key_use).await?;
    let (wrapping, algorithm) = offered(&spec, &algorithm)?;
    check_fit(&key, wrapping, algorithm)?;

    let valid_to = call.now().plus_days(VALIDITY_DAYS);
    let mut devices = call.devices();
    let pair = devices.wrapping_pair(&key, wrapping).await?;
    let reply =
        devices.import_parameters(&key, wrapping, algorithm, valid_to.as_millis(), &pair).await?;
    let made = response(&reply)?;
    let output = Output {
        key_id: Some(key.arn().into()),
        import_token: Some(Base64(&made.token)),
        public_key: Some(Base64(&made.public)),
        parameters_valid_to: Some(valid_to),
    };
    Answer::of(&output)
}

/// Refuses what the model names and the service no longer, or not, offers.
fn offered(spec: &str, algorithm: &str) -> Result<(KeySpec, WrappingAlgorithm), KmsError> {
    let unsupported = |what: &str| {
        let text = format!("{what} is not supported for import by this service.");
        KmsError::new(Exception::UnsupportedOperation, text)
    };
    let wrapping = KeySpec::from_aws_name(spec).ok_or_else(|| unsupported(spec))?;
    let by_name = WrappingAlgorithm::from_aws_name(algorithm);
    Ok((wrapping, by_name.ok_or_else(|| unsupported(algorithm))?))
}

/// Refuses what has no room for the key's material.
fn check_fit(
    key: &KeyRecord,
    wrapping: KeySpec,
    algorithm: WrappingAlgorithm,
) -> Result<(), KmsError> {
    let direct = [WrappingAlgorithm::RSAES_OAEP_SHA_1, WrappingAlgorithm::RSAES_OAEP_SHA_256];
    if !direct.contains(&algorithm) {
        return Ok(());
    }
    let is_rsa = key.spec.row().is_some_and(|row| row.slow);
    let is_long = key.spec == KeySpec::ECC_NIST_P521 && wrapping == KeySpec::RSA_2048;
    match is_rsa || is_long {
        true => Err(invalid(format!(
            "Key material of KeySpec {:?} is too long for this wrapping key and algorithm. Use an \
             RSA_AES_KEY_WRAP algorithm.",
            key.spec
        ))),
        false => Ok(()),
    }
}
