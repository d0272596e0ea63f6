//! `Sign`: signs a message, or the digest of one, with an asymmetric key.

use hsm_protocol::key_spec::{MessageType, SigningAlgorithm};

use super::answer::Base64;
use super::call::KeyUse;
use super::checks::invalid;
use super::input::Blob;
use super::model::sign::{Input, Output};
use super::{Answer, Call};
use crate::engine::response;
use crate::error::KmsError;
use crate::key::KeyRecord;
use crate::key::spec::{Algorithm, signing_algorithm};
use crate::policy::{Action, Authorized, Particulars};

/// Length of the message representative of ML-DSA, in bytes (FIPS 204 6.2).
const MU: usize = 64;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let request = SignatureRequest::check(input)?;
    let (key, algorithm) = request.authorize(call, Action::Sign).await?;
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
    dry_run: Option<bool>,
    type_name: String,
    /// A signing algorithm of the API.
    pub(super) algorithm: String,
    /// What the message is.
    pub(super) message_type: MessageType,
    /// The message or digest.
    pub(super) message: Blob,
}

impl SignatureRequest {
    /// Checks how the parameters go together.
    pub(super) fn check(input: Input) -> Result<Self, KmsError> {
        let (key_id, message, algorithm) = (input.key_id, input.message, input.signing_algorithm);
        let grant_tokens = input.grant_tokens.unwrap_or_default();
        let type_name = input.message_type.unwrap_or_else(|| "RAW".to_owned());
        let message_type = check_message(&algorithm, &type_name, message.len())?;
        let dry_run = input.dry_run;
        Ok(Self { key_id, grant_tokens, dry_run, algorithm, type_name, message_type, message })
    }

    /// Authorizes the key, and ends a dry run.
    pub(super) async fn authorize(
        &self,
        call: &mut Call<'_>,
        action: Action,
    ) -> Result<(Authorized<KeyRecord>, SigningAlgorithm), KmsError> {
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
        Call::finish_dry_run(self.dry_run)?;
        Ok((key, signing_algorithm(&self.algorithm)?))
    }
}

/// Checks that a message of `length` bytes can be of the given type.
fn check_message(
    algorithm: &str,
    message_type: &str,
    length: usize,
) -> Result<MessageType, KmsError> {
    let known = MessageType::from_aws_name(message_type);
    let Some(known) = known.filter(|known| takes(algorithm, *known)) else {
        return Err(invalid(format!(
            "MessageType {message_type} is not valid for algorithm {algorithm}."
        )));
    };
    let fits = match known {
        MessageType::DIGEST => digest_length(algorithm) == Some(length),
        MessageType::EXTERNAL_MU => length == MU,
        _ => true,
    };
    if !fits {
        return Err(invalid(format!("Digest is invalid length for algorithm {algorithm}.")));
    }
    Ok(known)
}

/// Whether an algorithm signs messages of that type.
fn takes(algorithm: &str, message_type: MessageType) -> bool {
    match algorithm {
        "ED25519_SHA_512" => message_type == MessageType::RAW,
        "ED25519_PH_SHA_512" => message_type == MessageType::DIGEST,
        "ML_DSA_SHAKE_256" => message_type != MessageType::DIGEST,
        _ => message_type != MessageType::EXTERNAL_MU,
    }
}

/// Length of the digest that an algorithm signs, in bytes; `None` if it signs none.
fn digest_length(algorithm: &str) -> Option<usize> {
    match algorithm {
        "ML_DSA_SHAKE_256" | "ED25519_SHA_512" => None,
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

    #[test]
    fn digests_have_the_length_of_their_hash() {
        let lengths: Vec<_> =
            values::SIGNING_ALGORITHM_SPEC.iter().map(|name| digest_length(name)).collect();
        let (s, m, l) = (Some(32), Some(48), Some(64));
        assert_eq!(lengths, [s, m, l, s, m, l, s, m, l, s, None, None, l]);
        assert!(check_message("ECDSA_SHA_256", "DIGEST", 32).is_ok());
        assert!(check_message("ECDSA_SHA_256", "DIGEST", 31).is_err());
        assert!(check_message("ECDSA_SHA_256", "RAW", 31).is_ok());
        assert!(check_message("ECDSA_SHA_256", "EXTERNAL_MU", 64).is_err());
    }

    #[test]
    fn algorithms_take_only_some_message_types() {
        for (algorithm, taken) in [
            ("RSASSA_PSS_SHA_512", [true, true, false]),
            ("ECDSA_SHA_512", [true, true, false]),
            ("ED25519_SHA_512", [true, false, false]),
            ("ED25519_PH_SHA_512", [false, true, false]),
            ("ML_DSA_SHAKE_256", [true, false, true]),
        ] {
            let seen = ["RAW", "DIGEST", "EXTERNAL_MU"]
                .map(|message_type| check_message(algorithm, message_type, 64).is_ok());
            assert_eq!(seen, taken, "{algorithm}");
        }
        assert!(check_message("ML_DSA_SHAKE_256", "EXTERNAL_MU", 63).is_err());
    }
}
