//! ML-DSA. The module signs messages without a context; a vector with one enters as its
//! representative mu (FIPS 204 6.2), and both ways where it has none.

use hsm_core::algorithm::{Algorithm, Message, PublicKeyBuf};
use hsm_core::secret::SecretBuf;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{MAX_SIGNATURE, SigningAlgorithm};
use sha2::{Digest, Sha256};

use super::randomness::Known;
use super::{Outcome, Set, Subject, Vector, der};

const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ML_DSA_SHAKE_256;

pub(super) fn check(subject: &Subject, set: &Set, vector: &Vector) -> Outcome {
    let entry = subject.entry(set.spec());
    if set.kind() == "verify" {
        verify(entry, vector);
        return Outcome::Passed;
    }
    let secret = SecretBuf::copy_from(&vector.bytes("seed")).expect("short enough");
    let mut public = PublicKeyBuf::new();
    entry.public_key(&secret, &mut public).expect("a seed");
    // An SPKI's first 22 bytes are the same for every key of a spec (RFC 9881).
    let digest = Sha256::digest(&public.as_bytes()[22..]);
    assert_eq!(digest[..], vector.bytes("publicSha256"), "{}", vector.name());
    match set.kind() {
        "keyGen" => Outcome::Passed,
        _ if !subject.takes_randomness => Outcome::NeedsRandomness,
        _ => {
            sign(entry, &secret, &public, vector);
            Outcome::Passed
        }
    }
}

fn verify(entry: &dyn Algorithm, vector: &Vector) {
    let public = der::public(entry, &vector.bytes("public"));
    let signature = vector.bytes("signature");
    each_form(vector, |message| {
        let verified = entry.verify(&public, ALGORITHM, message, &signature);
        let refused = Err(ErrorCode::SIGNATURE_INVALID);
        assert_eq!(verified, if vector.is_valid() { Ok(()) } else { refused }, "{}", vector.name());
    });
}

/// Deterministic, that is with randomness of zeros (FIPS 204 3.4).
fn sign(entry: &dyn Algorithm, secret: &SecretBuf, public: &PublicKeyBuf, vector: &Vector) {
    each_form(vector, |message| {
        let (mut out, mut zeros) = ([0; MAX_SIGNATURE], Known::new(vec![0; 32]));
        let length = entry.sign(secret, ALGORITHM, message, &mut zeros, &mut out);
        let signature = &out[..length.expect("a valid key")];
        let digest = Sha256::digest(signature);
        assert_eq!(digest[..], vector.bytes("signatureSha256"), "{}", vector.name());
        assert_eq!(entry.verify(public, ALGORITHM, message, signature), Ok(()));
    });
}

fn each_form(vector: &Vector, check: impl Fn(Message<'_>)) {
    check(Message::ExternalMu(&vector.bytes("mu")));
    if let Some(message) = vector.optional("message") {
        check(Message::Raw(&message));
    }
}
