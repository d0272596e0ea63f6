//! `Sign`: signs a message, or the digest of one, with an asymmetric key.

use hsm_protocol::key_spec::{KeySpec, MessageType, SigningAlgorithm};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::invalid;
use super::input::Blob;
use super::model::sign::{Input, Output};
use super::{Answer, Call};
use crate::engine::response;
use crate::error::KmsError;
use crate::key::spec::{Algorithm, signing_algorithm};
use crate::model::action::{self, KeyAction};
use crate::policy::{Authorized, Particulars};

/// The signing algorithm of ML-DSA keys.
const ML_DSA: &str = "ML_DSA_SHAKE_256";
/// Length of the message representative of ML-DSA, in bytes (FIPS 204 6.2).
const MU: usize = 64;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = SignatureRequest::new(input)?;
    let (key, algorithm) = request.authorize(call, action::Sign).await?;
    Call::finish_dry_run(request.dry_run)?;
    let reply =
        call.devices().sign(&key, algorithm, request.message_type, &request.message).await?;
    let signature = response(&reply)?.signature;
    let output = Output {
        key_id: Some(key.arn().into()),
        signature: Some(Base64(&signature)),
        signing_algorithm: Some(request.algorithm.as_str().into()),
    };
    Answer::of(&output)
}

/// The checked parameters that `Sign` and `Verify` share.
pub(super) struct SignatureRequest {
    key_id: String,
    grant_tokens: Vec<String>,
    /// Whether only to say whether the request would succeed.
    pub(super) dry_run: Option<bool>,
    type_name: String,
    /// A signing algorithm of the API.
    pub(super) algorithm: String,
    /// What the message is.
    pub(super) message_type: MessageType,
    /// The message or digest.
    pub(super) message: Blob,
}

impl SignatureRequest {
    /// The parameters of a request.
    pub(super) fn new(input: Input) -> Result<Self, KmsError> {
        let (key_id, message, algorithm) = (input.key_id, input.message, input.signing_algorithm);
        let grant_tokens = input.grant_tokens.unwrap_or_default();
        let type_name = input.message_type.unwrap_or_else(|| "RAW".to_owned());
        let message_type = MessageType::from_aws_name(&type_name)
            .ok_or_else(|| KmsError::internal("a message type that devices do not have"))?;
        let dry_run = input.dry_run;
        Ok(Self { key_id, grant_tokens, dry_run, algorithm, type_name, message_type, message })
    }

    /// Authorizes the key, and checks that it can sign such a message.
    pub(super) async fn authorize<A: KeyAction>(
        &self,
        call: &mut Call<'_>,
        action: A,
    ) -> Result<(Authorized<A>, SigningAlgorithm), KmsError> {
        call.parameter("keyId", self.key_id.as_str());
        call.parameter("messageType", self.type_name.as_str());
        call.parameter("signingAlgorithm", self.algorithm.as_str());
        let key = call
            .authorize(
                KeyUse::new(action, &self.key_id, &self.grant_tokens)
                    .with(Algorithm::Signing(&self.algorithm))
                    .telling(Particulars::Message(&self.type_name)),
            )
            .await?;
        check_message(key.spec, &self.algorithm, self.message_type, self.message.len())?;
        Ok((key, signing_algorithm(&self.algorithm)?))
    }
}

/// Checks that a key of this spec signs messages of this type and length, with an algorithm that it
/// has.
fn check_message(
    spec: KeySpec,
    algorithm: &str,
    message_type: MessageType,
    length: usize,
) -> Result<(), KmsError> {
    let of_key = match message_type {
        MessageType::EXTERNAL_MU => algorithm == ML_DSA,
        MessageType::DIGEST => algorithm != ML_DSA,
        _ => true,
    };
    if !of_key {
        return Err(invalid(format!(
            "Message type {message_type:?} is incompatible with key spec {spec:?}."
        )));
    }
    let of_algorithm = match algorithm {
        "ED25519_SHA_512" => message_type == MessageType::RAW,
        "ED25519_PH_SHA_512" => message_type == MessageType::DIGEST,
        _ => true,
    };
    if !of_algorithm {
        return Err(invalid(format!(
            "Message type {message_type:?} is incompatible with algorithm {algorithm}."
        )));
    }
    let (what, fits) = match message_type {
        MessageType::DIGEST => ("Digest", digest_length(algorithm) == Some(length)),
        MessageType::EXTERNAL_MU => ("External Mu", length == MU),
        _ => return Ok(()),
    };
    if fits {
        return Ok(());
    }
    Err(invalid(format!("{what} is invalid length for algorithm {algorithm}.")))
}

