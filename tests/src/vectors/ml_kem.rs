//! ML-KEM: key generation from d and z, encapsulation with known randomness, decapsulation,
//! implicit rejection, the check of encapsulation keys.

use hsm_core::algorithm::{Algorithm, PublicKeyBuf};
use hsm_core::secret::{Secret, SecretBuf};
use hsm_protocol::ErrorCode;
use sha2::{Digest, Sha256};

use super::randomness::{Known, any};
use super::{Outcome, Set, Subject, Vector, der};

pub(super) fn check(subject: &Subject, set: &Set, vector: &Vector) -> Outcome {
    let (entry, name) = (subject.entry(set.spec()), vector.name());
    match set.kind() {
        "keyGen" => {
            generate(entry, vector);
        }
        "keyCheck" => {
            let public = der::public(entry, &vector.bytes("public"));
            let (mut shared, mut out) = (Secret::zeroed(), [0; 1568]);
            let done = entry.encapsulate(&public, &mut any(), &mut shared, &mut out).map(|_| ());
            let refused = Err(ErrorCode::SPEC_DENIED);
            assert_eq!(done, if vector.is_valid() { Ok(()) } else { refused }, "{name}");
        }
        _ if !subject.takes_randomness => return Outcome::NeedsRandomness,
        "encapsulate" => {
            encapsulate(entry, &der::public(entry, &vector.bytes("public")), vector);
        }
        _ => {
            let (secret, public) = generate(entry, vector);
            let right = (encapsulate(entry, &public, vector), vector.bytes("shared"));
            let wrong = (vector.bytes("wrongCiphertext"), vector.bytes("rejected"));
            for (ciphertext, expected) in [right, wrong] {
                let mut shared = Secret::zeroed();
                entry.decapsulate(&secret, &ciphertext, &mut shared).expect(&name);
                assert_eq!(shared.expose()[..], expected, "{name}");
            }
        }
    }
    Outcome::Passed
}

fn generate(entry: &dyn Algorithm, vector: &Vector) -> (SecretBuf, PublicKeyBuf) {
    let secret = SecretBuf::copy_from(&vector.bytes("seed")).expect("short enough");
    let mut public = PublicKeyBuf::new();
    entry.public_key(&secret, &mut public).expect("a seed");
    // An SPKI's first 22 bytes are the same for every key of a spec (RFC 9935).
    let digest = Sha256::digest(&public.as_bytes()[22..]);
    assert_eq!(digest[..], vector.bytes("publicSha256"), "{}", vector.name());
    (secret, public)
}

fn encapsulate(entry: &dyn Algorithm, public: &PublicKeyBuf, vector: &Vector) -> Vec<u8> {
    let (mut shared, mut out) = (Secret::zeroed(), vec![0; 1568]);
    let mut random = Known::new(vector.bytes("random"));
    let length = entry.encapsulate(public, &mut random, &mut shared, &mut out);
    out.truncate(length.expect("a valid key"));
    let digest = Sha256::digest(&out);
    assert_eq!(digest[..], vector.bytes("ciphertextSha256"), "{}", vector.name());
    assert_eq!(shared.expose()[..], vector.bytes("shared"), "{}", vector.name());
    out
}
