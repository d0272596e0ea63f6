//! `Sign`: signs a message, or the digest of one, with an asymmetric key.

use hsm_protocol::key_spec::{KeySpec, MU, MessageType, SigningAlgorithm, SigningAlgorithmRow};

use crate::api::answer::Base64;
use crate::api::call::KeyUse;
use crate::api::checks::invalid;
use crate::api::input::Blob;
use crate::api::model::sign::{Input, Output};
use crate::api::{Answer, Call};
use crate::engine::response;
use crate::policy::{Authorized, RequestAttributes};
use kms_base::error::KmsError;
use kms_keys::spec::{Algorithm, signing_algorithm};
use kms_model::action::{self, KeyAction};
use kms_model::enums::{self, SigningAlgorithmSpec};

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = SignatureRequest::new(input);
    let (key, algorithm) = request.authorize(call, action::Sign).await?;
    Call::finish_dry_run(request.dry_run)?;
    let message_type = request.message_type.device();
    let reply = call.devices().sign(&key, algorithm, message_type, &request.message).await?;
    let signature = response(&reply)?.signature;
    let output = Output {
        key_id: Some(key.arn().into()),
        signature: Some(Base64(&signature)),
        signing_algorithm: Some(request.algorithm.name().into()),
    };
    Answer::of(&output)
}

/// The checked parameters that `Sign` and `Verify` share.
pub(super) struct SignatureRequest {
    key_id: String,
    grant_tokens: Vec<String>,
    /// Whether only to say whether the request would succeed.
    pub(super) dry_run: Option<bool>,
    /// The signing algorithm.
    pub(super) algorithm: SigningAlgorithmSpec,
    /// What the message is.
    pub(super) message_type: enums::MessageType,
    /// The message or digest.
    pub(super) message: Blob,
}

impl SignatureRequest {
    /// The parameters of a request.
    pub(super) fn new(input: Input) -> Self {
        Self {
            key_id: input.key_id,
            grant_tokens: input.grant_tokens.unwrap_or_default(),
            dry_run: input.dry_run,
            algorithm: input.signing_algorithm,
            message_type: input.message_type.unwrap_or(enums::MessageType::RAW),
            message: input.message,
        }
    }

    /// Authorizes the key, and checks that it can sign such a message.
    pub(super) async fn authorize<A: KeyAction>(
        &self,
        call: &mut Call<'_>,
        action: A,
    ) -> Result<(Authorized<A>, SigningAlgorithm), KmsError> {
        call.facts.parameter("keyId", self.key_id.as_str());
        call.facts.parameter("messageType", self.message_type.name());
        call.facts.parameter("signingAlgorithm", self.algorithm.name());
        let key = call
            .authorize(
                KeyUse::new(action, &self.key_id, &self.grant_tokens)
                    .with(Algorithm::Signing(self.algorithm))
                    .telling(RequestAttributes::Message(self.message_type.name())),
            )
            .await?;
        let algorithm = signing_algorithm(self.algorithm)?;
        check_message(key.spec, algorithm, self.message_type.device(), self.message.len())?;
        Ok((key, algorithm))
    }
}

