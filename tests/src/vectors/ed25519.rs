//! Ed25519: key generation, signature and verification.

use hsm_core::algorithm::{Message, PublicKeyBuf};
use hsm_core::secret::SecretBuf;
use hsm_protocol::key_spec::SigningAlgorithm;

use super::randomness::any;
use super::{Outcome, Set, Subject, Vector, der};

pub(super) fn check(subject: &Subject, _: &Set, vector: &Vector) -> Outcome {
    const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ED25519_SHA_512;
    let (entry, name) = (subject.entry("ECC_NIST_EDWARDS25519"), vector.name());
    let (secret, mut public) = (SecretBuf::copy_from(&vector.bytes("secret")), PublicKeyBuf::new());
    let secret = secret.expect("short enough");
    entry.public_key(&secret, &mut public).expect(&name);
    let expected = der::public(entry, &vector.bytes("public"));
    assert_eq!(public.as_bytes(), expected.as_bytes(), "{name}");

    let (message, mut out) = (vector.bytes("message"), [0; 64]);
    entry.sign(&secret, ALGORITHM, Message::Raw(&message), &mut any(), &mut out).expect(&name);
    assert_eq!(out[..], vector.bytes("signature"), "{name}");
    assert_eq!(entry.verify(&public, ALGORITHM, Message::Raw(&message), &out), Ok(()), "{name}");
    out[0] ^= 1;
    assert!(entry.verify(&public, ALGORITHM, Message::Raw(&message), &out).is_err(), "{name}");
    Outcome::Passed
}
