//! `GetParametersForImport`: a public key to wrap key material with, and the token to import it.

use hsm_protocol::key_spec::{KeyFamily, KeySpec, WrappingAlgorithm};

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::checks::invalid;
use crate::api::model::get_parameters_for_import::{Input, Output};
use crate::api::{Answer, Call};
use crate::engine::response;
use crate::policy::RequestAttributes;
use kms_base::error::{Exception, KmsError};
use kms_keys::KeyRecord;
use kms_model::action;
use kms_model::enums::{AlgorithmSpec, WrappingKeySpec};

/// How long token and wrapping key are valid, in days.
const VALIDITY_DAYS: u32 = 1;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let (algorithm, spec) = (input.wrapping_algorithm, input.wrapping_key_spec);
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("wrappingAlgorithm", algorithm.name());
    call.facts.parameter("wrappingKeySpec", spec.name());
    let attributes = RequestAttributes::Wrapping { algorithm: algorithm.name(), spec: spec.name() };
    let key_use = KeyUse::manage(action::GetParametersForImport, &key_id).telling(attributes);
    let key = call.authorize(key_use).await?;
    check_fit(&key, spec, algorithm)?;
    let (wrapping, algorithm) = offered(spec, algorithm)?;

    let valid_to = call.service.now().plus_days(VALIDITY_DAYS);
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
fn offered(
    spec: WrappingKeySpec,
    algorithm: AlgorithmSpec,
) -> Result<(KeySpec, WrappingAlgorithm), KmsError> {
    let unsupported = |what: &str| {
        let text = format!("{what} is not supported for import by this service.");
        KmsError::new(Exception::UnsupportedOperation, text)
    };
    let wrapping = spec.device().ok_or_else(|| unsupported(spec.name()))?;
    Ok((wrapping, algorithm.device().ok_or_else(|| unsupported(algorithm.name()))?))
}

/// Refuses what key material of this kind cannot be wrapped with.
fn check_fit(
    key: &KeyRecord,
    wrapping: WrappingKeySpec,
    algorithm: AlgorithmSpec,
) -> Result<(), KmsError> {
    use AlgorithmSpec as A;
    let family = key.spec.row().map(|row| row.family);
    let is_rsa = family == Some(KeyFamily::Rsa);
    let is_short = matches!(family, Some(KeyFamily::Symmetric | KeyFamily::Hmac));
    let is_long = [KeySpec::ECC_NIST_P521, KeySpec::ECC_NIST_EDWARDS25519].contains(&key.spec);
    let fits = match algorithm {
        A::RSAES_OAEP_SHA_1 => !is_rsa,
        A::RSAES_OAEP_SHA_256 => !(is_rsa || is_long && wrapping == WrappingKeySpec::RSA_2048),
        A::RSA_AES_KEY_WRAP_SHA_1 | A::RSA_AES_KEY_WRAP_SHA_256 => !is_short,
        // AWS ended it.
        A::RSAES_PKCS1_V1_5 => false,
        // For SM2 wrapping keys, which are not offered.
        A::SM2PKE => true,
    };
    if fits {
        return Ok(());
    }
    let (algorithm, wrapping) = (algorithm.name(), wrapping.name());
    Err(invalid(format!(
        "Wrapping algorithm {algorithm} and wrapping key spec {wrapping} cannot be used to import \
         a {:?} key.",
        key.spec
    )))
}