/// Checks that a key of this spec signs messages of this type and length, with an algorithm that it
/// has.
fn check_message(
    spec: KeySpec,
    algorithm: SigningAlgorithm,
    message_type: MessageType,
    length: usize,
) -> Result<(), KmsError> {
    let takes = |row: &SigningAlgorithmRow| row.messages.contains(&message_type);
    let row = algorithm.row();
    if !row.is_some_and(takes) {
        let algorithms = spec.row().map_or(&[][..], |row| row.signing_algorithms);
        let by_another = algorithms.iter().filter_map(|other| other.row()).any(takes);
        let refused = match by_another {
            true => format!("algorithm {algorithm:?}"),
            false => format!("key spec {spec:?}"),
        };
        return Err(invalid(format!(
            "Message type {message_type:?} is incompatible with {refused}."
        )));
    }
    let (what, fits) = match message_type {
        MessageType::DIGEST => ("Digest", row.and_then(|row| row.digest_size) == Some(length)),
        MessageType::EXTERNAL_MU => ("External Mu", length == MU),
        _ => return Ok(()),
    };
    if fits {
        return Ok(());
    }
    Err(invalid(format!("{what} is invalid length for algorithm {algorithm:?}.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_base::error::Exception;

    #[test]
    fn digests_have_the_length_of_their_hash() {
        let offered = SigningAlgorithmSpec::ALL.iter().filter_map(|algorithm| algorithm.device());
        let lengths: Vec<_> =
            offered.map(|algorithm| algorithm.row().unwrap().digest_size).collect();
        let (s, m, l) = (Some(32), Some(48), Some(64));
        assert_eq!(lengths, [s, m, l, s, m, l, s, m, l, None, None, l]);
    }

    #[test]
    fn keys_and_algorithms_take_only_some_messages() {
        use KeySpec as K;
        use MessageType as M;
        use SigningAlgorithm as A;

        let refusal = |spec, algorithm, message_type, length| {
            let refused = check_message(spec, algorithm, message_type, length).err()?;
            assert_eq!(refused.exception(), Exception::Validation);
            refused.message().map(str::to_owned)
        };
        for (spec, algorithm, message_type, length, expected) in [
            (K::ECC_NIST_P256, A::ECDSA_SHA_256, M::RAW, 31, None),
            (K::ECC_NIST_P256, A::ECDSA_SHA_256, M::DIGEST, 32, None),
            (
                K::ECC_NIST_P256,
                A::ECDSA_SHA_256,
                M::DIGEST,
                31,
                Some("Digest is invalid length for algorithm ECDSA_SHA_256."),
            ),
            (
                K::ECC_NIST_P256,
                A::ECDSA_SHA_256,
                M::EXTERNAL_MU,
                64,
                Some("Message type EXTERNAL_MU is incompatible with key spec ECC_NIST_P256."),
            ),
            (
                K::RSA_2048,
                A::RSASSA_PSS_SHA_512,
                M::EXTERNAL_MU,
                1,
                Some("Message type EXTERNAL_MU is incompatible with key spec RSA_2048."),
            ),
            (K::RSA_2048, A::RSASSA_PSS_SHA_512, M::DIGEST, 64, None),
            (K::ECC_NIST_EDWARDS25519, A::ED25519_SHA_512, M::RAW, 1, None),
            (
                K::ECC_NIST_EDWARDS25519,
                A::ED25519_SHA_512,
                M::DIGEST,
                64,
                Some("Message type DIGEST is incompatible with algorithm ED25519_SHA_512."),
            ),
            (
                K::ECC_NIST_EDWARDS25519,
                A::ED25519_PH_SHA_512,
                M::RAW,
                64,
                Some("Message type RAW is incompatible with algorithm ED25519_PH_SHA_512."),
            ),
            (K::ECC_NIST_EDWARDS25519, A::ED25519_PH_SHA_512, M::DIGEST, 64, None),
            (
                K::ECC_NIST_EDWARDS25519,
                A::ED25519_PH_SHA_512,
                M::DIGEST,
                32,
                Some("Digest is invalid length for algorithm ED25519_PH_SHA_512."),
            ),
            (K::ML_DSA_44, A::ML_DSA_SHAKE_256, M::RAW, 1, None),
            (
                K::ML_DSA_44,
                A::ML_DSA_SHAKE_256,
                M::DIGEST,
                64,
                Some("Message type DIGEST is incompatible with key spec ML_DSA_44."),
            ),
            (K::ML_DSA_87, A::ML_DSA_SHAKE_256, M::EXTERNAL_MU, 64, None),
            (
                K::ML_DSA_87,
                A::ML_DSA_SHAKE_256,
                M::EXTERNAL_MU,
                63,
                Some("External Mu is invalid length for algorithm ML_DSA_SHAKE_256."),
            ),
        ] {
            let seen = refusal(spec, algorithm, message_type, length);
            assert_eq!(seen.as_deref(), expected, "{algorithm:?} {message_type:?}");
        }
    }
}
