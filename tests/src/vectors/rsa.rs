//! RSASSA-PKCS1-v1_5.

use hsm_core::algorithm::Message;
use hsm_core::secret::SecretBuf;
use hsm_protocol::key_spec::SigningAlgorithm;

use super::randomness::any;
use super::{Outcome, Set, Subject, Vector, der};

pub(super) fn check(subject: &Subject, set: &Set, vector: &Vector) -> Outcome {
    let (entry, name) = (subject.entry(set.spec()), vector.name());
    let algorithm = algorithm(vector);
    let (message, signature) = (vector.bytes("message"), vector.bytes("signature"));
    if set.kind() == "sign" {
        let secret = SecretBuf::copy_from(&vector.bytes("secret")).expect("short enough");
        let mut out = [0; 512];
        let length = entry.sign(&secret, algorithm, Message::Raw(&message), &mut any(), &mut out);
        assert_eq!(out[..length.expect(&name)], signature, "{name}");
        return Outcome::Passed;
    }
    let public = der::rsa_public(&vector.bytes("modulus"), &vector.bytes("exponent"));
    let verified = entry.verify(&public, algorithm, Message::Raw(&message), &signature);
    assert_eq!(verified.is_ok(), vector.is_valid(), "{name}: {verified:?}");
    Outcome::Passed
}

/// The algorithm of a vector.
pub(super) fn algorithm(vector: &Vector) -> SigningAlgorithm {
    match vector.text("hash") {
        "SHA256" => SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256,
        "SHA384" => SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_384,
        _ => SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_512,
    }
}