/// Length of the digest that an algorithm signs, in bytes; `None` if it signs none.
fn digest_length(algorithm: &str) -> Option<usize> {
    match algorithm {
        ML_DSA | "ED25519_SHA_512" => None,
        "SM2DSA" => Some(32),
        _ if algorithm.ends_with("256") => Some(32),
        _ if algorithm.ends_with("384") => Some(48),
        _ => Some(64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::values;
    use crate::error::Exception;

    #[test]
    fn digests_have_the_length_of_their_hash() {
        let lengths: Vec<_> =
            values::SIGNING_ALGORITHM_SPEC.iter().map(|name| digest_length(name)).collect();
        let (s, m, l) = (Some(32), Some(48), Some(64));
        assert_eq!(lengths, [s, m, l, s, m, l, s, m, l, s, None, None, l]);
    }

    #[test]
    fn keys_and_algorithms_take_only_some_messages() {
        use KeySpec as K;
        use MessageType as M;

        let refusal = |spec, algorithm, message_type, length| {
            let refused = check_message(spec, algorithm, message_type, length).err()?;
            assert_eq!(refused.exception(), Exception::Validation);
            refused.message().map(str::to_owned)
        };
        for (spec, algorithm, message_type, length, expected) in [
            (K::ECC_NIST_P256, "ECDSA_SHA_256", M::RAW, 31, None),
            (K::ECC_NIST_P256, "ECDSA_SHA_256", M::DIGEST, 32, None),
            (
                K::ECC_NIST_P256,
                "ECDSA_SHA_256",
                M::DIGEST,
                31,
                Some("Digest is invalid length for algorithm ECDSA_SHA_256."),
            ),
            (
                K::ECC_NIST_P256,
                "ECDSA_SHA_256",
                M::EXTERNAL_MU,
                64,
                Some("Message type EXTERNAL_MU is incompatible with key spec ECC_NIST_P256."),
            ),
            (
                K::RSA_2048,
                "RSASSA_PSS_SHA_512",
                M::EXTERNAL_MU,
                1,
                Some("Message type EXTERNAL_MU is incompatible with key spec RSA_2048."),
            ),
            (K::RSA_2048, "RSASSA_PSS_SHA_512", M::DIGEST, 64, None),
            (K::ECC_NIST_EDWARDS25519, "ED25519_SHA_512", M::RAW, 1, None),
            (
                K::ECC_NIST_EDWARDS25519,
                "ED25519_SHA_512",
                M::DIGEST,
                64,
                Some("Message type DIGEST is incompatible with algorithm ED25519_SHA_512."),
            ),
            (
                K::ECC_NIST_EDWARDS25519,
                "ED25519_PH_SHA_512",
                M::RAW,
                64,
                Some("Message type RAW is incompatible with algorithm ED25519_PH_SHA_512."),
            ),
            (K::ECC_NIST_EDWARDS25519, "ED25519_PH_SHA_512", M::DIGEST, 64, None),
            (
                K::ECC_NIST_EDWARDS25519,
                "ED25519_PH_SHA_512",
                M::DIGEST,
                32,
                Some("Digest is invalid length for algorithm ED25519_PH_SHA_512."),
            ),
            (K::ML_DSA_44, "ML_DSA_SHAKE_256", M::RAW, 1, None),
            (
                K::ML_DSA_44,
                "ML_DSA_SHAKE_256",
                M::DIGEST,
                64,
                Some("Message type DIGEST is incompatible with key spec ML_DSA_44."),
            ),
            (K::ML_DSA_87, "ML_DSA_SHAKE_256", M::EXTERNAL_MU, 64, None),
            (
                K::ML_DSA_87,
                "ML_DSA_SHAKE_256",
                M::EXTERNAL_MU,
                63,
                Some("External Mu is invalid length for algorithm ML_DSA_SHAKE_256."),
            ),
        ] {
            let seen = refusal(spec, algorithm, message_type, length);
            assert_eq!(seen.as_deref(), expected, "{algorithm} {message_type:?}");
        }
    }
}
