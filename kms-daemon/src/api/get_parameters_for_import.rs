//! `GetParametersForImport`: a public key to wrap key material with, and the token to import it.

use hsm_protocol::key_spec::{KeySpec, KeyUsage, WrappingAlgorithm};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::invalid;
use super::model::get_parameters_for_import::{Input, Output};
use super::{Answer, Call};
use crate::engine::response;
use crate::error::{Exception, KmsError};
use crate::key::KeyRecord;
use crate::model::action;
use crate::policy::Particulars;

/// How long token and wrapping key are valid, in days.
const VALIDITY_DAYS: u32 = 1;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let (algorithm, spec) = (input.wrapping_algorithm, input.wrapping_key_spec);
    call.parameter("keyId", key_id.as_str());
    call.parameter("wrappingAlgorithm", algorithm.as_str());
    call.parameter("wrappingKeySpec", spec.as_str());
    let particulars = Particulars::Wrapping { algorithm: &algorithm, spec: &spec };
    let key_use = KeyUse::manage(action::GetParametersForImport, &key_id).telling(particulars);
    let key = call.authorize(key_use).await?;
    check_fit(&key, &spec, &algorithm)?;
    let (wrapping, algorithm) = offered(&spec, &algorithm)?;

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

/// Refuses what key material of this kind cannot be wrapped with.
fn check_fit(key: &KeyRecord, wrapping: &str, algorithm: &str) -> Result<(), KmsError> {
    let is_rsa = key.spec.row().is_some_and(|row| row.slow);
    let is_short =
        key.spec == KeySpec::SYMMETRIC_DEFAULT || key.usage == KeyUsage::GENERATE_VERIFY_MAC;
    let is_long = [KeySpec::ECC_NIST_P521, KeySpec::ECC_NIST_EDWARDS25519].contains(&key.spec);
    let fits = match algorithm {
        "RSAES_OAEP_SHA_1" => !is_rsa,
        "RSAES_OAEP_SHA_256" => !(is_rsa || is_long && wrapping == "RSA_2048"),
        "RSA_AES_KEY_WRAP_SHA_1" | "RSA_AES_KEY_WRAP_SHA_256" => !is_short,
        // AWS ended RSAES_PKCS1_V1_5, and SM2PKE is for SM2 wrapping keys, which are not offered.
        "RSAES_PKCS1_V1_5" => false,
        _ => true,
    };
    if fits {
        return Ok(());
    }
    Err(invalid(format!(
        "Wrapping algorithm {algorithm} and wrapping key spec {wrapping} cannot be used to import \
         a {:?} key.",
        key.spec
    )))
}
