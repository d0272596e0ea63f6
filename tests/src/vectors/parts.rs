//! The parts that every board shares.

use hsm_core::drbg::{Drbg, SEED_SIZE};
use hsm_core::keystore::import;
use hsm_core::secret::Secret;
use hsm_core::{aead, algorithm, kbkdf};
use hsm_protocol::ErrorCode;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::Vector;

/// Decryption, and encryption of what decrypts.
pub(super) fn aes_gcm(vector: &Vector) {
    let name = vector.name();
    let (key, iv) = (Secret::copy_from(&vector.array("key")), vector.array("iv"));
    let (aad, ciphertext, tag) =
        (vector.bytes("aad"), vector.bytes("ciphertext"), vector.array("tag"));
    let mut body = ciphertext.clone();
    let opened = aead::open(&key, &iv, &aad, &mut body, &tag, ErrorCode::CIPHERTEXT_INVALID);
    match vector.optional("plaintext") {
        Some(plaintext) => {
            assert_eq!(opened, Ok(()), "{name}");
            assert_eq!(body, plaintext, "{name}");
            assert_eq!(aead::seal(&key, &iv, &aad, &mut body), Ok(tag), "{name}");
        }
        None => assert_eq!(opened, Err(ErrorCode::CIPHERTEXT_INVALID), "{name}"),
    }
    assert_eq!(body, ciphertext, "{name}");
}

pub(super) fn aes_kwp(vector: &Vector) {
    let wrapped = vector.bytes("wrapped");
    let mut out = vec![0; wrapped.len()];
    let unwrapped = import::unwrap_padded(&vector.array("key"), &wrapped, &mut out);
    let unwrapped = unwrapped.map(|length| &out[..length]);
    let expected = vector.optional("plaintext");
    assert_eq!(
        unwrapped,
        expected.as_deref().ok_or(ErrorCode::CIPHERTEXT_INVALID),
        "{}",
        vector.name()
    );
}

/// Instantiate, reseed, generate twice: the second output counts.
pub(super) fn ctr_drbg(vector: &Vector) {
    let padded = |field| {
        let mut out = [0; SEED_SIZE];
        let bytes = vector.bytes(field);
        out[..bytes.len()].copy_from_slice(&bytes);
        out
    };
    let entropy = |field| Secret::copy_from(&vector.array(field));
    let mut drbg = Drbg::instantiate(&entropy("entropy"), &padded("personalization"));
    drbg.reseed(&entropy("reseed"), &padded("additionalReseed"));
    let expected = vector.bytes("output");
    let mut out = vec![0; expected.len()];
    for field in ["additional1", "additional2"] {
        let additional = padded(field);
        drbg.generate((!vector.bytes(field).is_empty()).then_some(&additional), &mut out);
    }
    assert_eq!(out, expected, "{}", vector.name());
}

/// HMAC-SHA-256; one vector gives the front of the MAC only.
pub(super) fn hmac(vector: &Vector) {
    let mac = algorithm::hmac::hmac(&vector.bytes("key"), &[&vector.bytes("message")]);
    let expected = vector.bytes("mac");
    assert_eq!(mac.expect("any key")[..expected.len()], expected, "{}", vector.name());
}

pub(super) fn kbkdf(vector: &Vector) {
    let (mut out, expected) = (Secret::zeroed(), vector.bytes("output"));
    kbkdf::derive_fixed(&vector.bytes("key"), &vector.bytes("fixed"), &mut out).expect("any key");
    assert_eq!(out.expose()[..expected.len()], expected, "{}", vector.name());
}

/// The hash is told by the length of the digest.
pub(super) fn sha2(vector: &Vector) {
    let (message, expected) = (vector.bytes("message"), vector.bytes("digest"));
    let digest = match expected.len() {
        28 => Sha224::digest(message).to_vec(),
        32 => Sha256::digest(message).to_vec(),
        48 => Sha384::digest(message).to_vec(),
        _ => Sha512::digest(message).to_vec(),
    };
    assert_eq!(digest, expected, "{}", vector.name());
}
